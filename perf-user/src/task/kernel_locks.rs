//! Locks of the kernel with their names, and those of the processes that waited for them.

use std::collections::{BTreeMap, HashMap};

use perf_ebpf::histogram::Lengths;

use super::Tasks;
use crate::{
    drain::{RawKernelLocks, RawWindow, Tally, add_lengths},
    symbolize::kernel_lock_kind,
};

/// Waits for locks of the kernel, on their way to be stored.
#[derive(Debug, Default)]
pub struct LocatedKernelLocks {
    /// By process and lock: `mmap_lock, reading`, or `tasklist_lock (rwlock, writing)`.
    pub sums: Vec<((u32, String), Lengths)>,
    /// The names of the processes in these.
    pub processes: HashMap<u32, String>,
    /// What became of all of them.
    pub tally: Tally,
}

impl LocatedKernelLocks {
    /// Those that are counted in `sums`.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.sums.iter().map(|(_, sum)| sum.count).sum()
    }
}

impl Tasks {
    /// Gives locks of the kernel their names.
    pub(super) fn locate_kernel_locks(&mut self, locks: &RawKernelLocks, window: &RawWindow) -> LocatedKernelLocks {
        let mut located = LocatedKernelLocks { tally: locks.tally.clone(), ..LocatedKernelLocks::default() };
        let mut sums: BTreeMap<(u32, String), Lengths> = BTreeMap::new();
        for ((tgid, how, lock), sum) in &locks.sums {
            let kind = kernel_lock_kind(*how);
            let name = if *lock == 0 { None } else { self.kernel_variables.name(*lock) };
            let name = name.map_or_else(|| kind.to_owned(), |name| format!("{name} ({kind})"));
            add_lengths(sums.entry((*tgid, name)).or_insert(Lengths::NONE), sum);
            located.processes.entry(*tgid).or_insert_with(|| self.process_name(*tgid, window.end_ns));
        }
        located.sums = sums.into_iter().collect();
        located
    }
}
