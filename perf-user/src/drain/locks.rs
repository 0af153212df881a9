//! Locks: what happened at each in a window, and threads that wait for one another for ever.

use std::collections::{HashMap, HashSet};

use perf_ebpf::{
    comm::Comm,
    counters::Counter,
    lock::{Blame, HolderKey, LockKey, LockState, LockSum, operation},
    sample::Key,
    sched::{State, Thread, WaitKey, Waker},
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, read_map};
use crate::{
    collect::{
        Did, EventKind, RawSample,
        locks::{FoundLock, LockFinder},
        session::Session,
    },
    host::sys::Reading,
};

const LOCKS: [&str; 2] = ["LOCKS_0", "LOCKS_1"];
const HOLDERS: [&str; 2] = ["HOLDERS_0", "HOLDERS_1"];

/// Entries asked for in one system call.
const BATCH: usize = 256;

/// Threads that wait for a lock for less are in no deadlock yet.
const HELD_UP_NS: u64 = 100_000_000;

/// So many threads that still wait are told.
const MOST_TOLD: usize = 256;

/// Of so many of those whose locks name no other thread it is looked whether anybody has them.
const MOST_ALONE: usize = 256;

/// `FUTEX_WAIT`: how mutexes of glibc's are waited for.
const WAIT: u32 = 0;

/// Of so many threads that wait at once it is looked for whom.
const MOST_HELD_UP: usize = 4_096;

/// Where threads wait: a lock, and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockPlace {
    /// The process that waits.
    pub tgid: u32,
    /// Where the lock is.
    pub lock: u64,
    /// Who has it, if that was found; else 0.
    pub owner: u32,
    /// [`perf_ebpf::lock::how`] it is waited for.
    pub how: u32,
}

/// A thread that waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: Comm,
    /// Where the lock is.
    pub lock: u64,
    /// Since when, `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// Who has it, as far as its own process tells without being asked for other names; else 0.
    pub owner: u32,
    /// [`perf_ebpf::lock::how`] it waits, as far as is known.
    pub how: u32,
}

impl HeldUp {
    /// One that has waited for a lock for a while.
    pub(super) fn of(thread: &Thread, now_ns: u64) -> Option<Self> {
        let (key, lock) = (&thread.wait.key, thread.wait.lock);
        let is_long = now_ns.saturating_sub(thread.off_ns) >= HELD_UP_NS;
        let is_held_up = lock != 0 && thread.state == State::Blocked as u32 && is_long;
        let Thread { off_ns: since_ns, .. } = *thread;
        let WaitKey { owner, how, .. } = thread.wait;
        is_held_up.then_some(Self { tgid: key.tgid, tid: key.tid, comm: key.comm, lock, since_ns, owner, how })
    }
}

/// What happened at locks in a window.
#[derive(Debug, Default)]
pub struct RawLocks {
    /// At each.
    pub sums: Vec<(LockKey, LockSum)>,
    /// Threads of which each waits for a lock that the next one has, and the last one for one of the first's; or one alone, whose lock
    /// itself has, or a thread that its process has not: as the locks say, though what is no lock of such a kind may say anything.
    pub deadlocks: Vec<Vec<HeldUp>>,
    /// Threads that have waited for a while, and still do; those that have longest, if there are many.
    pub held_up: Vec<HeldUp>,
}

/// What is known of deadlocks from the windows before.
#[derive(Debug, Default)]
pub(super) struct Locks {
    told: HashSet<Vec<(u32, u64)>>,
}

impl Locks {
    /// Takes what a generation of maps holds, and looks whether threads that are `held_up` wait for one another.
    pub(super) fn read(
        &mut self,
        session: &Session,
        generation: u32,
        held_up: &[HeldUp],
    ) -> Result<RawLocks, DrainError> {
        let mut found = RawLocks::default();
        let bytes = (size_of::<LockKey>(), size_of::<LockSum>());
        read_map(session, LOCKS[generation as usize], Reading::Drain, bytes, BATCH, |key, value| {
            if let (Ok(key), Ok(sum)) = (LockKey::read_from_bytes(key), LockSum::read_from_bytes(value)) {
                found.sums.push((key, sum));
            }
        })?;
        found.held_up = held_up.to_vec();
        found.held_up.sort_by_key(|thread| (thread.since_ns, thread.tid));
        found.held_up.truncate(MOST_TOLD);
        let alone: Vec<HeldUp> =
            held_up.iter().filter(|thread| thread.owner == 0 && operation(thread.how) == WAIT).copied().collect();
        // Whoever has a lock has it by a word of it that may name a thread, or names it by another id.
        let mut finder = LockFinder::default();
        let held_up: Vec<HeldUp> =
            held_up.iter().filter(|thread| thread.owner != 0 || finder.is_apart(thread.tgid)).copied().collect();
        found.deadlocks = self.deadlocks(&held_up, |tgid, tid| finder.found_now(tgid, tid));
        found.deadlocks.extend(self.alone(&alone, |tgid, tid| finder.found_lost(tgid, tid)));
        Ok(found)
    }

