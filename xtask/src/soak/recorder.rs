//! A recorder under watch.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::look::Look;
use super::{SLACK_BYTES, SLACK_FILES};
use crate::{command, install, test};

/// A running `perfprobe record`.
pub(super) struct Recorder {
    /// What it is called in tables.
    pub(super) name: &'static str,
    child: Child,
    recording: PathBuf,
    looks: Vec<Look>,
}

impl Recorder {
    /// Starts one with these arguments.
    pub(super) fn start(dir: &Path, name: &'static str, target: &[&str]) -> Result<Self> {
        let recording = dir.join(format!("{name}.perfprobe"));
        let mut record = install::as_root(&test::binary().display().to_string())?;
        record.args(["record", "--quiet"]).args(target).arg("-o").arg(&recording).stdin(Stdio::null());
        let child = record.spawn().context("cannot start perfprobe")?;
        Ok(Self { name, child, recording, looks: Vec::new() })
    }

    /// Looks at it; fails when it has ended.
    pub(super) fn look(&mut self, at: Duration) -> Result<&Look> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the recorder `{}` ended by itself after {} s: {status}", self.name, at.as_secs());
        }
        let look = Look::take(self.child.id(), at, &self.recording);
        self.looks.push(look.with_context(|| format!("the recorder `{}` cannot be looked at", self.name))?);
        Ok(&self.looks[self.looks.len() - 1])
    }

    /// Ends it as a user would, prints what it held, and returns what is wrong.
    pub(super) fn finish(mut self) -> Result<Vec<String>> {
        command::run(install::as_root("kill")?.args(["-INT", &self.child.id().to_string()]))?;
        let status = self.child.wait()?;
        let Self { name, looks, .. } = self;
        let mut faults = Vec::new();
        if !status.success() {
            faults.push(format!("`{name}` ended with {status}"));
        }
        // The first half is warm-up, but for its end: what the last quarter is compared with.
        let (warm, late) = (&looks[looks.len() / 4..looks.len() / 2], &looks[looks.len() * 3 / 4..]);
        let most = |looks: &[Look], what: fn(&Look) -> u64| looks.iter().map(what).max().unwrap_or(0);
        println!("\n`{name}`, the most of it, in the second and in the last quarter:");
        let mut flat = |what: &str, value: fn(&Look) -> u64, slack: u64| {
            let (before, after) = (most(warm, value), most(late, value));
            println!("  {what:<24} {before:>12} {after:>12}");
            if after > before + before / 10 + slack {
                faults.push(format!("`{name}`: {what} grew from {before} to {after}"));
            }
        };
        flat("anonymous memory, bytes", |look| look.anonymous_bytes, SLACK_BYTES);
        flat("mapped files, bytes", |look| look.file_bytes, 64 * SLACK_BYTES);
        flat("open files", |look| look.files, SLACK_FILES);
        flat("BPF objects", |look| look.bpf.len() as u64, 0);
        flat("followed processes", |look| look.followed, 16);
        let Some(last) = looks.last() else { return Ok(faults) };
        let seconds = last.at.as_secs_f64();
        println!("  CPU of the recorder      {:.2} % of one", last.cpu_ns as f64 / 1e7 / seconds);
        println!("  recording                {:.1} MB an hour", last.recording_bytes as f64 / 1e6 / seconds * 3600.0);
        let left = last.bpf.iter().filter(|(kind, id)| remains(kind, *id)).count();
        if left > 0 {
            faults.push(format!("`{name}` left {left} BPF objects in the kernel"));
        }
        command::read(Command::new(test::binary()).arg("report").arg(&self.recording))
            .with_context(|| format!("the recording of `{name}`"))?;
        Ok(faults)
    }
}

/// Whether the kernel still has this program or map.
fn remains(kind: &str, id: u64) -> bool {
    let kind = if kind == "map" { "map" } else { "prog" };
    command::read(Command::new("bpftool").args([kind, "show", "id", &id.to_string()])).is_ok()
}
