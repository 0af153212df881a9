//! How much memory processes have, on its way to be stored.

use super::Tasks;
use crate::host::{
    memory_limits::Gauge,
    memory_use::{MappingUse, MemoryUse},
};

/// What was read of memory at the end of a window.
#[derive(Debug, Default)]
pub struct LocatedMemory {
    /// Of processes.
    pub processes: Vec<ProcessMemory>,
    /// Of mappings, of processes that were looked at.
    pub mappings: Vec<ProcessMappings>,
    /// When the machine and control groups were asked, and what they said.
    pub gauges: Vec<(u64, Gauge)>,
}

/// The memory of a process at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// When, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// How much.
    pub told: MemoryUse,
}

/// What lay in a process's mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMappings {
    /// The process.
    pub tgid: u32,
    /// When, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The CPU time that it took to look.
    pub took_ns: u64,
    /// By name.
    pub sums: Vec<(String, MappingUse)>,
}

impl Tasks {
    /// The processes whose history is kept and that have not ended, as far as is known.
    pub fn living(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().filter(|(_, process)| process.ended_ns.is_none()).map(|(tgid, _)| *tgid)
    }
}