    /// Threads that wait for what nobody will let go of, and have not been told, among those whose locks are found by asking.
    fn alone(&mut self, held_up: &[HeldUp], mut ask: impl FnMut(u32, u32) -> Option<FoundLock>) -> Vec<Vec<HeldUp>> {
        let mut found = |thread: &HeldUp| ask(thread.tgid, thread.tid).filter(|found| found.lock == thread.lock);
        // Of all that wait for one lock, one is told.
        let id = |thread: &HeldUp| vec![(thread.tgid, thread.lock)];
        let mut held_up: Vec<&HeldUp> = held_up.iter().filter(|thread| !self.told.contains(&id(thread))).collect();
        held_up.sort_by_key(|thread| (thread.since_ns, thread.tid));
        let mut told = Vec::new();
        for thread in held_up.into_iter().take(MOST_ALONE) {
            // Between the two, who has just been given it would have gone on.
            if let Some(lost) = found(thread)
                && found(thread) == Some(lost)
                && self.told.insert(id(thread))
            {
                told.push(vec![HeldUp { owner: lost.owner, how: lost.how, ..*thread }]);
            }
        }
        told
    }

    /// Deadlocks that have not been told, among threads whose locks are found by asking.
    fn deadlocks(
        &mut self,
        held_up: &[HeldUp],
        mut ask: impl FnMut(u32, u32) -> Option<FoundLock>,
    ) -> Vec<Vec<HeldUp>> {
        // One alone waits for nobody that waits.
        if held_up.len() < 2 {
            return Vec::new();
        }
        let held_up = &held_up[..held_up.len().min(MOST_HELD_UP)];
        let waits: HashMap<u32, &HeldUp> = held_up.iter().map(|thread| (thread.tid, thread)).collect();
        // A lock that has been let go of since is not asked for any more, and who gives up after a while goes on.
        let mut found = |thread: &HeldUp| {
            let found = ask(thread.tgid, thread.tid).filter(|found| found.lock == thread.lock && !found.is_timed)?;
            waits.contains_key(&found.owner).then_some(found)
        };
        let owners: HashMap<u32, FoundLock> =
            held_up.iter().filter_map(|thread| Some((thread.tid, found(thread)?))).collect();
        let mut deadlocks = Vec::new();
        let mut looked_at: HashSet<u32> = HashSet::new();
        for thread in held_up {
            let (mut path, mut at) = (Vec::new(), Some(thread.tid));
            while let Some(tid) = at.filter(|tid| looked_at.insert(*tid)) {
                path.push(tid);
                at = owners.get(&tid).map(|found| found.owner);
            }
            // It ends where this path has been, or another.
            let Some(begin) = at.and_then(|tid| path.iter().position(|other| *other == tid)) else { continue };
            let told = |tid: &u32| {
                let FoundLock { owner, how, .. } = *owners.get(tid)?;
                Some(HeldUp { owner, how, ..**waits.get(tid)? })
            };
            let cycle: Vec<HeldUp> = path[begin..].iter().filter_map(told).collect();
            // What each waited for while the others were asked is what it waits for still.
            let is_still = |thread: &HeldUp| found(thread) == owners.get(&thread.tid).copied();
            let mut id: Vec<(u32, u64)> = cycle.iter().map(|thread| (thread.tid, thread.since_ns)).collect();
            id.sort_unstable();
            if cycle.iter().all(is_still) && self.told.insert(id) {
                deadlocks.push(cycle);
            }
        }
        deadlocks
    }
}

/// When locks were let go of last, by process and address.
pub(super) fn let_go(session: &Session) -> Result<HashMap<(u32, u64), u64>, DrainError> {
    let mut found = HashMap::new();
    let bytes = (size_of::<LockKey>(), size_of::<LockState>());
    read_map(session, "LOCK_STATES", Reading::Look, bytes, BATCH, |key, state| {
        if let (Ok(key), Ok(state)) = (LockKey::read_from_bytes(key), LockState::read_from_bytes(state)) {
            found.insert((key.tgid, key.lock), state.let_go_ns);
        }
    })?;
    Ok(found)
}

/// In place of how a lock is waited for: who has it is told, of a lock of this process.
pub const OF_PROCESS: u32 = u32::MAX;

