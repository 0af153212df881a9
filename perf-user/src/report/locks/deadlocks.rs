//! Threads that wait for one another for ever.

use std::collections::HashMap;

use serde::Serialize;

use super::{super::places::label_of, KnownWaits};
use crate::{
    collect::EventKind,
    profile::{Deadlocked, FrameId, LockWait, Profile},
};

/// Threads each of which waits for a lock that the next one has, and the last one for one that the first has; or one alone, for a lock
/// that it has itself, or that a thread has which its process has not.
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
    /// The thread that has it.
    pub owner: u32,
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

impl DeadlockReport {
    /// Who has the lock that one of the threads waits for, as what follows the lock's name.
    #[must_use]
    pub fn told_owner(&self, at: usize) -> String {
        match &self.threads[..] {
            [alone] if alone.owner == alone.tid => "which it has itself".into(),
            [alone] => format!("which thread {} has, none of this process", alone.owner),
            threads => {
                let next = threads.get(at + 1).or(threads.first()).map(DeadlockedReport::thread);
                format!("which {} has", next.unwrap_or_default())
            }
        }
    }

    /// What follows from that.
    #[must_use]
    pub fn consequence(&self) -> &'static str {
        match &self.threads[..] {
            [alone] if alone.owner == alone.tid => "it cannot go on, unless another lets go of it",
            [_] => "it ended without letting go of it, or was its parent's when this was forked",
            _ => "none of them can go on",
        }
    }
}

/// Whether a stack, whose innermost frame is the last, is one of a thread that takes a mutex of the C library's.
fn takes_mutex(profile: &Profile, stack: &[FrameId]) -> bool {
    let frames = stack.iter().rev().filter_map(|id| profile.frames.get(id.0 as usize));
    frames.map(|frame| profile.strings.get(frame.function)).any(|name| name.contains("pthread_mutex_lock"))
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
            // Others are waited for as mutexes are, and have something else where these have their owner.
            let is_lock = wait.tells_owner_at(thread.how) && (cycle.len() > 1 || takes_mutex(profile, &wait.stack));
            is_lock.then(|| DeadlockedReport {
                tgid: thread.tgid,
                tid: thread.tid,
                comm: thread.comm.clone(),
                waits_for: thread.lock.clone(),
                owner: thread.owner,
                place: label_of(profile, &wait.stack),
            })
        });
        let threads = threads.collect::<Option<Vec<_>>>()?;
        Some(DeadlockReport { threads, since_ns: cycle.iter().map(|thread| thread.since_ns).max().unwrap_or(0) })
    };
    profile.locks.deadlocks.iter().filter_map(told).collect()
}
