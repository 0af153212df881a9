//! Threads that wait for one another for ever.

use std::collections::HashMap;

use serde::Serialize;

use super::{super::places::label_of, KnownWaits};
use crate::{
    collect::EventKind,
    profile::{Deadlocked, LockWait, Profile},
};

/// Threads each of which waits for a lock that the next one has, and the last one for one that the first has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeadlockReport {
    /// The threads.
    pub threads: Vec<DeadlockedReport>,
    /// When it was complete, nanoseconds after the recording's start; 0 if it was before.
    pub since_ns: u64,
}

/// A thread in a deadlock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeadlockedReport {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// The lock that it waits for, and the next one has.
    pub waits_for: String,
    /// Where it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl DeadlockedReport {
    /// `name (tid)`.
    #[must_use]
    pub fn thread(&self) -> String {
        format!("{} ({})", self.comm, self.tid)
    }
}

/// Those of which the stacks tell that these are locks which say who has them.
pub(super) fn deadlocks(profile: &Profile, known: &KnownWaits<'_>) -> Vec<DeadlockReport> {
    if profile.locks.deadlocks.is_empty() {
        return Vec::new();
    }
    let mut waits: HashMap<(u32, u64), (&LockWait<'_>, u64)> = HashMap::new();
    for sample in profile.series(EventKind::Locks.name()).map_or(&[][..], |series| &series.samples) {
        let Some(thread) = profile.threads.get(sample.thread.0 as usize) else { continue };
        let Some((wait, _)) = known.get(&(thread.tgid, sample.stack)) else { continue };
        let longest = waits.entry((thread.tid, wait.address)).or_insert((wait, 0));
        if sample.value > longest.1 {
            *longest = (wait, sample.value);
        }
    }
    let told = |cycle: &Vec<Deadlocked>| {
        let threads = cycle.iter().map(|thread| {
            let (wait, _) = waits.get(&(thread.tid, thread.address))?;
            wait.tells_owner_at(thread.how).then(|| DeadlockedReport {
                tgid: thread.tgid,
                tid: thread.tid,
                comm: thread.comm.clone(),
                waits_for: thread.lock.clone(),
                place: label_of(profile, &wait.stack),
            })
        });
        let threads = threads.collect::<Option<Vec<_>>>()?;
        Some(DeadlockReport { threads, since_ns: cycle.iter().map(|thread| thread.since_ns).max().unwrap_or(0) })
    };
    profile.locks.deadlocks.iter().filter_map(told).collect()
}
