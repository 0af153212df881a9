//! What `/proc` tells about a recorder: its CPU time, its memory, its BPF programs, whether it has ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How often a process is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(4);
/// `BPF_PROG_TYPE_PERF_EVENT` in `linux/bpf.h`.
const PERF_EVENT: u32 = 7;

/// What the BPF programs of a process have done, while `kernel.bpf_stats_enabled` is 1.
#[derive(Clone, Copy, Default)]
pub(crate) struct BpfWork {
    /// Time in programs of every type.
    pub(crate) run_time_ns: u64,
    /// Their runs.
    pub(crate) runs: u64,
    /// Runs of the busiest sampling program.
    pub(crate) samples: u64,
}

/// A process's name.
pub(crate) fn comm(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Has it ended? It stays a zombie until it is waited for.
pub(crate) fn is_over(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z" || fields[0] == "X")
}

/// CPU time of the live threads, to the nanosecond.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .flatten()
        .filter_map(|thread| {
            fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// CPU time of a process that has ended and not been waited for, with the children it waited for. In steps of 10 ms.
pub(crate) fn final_cpu_seconds(pid: u32) -> f64 {
    // `_SC_CLK_TCK` is 100 on every Linux this runs on.
    let ticks = |fields: &Vec<String>| fields[11..15].iter().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    stat(pid).filter(|fields| fields.len() > 15).map_or(0.0, |fields| ticks(&fields) / 100.0)
}

/// The most memory the process, or one of its descendants, has had resident.
pub(crate) fn peak_rss_bytes(pid: u32) -> u64 {
    family(pid).into_iter().filter_map(own_peak_rss_bytes).max().unwrap_or(0)
}

/// The perf events it holds, and the links of BPF programs to what they run at: none of a process that does not record.
pub(crate) fn attachments(pid: u32) -> usize {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    links.filter(|link| matches!(link.to_str(), Some("anon_inode:[perf_event]" | "anon_inode:bpf_link"))).count()
}

/// Does one of its threads run, or wait for a CPU or a disk?
pub(crate) fn is_at_work(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let mut states = threads.flatten().filter_map(|thread| fields(&thread.path().join("stat"))?.into_iter().next());
    states.any(|state| state == "R" || state == "D")
}

/// Is it stopped at each of its system calls, by strace for one?
pub(crate) fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("TracerPid:")).is_some_and(|tracer| tracer.trim() != "0")
}

/// What its BPF programs have done so far.
pub(crate) fn bpf_work(pid: u32) -> BpfWork {
    let mut programs = BTreeMap::new();
    if let Ok(files) = fs::read_dir(format!("/proc/{pid}/fdinfo")) {
        for text in files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok()) {
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            if let (Some(id), Some(kind), Some(time), Some(runs)) =
                (field("prog_id:"), field("prog_type:"), field("run_time_ns:"), field("run_cnt:"))
            {
                programs.insert(id, (kind, time, runs));
            }
        }
    }
    let mut work = BpfWork::default();
    for (kind, time, runs) in programs.into_values() {
        work.run_time_ns += time;
        work.runs += runs;
        if kind == u64::from(PERF_EVENT) {
            work.samples = work.samples.max(runs);
        }
    }
    work
}

fn stat(pid: u32) -> Option<Vec<String>> {
    fields(Path::new(&format!("/proc/{pid}/stat")))
}

/// The fields of `/proc/PID/stat` from the state on: the name before it may hold spaces.
fn fields(file: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

fn own_peak_rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB");
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}

fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for list in threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok()) {
            all.extend(list.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}
