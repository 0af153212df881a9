//! Locks with what only their moment knows: what lies where they are, and the names of threads.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use perf_ebpf::lock::LockSum;

use super::{Module, Tasks};
use crate::{
    collect::target::comm_text,
    drain::{HeldUp, LockPlace, OF_PROCESS, RawWindow},
    host::proc,
};

/// What happened at locks, on its way to be stored.
#[derive(Debug, Default)]
pub struct LocatedLocks {
    /// By process and address: what the lock is called, and what happened at it.
    pub sums: Vec<((u32, u64), String, LockSum)>,
    /// The names of the processes in these.
    pub processes: HashMap<u32, String>,
    /// Threads of which each waits for a lock that the next one has, and the last one for one of the first's; with the names of
    /// threads and of locks.
    pub deadlocks: Vec<Vec<(HeldUp, String, String)>>,
    /// Threads that have waited for a while and still do; for who looks on, and not stored.
    pub held_up: Vec<(HeldUp, String, String)>,
}

/// What stands for a lock in stacks, and for who has it, if that is known.
#[derive(Debug)]
pub(super) struct PlacedLock {
    /// The lock, and its address.
    pub(super) lock: (Arc<Module>, u64),
    /// Who has it: the thread, and how the lock is waited for, as [`owner_address`] puts them; of who had it, the lock's process.
    pub(super) owner: Option<(Arc<Module>, u64)>,
}

/// The names of owners begin with this.
pub const HELD_BY: &str = "held by ";

/// An owner as an address: the thread, and [how](perf_ebpf::lock::how) the lock is waited for.
fn owner_address(place: &LockPlace) -> u64 {
    u64::from(place.how) << 32 | u64::from(place.owner)
}

impl Tasks {
    /// What stands for the locks that samples of a window name, in their order.
    pub(super) fn place_locks(&mut self, window: &RawWindow) -> Vec<PlacedLock> {
        let samples = window.kinds.iter().flat_map(|kind| &kind.samples);
        let mut names: HashMap<u32, String> = if window.lock_places.iter().any(|place| place.owner != 0) {
            samples.map(|sample| (sample.tid, comm_text(&sample.comm))).collect()
        } else {
            HashMap::new()
        };
        let places = window.lock_places.iter();
        let place = |place: &LockPlace| {
            let name = self.lock_names.name(place.tgid, place.lock);
            let lock = (self.modules.lock(&name), place.lock);
            // Who had it may be of another process than who waited.
            let of_process = (place.how == OF_PROCESS)
                .then(|| (self.modules.lock(&format!("of process {}", place.tgid)), u64::from(place.tgid)));
            let owner = (place.owner != 0).then(|| {
                let comm = names.entry(place.owner).or_insert_with(|| thread_name(place.owner));
                (self.modules.lock(&format!("{HELD_BY}{comm} ({})", place.owner)), owner_address(place))
            });
            PlacedLock { lock, owner: of_process.or(owner) }
        };
        places.map(place).collect()
    }

    /// Finds out what is known of locks as long as it can be known.
    pub(super) fn locate_locks(&mut self, window: &RawWindow) -> Option<LocatedLocks> {
        let locks = window.locks.as_ref()?;
        let mut name = |tgid, lock| self.lock_names.name(tgid, lock);
        // After an exec another may lie there, and has the same place.
        let sums = locks.sums.iter().map(|(key, sum)| ((key.tgid, key.lock), name(key.tgid, key.lock), *sum)).collect();
        let mut told = |thread: &HeldUp| (*thread, comm_text(&thread.comm), name(thread.tgid, thread.lock));
        let deadlocks = locks.deadlocks.iter().map(|cycle| cycle.iter().map(&mut told).collect()).collect();
        let held_up = locks.held_up.iter().map(&mut told).collect();
        self.lock_names.end_window();
        let tgids: HashSet<u32> = locks.sums.iter().map(|(key, _)| key.tgid).collect();
        let processes = tgids.into_iter().map(|tgid| (tgid, self.process_name(tgid, window.end_ns))).collect();
        Some(LocatedLocks { sums, processes, deadlocks, held_up })
    }
}

fn thread_name(tid: u32) -> String {
    // Any thread can be asked for by its own id.
    proc::thread_comm(tid, tid).unwrap_or_else(|| "a thread".into())
}
