//! What `perfprobe doctor` finds on a kernel, and what it has to find there.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::guest::quoted;
use super::kernel::series_of;
use super::table::Table;
use crate::verify::Budget;

/// Begins the line of a guest's output that holds the facts.
pub(crate) const MARK: &str = "FACTS ";

/// What works for root on every kernel from 5.10 on, so that a test which skips for want of it hides nothing.
const MUST_WORK: &[&str] = &[
    "privileges",
    "system calls",
    "perf events",
    "BPF programs",
    "BTF",
    "other processes",
    "process files",
    "kernel symbols",
    "own cost",
    "membarrier",
    "batched reads",
    "cgroup v2",
];

/// What `perfprobe doctor --json` says, as far as it tells of the kernel.
#[derive(Debug, Deserialize)]
pub(crate) struct Facts {
    /// `uname -r`.
    pub(crate) kernel: String,
    /// What was looked at.
    pub(crate) checks: Vec<Check>,
    /// What loading the BPF programs took.
    pub(crate) programs: Vec<Program>,
}

/// One thing that was looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    /// What.
    pub(crate) name: String,
    /// Whether it is there.
    pub(crate) state: String,
    /// How, or why not.
    pub(crate) detail: String,
}

/// One program.
#[derive(Debug, Deserialize)]
pub(crate) struct Program {
    /// Its name.
    pub(crate) program: String,
    /// Its instructions.
    pub(crate) instructions: u64,
    /// Instructions the verifier walked through, where the kernel tells.
    pub(crate) verified_instructions: Option<u64>,
    /// Time to load it, in microseconds.
    pub(crate) load_us: u64,
}

/// The part of a script that prints the facts.
pub(crate) fn script(binary: &str) -> String {
    // Doctor fails where nothing can be recorded, which its facts tell better.
    format!("echo {} $({} doctor --json)\n", MARK.trim_end(), quoted(binary))
}

impl Facts {
    /// Reads them from what a script printed.
    pub(crate) fn find(lines: &[String]) -> Result<Self> {
        let found = lines.iter().find_map(|line| line.strip_prefix(MARK));
        Self::parse(found.context("perfprobe doctor said nothing")?)
    }

    /// Reads them from what `perfprobe doctor --json` printed.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| format!("perfprobe doctor said: {text}"))
    }

    /// The kernel's series.
    pub(crate) fn series(&self) -> Result<String> {
        series_of(&self.kernel).with_context(|| format!("the kernel's release {} has no series", self.kernel))
    }

    /// Fails when something does not work that has to, differs from the table of kernels, or costs the verifier too much.
    pub(crate) fn check(&self, column: &str) -> Result<()> {
        let works = |name: &&&str| self.checks.iter().any(|check| check.name == **name && check.state == "ok");
        let broken: Vec<&str> = MUST_WORK.iter().filter(|name| !works(name)).copied().collect();
        if !broken.is_empty() {
            bail!("this has to work on every kernel, and does not: {}", broken.join(", "));
        }
        Table::read()?.check(column, self)?;
        Budget::read()?.check(column, &self.programs)
    }
}