/// Who made others wait for locks in a window that ended at `end_ns`, where that thread let go of them, or had waited itself; of these
/// `wakers`. Samples name `places`.
pub(super) fn holders(
    session: &Session,
    generation: u32,
    end_ns: u64,
    wakers: &HashMap<u64, Waker>,
    places: &mut Vec<LockPlace>,
) -> Result<RawKind, DrainError> {
    let mut kind = RawKind::new(EventKind::Holders);
    let (mut unknown, mut known) = (0, HashMap::new());
    let bytes = (size_of::<HolderKey>(), size_of::<Blame>());
    read_map(session, HOLDERS[generation as usize], Reading::Drain, bytes, BATCH, |key, value| {
        let (Ok(key), Ok(blame)) = (HolderKey::read_from_bytes(key), Blame::read_from_bytes(value)) else {
            kind.undecodable += 1;
            return;
        };
        kind.tally.taken += blame.ns;
        let Some(waker) = wakers.get(&key.waker) else {
            unknown += blame.ns;
            return;
        };
        // Where the lock is, and whose.
        let place = LockPlace { tgid: key.key.tgid, lock: key.key.lock, owner: 0, how: OF_PROCESS };
        let lock = Some(*known.entry(place).or_insert_with(|| {
            places.push(place);
            (places.len() - 1) as u32
        }));
        let waited_ns = blame.waited_ns.min(blame.ns);
        let Waker { key: there, waited_stack, waited_python } = *waker;
        // How it woke another is no matter of where it had the lock.
        let there = Key { kernel_stack: 0, ..there };
        let waited = Key { user_stack: waited_stack, python_stack: waited_python, ..there };
        let parts = [(waited_ns, waited, Did::Waited(there.why)), (blame.ns - waited_ns, there, Did::Ran)];
        for (value, key, did) in parts.into_iter().filter(|(value, ..)| *value > 0) {
            kind.samples.push(RawSample { lock, ..RawSample::of(&key, Some(did), value, end_ns) });
        }
    })?;
    kind.tally.lost.push((Counter::WakersMissed.name(), unknown));
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(tid: u32) -> HeldUp {
        HeldUp { tgid: 1, tid, comm: [0; 16], lock: u64::from(tid) * 16, since_ns: 5, owner: 1, how: 0 }
    }

    fn at(lock: u64, owner: u32) -> FoundLock {
        FoundLock { lock, owner, how: 0, is_timed: false }
    }

    #[test]
    fn threads_that_wait_for_one_another_are_told_once() {
        // 10 -> 11 -> 12 -> 10, 13 -> 10, and 20 -> 21, which waits for nobody that waits.
        let owners = HashMap::from([(10, 11), (11, 12), (12, 10), (13, 10), (20, 21), (21, 99)]);
        let ask = |_: u32, tid: u32| owners.get(&tid).map(|owner| at(u64::from(tid) * 16, *owner));
        let held_up: Vec<HeldUp> = [13, 10, 11, 12, 20, 21].map(waits).to_vec();
        let mut locks = Locks::default();
        let deadlocks = locks.deadlocks(&held_up, ask);
        let told: Vec<Vec<u32>> =
            deadlocks.iter().map(|cycle| cycle.iter().map(|thread| thread.tid).collect()).collect();
        assert_eq!(told, [[10, 11, 12]]);
        assert!(locks.deadlocks(&held_up, ask).is_empty(), "it is known");
    }

    #[test]
    fn who_waits_for_what_nobody_lets_go_of_is_told_once() {
        let lost = |_: u32, tid: u32| (tid != 11).then(|| at(u64::from(tid) * 16, if tid == 10 { 10 } else { 77 }));
        let held_up: Vec<HeldUp> = [10, 11, 12].map(waits).to_vec();
        let mut locks = Locks::default();
        let told: Vec<Vec<(u32, u32)>> = locks
            .alone(&held_up, lost)
            .iter()
            .map(|one| one.iter().map(|thread| (thread.tid, thread.owner)).collect())
            .collect();
        assert_eq!(told, [[(10, 10)], [(12, 77)]]);
        assert!(locks.alone(&held_up, lost).is_empty(), "it is known");
        let asked = std::cell::Cell::new(0);
        let once = |_: u32, tid: u32| {
            asked.set(asked.get() + 1);
            (asked.get() == 1).then(|| at(u64::from(tid) * 16, tid))
        };
        assert!(Locks::default().alone(&held_up[..1], once).is_empty(), "it was given it meanwhile");
    }

    #[test]
    fn a_lock_that_was_let_go_of_makes_no_deadlock() {
        let asked = std::cell::Cell::new(0);
        let ask = |_: u32, tid: u32| {
            asked.set(asked.get() + 1);
            // From the third time on, the first thread waits for another lock.
            let lock = if tid == 10 && asked.get() > 2 { 1 } else { u64::from(tid) * 16 };
            Some(at(lock, 21 - tid))
        };
        assert!(Locks::default().deadlocks(&[waits(10), waits(11)], ask).is_empty());
        let elsewhere = |_: u32, tid: u32| Some(at(7, 21 - tid));
        assert!(Locks::default().deadlocks(&[waits(10), waits(11)], elsewhere).is_empty());
        let a_while = |_: u32, tid: u32| Some(FoundLock { is_timed: tid == 11, ..at(u64::from(tid) * 16, 21 - tid) });
        assert!(Locks::default().deadlocks(&[waits(10), waits(11)], a_while).is_empty(), "it gives up one day");
    }
}
