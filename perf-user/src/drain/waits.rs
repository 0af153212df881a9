//! From the threads' states to what each did in a window: also of those that did not change in it.

use std::{collections::HashMap, sync::Arc};

use perf_ebpf::{
    sample::Key,
    sched::{Past, PastThread, State, Thread, UNKNOWN_EXEC, WaitKey, Waits, Waker},
};
use zerocopy::FromBytes as _;

use super::{
    DrainError,
    again::{Again, WalkWaiting},
    found::{Found, Interval, Wait, stacks_of, stacks_of_waker},
    kept::Kept,
    locks::HeldUp,
    read_map,
};
use crate::{
    collect::{Did, EventKind, RawSample, session::Session},
    host::{proc, sys::Reading},
};

const WAITS: [&str; 2] = ["WAITS_0", "WAITS_1"];
const PAST: [&str; 2] = ["PAST_0", "PAST_1"];
const WAKERS: [&str; 2] = ["WAKERS_0", "WAKERS_1"];
const THREADS: &str = "THREADS";

/// Entries asked for in one system call.
const BATCH: usize = 1024;

/// How often threads are read again that changed while they were read.
const ATTEMPTS: u32 = 3;

/// What is known of threads from the windows before.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// Intervals that have not ended, by thread and beginning.
    open: HashMap<(u32, u64), Interval>,
    /// The same, of those that ended after the end of the last window: the next one tells how.
    ending: HashMap<(u32, u64), Interval>,
    /// Of threads, by id and the time they were first heard of: how long they did what, as far as windows have told.
    told: HashMap<(u32, u64), Told>,
    stacks: Kept<u64, Arc<[u64]>>,
    /// The wait of a command for perfprobe to let it go, which is nothing that it does itself.
    held_back: Option<(u32, u64)>,
    /// Stacks that were walked from outside.
    again: Again,
    /// Who ended waits in the last window: such a wait counts in this one if the thread came to run in it.
    wakers: HashMap<u64, Waker>,
}

#[derive(Debug, Default)]
struct Told {
    times: [u64; 3],
    /// Windows since the thread was last seen. One that is not seen in two has ended, and that was lost.
    unseen: u32,
}

impl Threads {
    /// Nothing but the `stacks` of threads that wait already; whether stacks are walked `by_tables`.
    pub(super) fn new(stacks: HashMap<u64, Arc<[u64]>>, by_tables: bool) -> Self {
        Self { stacks: Kept::new(stacks), again: Again::new(by_tables), ..Self::default() }
    }

    /// The main thread of this process waits for perfprobe: the wait's thread and beginning.
    pub(super) fn holds_back(&mut self, tgid: u32) -> Option<(u32, u64)> {
        self.held_back = self.open.keys().find(|(tid, _)| *tid == tgid).copied();
        self.held_back
    }

