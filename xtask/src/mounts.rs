//! The kernel's own file systems that profilers read: mounted where a fresh machine or a container has not.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{command, install};

/// What is mounted, and where it belongs.
const MOUNTS: &[(&str, &str)] = &[("tracefs", "/sys/kernel/tracing"), ("bpf", "/sys/fs/bpf")];

/// Mounts what a fresh machine or a container has not mounted; a refusal is for `perfprobe doctor` to explain.
pub(crate) fn prepare() -> Result<()> {
    let mounted = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    for (kind, place) in MOUNTS {
        if !mounted.lines().any(|line| line.split(' ').nth(1) == Some(place)) {
            eprintln!("mounting {kind} at {place}");
            if let Err(error) = command::run(install::as_root("mount")?.args(["-t", kind, kind, place])) {
                eprintln!("warning: {error:#}");
            }
        }
    }
    Ok(())
}
