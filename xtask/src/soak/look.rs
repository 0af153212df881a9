//! One look at a recorder: what it holds at this moment.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::bench::process;
use crate::command;

/// What a recorder holds.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// Since the soak began.
    pub(super) at: Duration,
    /// Heap and stacks.
    pub(super) anonymous_bytes: u64,
    /// Files mapped into it: symbol tables, itself.
    pub(super) file_bytes: u64,
    /// Open files.
    pub(super) files: u64,
    /// BPF programs and maps.
    pub(super) bpf: BTreeSet<(&'static str, u64)>,
    /// Entries of the map of followed processes.
    pub(super) followed: u64,
    /// CPU time so far.
    pub(super) cpu_ns: u64,
    /// The recording.
    pub(super) recording_bytes: u64,
}

impl Look {
    /// The columns of a look.
    pub(super) const HEADER: &'static str =
        "seconds\tanonymous_bytes\tfile_bytes\topen_files\tbpf_objects\tfollowed\tcpu_ns\trecording_bytes";

    /// Looks at the recorder `pid`; `None` when it has ended.
    pub(super) fn take(pid: u32, at: Duration, recording: &Path) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let bytes = |name: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(name))?;
            text.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
        };
        let bpf = objects(pid);
        Some(Self {
            at,
            anonymous_bytes: bytes("RssAnon:")?,
            file_bytes: bytes("RssFile:")?,
            files: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
            followed: bpf.iter().filter(|(kind, _)| *kind == "map").map(|(_, id)| followed(*id)).sum(),
            bpf,
            cpu_ns: process::cpu_ns(pid),
            recording_bytes: fs::metadata(recording).map_or(0, |metadata| metadata.len()),
        })
    }
}

impl fmt::Display for Look {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { anonymous_bytes, file_bytes, files, followed, cpu_ns, recording_bytes, .. } = self;
        let (seconds, objects) = (self.at.as_secs(), self.bpf.len());
        write!(
            out,
            "{seconds}\t{anonymous_bytes}\t{file_bytes}\t{files}\t{objects}\t{followed}\t{cpu_ns}\t{recording_bytes}"
        )
    }
}

/// The BPF programs and maps that a process holds, by their ids.
fn objects(pid: u32) -> BTreeSet<(&'static str, u64)> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    texts
        .flat_map(|text| {
            let id = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            [("program", id("prog_id:")), ("map", id("map_id:"))].map(|(kind, id)| id.map(|id| (kind, id)))
        })
        .flatten()
        .collect()
}

/// The entries of this map, if it is the map of followed processes; else 0.
fn followed(id: u64) -> u64 {
    let bpftool = |args: &[&str]| command::read(Command::new("bpftool").args(args)).unwrap_or_default();
    let id = id.to_string();
    if !bpftool(&["map", "show", "id", &id]).contains("name PROCESSES") {
        return 0;
    }
    bpftool(&["map", "dump", "id", &id, "-j"]).matches("\"key\":").count() as u64 / 2
}