    /// Reads what threads did until `end_ns`, when the window ended whose maps are those of `generation`, and which may be the last. Adds to
    /// `stacks`, the window's, those that are older, and those of threads that still wait and could not be walked before.
    pub(super) fn read(
        &mut self,
        session: &Session,
        generation: u32,
        end_ns: u64,
        is_last: bool,
        stacks: &mut HashMap<u64, Arc<[u64]>>,
        walk: WalkWaiting<'_>,
    ) -> Result<Found, DrainError> {
        let mut found = Found::new(session.options().waits, is_last);
        let slot = generation as usize;
        if session.options().tells_wakers() {
            let bytes = (size_of::<u64>(), size_of::<Waker>());
            found.wakers = std::mem::take(&mut self.wakers);
            read_map(session, WAKERS[slot], Reading::Drain, bytes, BATCH, |id, key| {
                match (u64::read_from_bytes(id), Waker::read_from_bytes(key)) {
                    (Ok(id), Ok(waker)) => drop(self.wakers.insert(id, waker)),
                    _ => found.undecodable += 1,
                }
            })?;
            found.wakers.extend(&self.wakers);
        }
        let bytes = (size_of::<WaitKey>(), size_of::<Waits>());
        read_map(session, WAITS[slot], Reading::Drain, bytes, BATCH, |key, value| {
            match (WaitKey::read_from_bytes(key), Waits::read_from_bytes(value)) {
                (Ok(wait), Ok(sum)) => found.waits.push(Wait {
                    wait,
                    off: [sum.blocked_ns, sum.runnable_ns],
                    ended: [sum.waker_off_ns.min(sum.blocked_ns), sum.blocked_ns.saturating_sub(sum.waker_off_ns)],
                    open_ns: 0,
                    first_ns: sum.first_ns,
                }),
                _ => found.undecodable += 1,
            }
        })?;
        let bytes = (size_of::<Past>(), size_of::<PastThread>());
        let mut ended = Vec::new();
        read_map(session, PAST[slot], Reading::Drain, bytes, BATCH, |key, value| {
            match (Past::read_from_bytes(key), PastThread::read_from_bytes(value)) {
                (Ok(past), Ok(was)) if past.ended != 0 => ended.push(was),
                (Ok(past), Ok(mut was)) => {
                    self.again.apply(&mut was.thread);
                    let id = (past.tid, past.from_ns);
                    let before = self.open.remove(&id).or_else(|| self.ending.remove(&id)).unwrap_or_default();
                    if self.held_back == Some(id) {
                        let [blocked_ns, runnable_ns] = before.rest(&was.thread, was.until_ns);
                        let told = self.told.entry((past.tid, was.thread.first_ns)).or_default();
                        told.times[1] += runnable_ns;
                        told.times[2] += blocked_ns;
                    } else {
                        found.interval(&was.thread, was.until_ns, before, true);
                    }
                }
                _ => found.undecodable += 1,
            }
        })?;
        for was in ended {
            self.tell(&mut found, &was.thread, was.thread.times(was.until_ns));
            self.told.remove(&(was.thread.wait.key.tid, was.thread.first_ns));
        }
        let let_go = if is_last && session.options().records(EventKind::Locks) {
            super::locks::let_go(session)?
        } else {
            HashMap::new()
        };
        let mut open = HashMap::new();
        self.again.begin();
        for thread in look(session)?.values_mut() {
            check(thread, end_ns);
            self.tell(&mut found, thread, thread.times(end_ns));
            let is_off = thread.state == State::Blocked as u32 || thread.state == State::Runnable as u32;
            if is_off && thread.off_ns < end_ns && session.options().tells_waits() {
                let id = (thread.wait.key.tid, thread.off_ns);
                let known = |id: u64| stacks.get(&id).or_else(|| self.stacks.get(id)).cloned();
                let walked = self.again.complete(thread, known, walk);
                stacks.extend(walked);
                found.at_lock.extend(HeldUp::of(thread, end_ns));
                // Who had the lock when the wait began has let go of it: whoever did so last is told of that time.
                let key = &thread.wait.key;
                if let_go.get(&(key.tgid, thread.wait.lock)).is_some_and(|let_go_ns| *let_go_ns > thread.off_ns) {
                    thread.wait.owner = 0;
                }
                let before = self.open.remove(&id).unwrap_or_default();
                open.insert(id, found.interval(thread, end_ns, before, false));
            }
        }
        found.share_out();
        self.ending = std::mem::replace(&mut self.open, open);
        self.again.retain(|wait| self.open.contains_key(wait) || self.ending.contains_key(wait));
        let waiting = found.waits.iter().map(|wait| &wait.wait.key);
        let needed = waiting.flat_map(stacks_of).chain(found.wakers.values().flat_map(stacks_of_waker));
        self.stacks.turn(stacks, needed, self.open.values().flat_map(|interval| interval.stacks).collect());
        self.told.values_mut().for_each(|told| told.unseen += 1);
        self.told.retain(|_, told| told.unseen <= 2);
        Ok(found)
    }

    /// Adds what a thread did since this was last told.
    fn tell(&mut self, found: &mut Found, thread: &Thread, times: [u64; 3]) {
        let told = self.told.entry((thread.wait.key.tid, thread.first_ns)).or_default();
        told.unseen = 0;
        let dids = [Did::Ran, Did::WaitedForCpu, Did::Blocked];
        for (did, (now, before)) in dids.into_iter().zip(times.into_iter().zip(told.times.iter_mut())) {
            let value = now.saturating_sub(*before);
            *before += value;
            if value > 0 {
                let key = Key { user_stack: 0, kernel_stack: 0, python_stack: 0, ..thread.wait.key };
                found.did.push(RawSample::of(&key, Some(did), value, thread.since_ns));
            }
        }
    }
}

/// Takes a thread that runs, as far as was seen, from the CPU if it has left it: there are kernels that run no programs while some
/// threads do. Few run at any time, and fewer for long. That is counted when it comes to run again.
fn check(thread: &mut Thread, end_ns: u64) {
    // One of whose time nothing is known yet has lost all of it then: not lightly.
    let long_ns = if thread.exec_ns == UNKNOWN_EXEC { 1_000_000_000 } else { 50_000_000 };
    let Key { tgid, tid, .. } = thread.wait.key;
    if thread.state != State::Running as u32 || end_ns.saturating_sub(thread.since_ns) < long_ns {
        return;
    }
    if proc::thread_stat(tgid, tid).is_none_or(|stat| stat.state() == b'R') {
        return;
    }
    // Kernels without that account say 0.
    if let Some(exec_ns) = proc::thread_exec_ns(tgid, tid).filter(|exec_ns| *exec_ns > 0) {
        thread.leave_unseen(exec_ns, end_ns);
    }
}

/// All threads as they are now, by their ids.
fn look(session: &Session) -> Result<HashMap<u32, Thread>, DrainError> {
    let mut threads = HashMap::new();
    for attempt in 1..=ATTEMPTS {
        let mut torn = false;
        read_map(session, THREADS, Reading::Look, (size_of::<u32>(), size_of::<Thread>()), BATCH, |key, value| {
            if let (Ok(tid), Ok(thread)) = (u32::read_from_bytes(key), Thread::read_from_bytes(value)) {
                if thread.is_whole() || attempt == ATTEMPTS {
                    threads.insert(tid, thread);
                } else {
                    torn = true;
                }
            }
        })?;
        if !torn {
            break;
        }
    }
    Ok(threads)
}
