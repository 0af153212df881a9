//! From the threads' states to what each did in a window: also of those that did not change in it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use perf_ebpf::{
    sample::Key,
    sched::{Past, PastThread, State, Thread, Waits},
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, read_map};
use crate::{
    collect::{
        Did, EventKind, RawSample,
        session::{Session, SessionOptions},
    },
    host::sys::Reading,
};

const WAITS: [&str; 2] = ["WAITS_0", "WAITS_1"];
const PAST: [&str; 2] = ["PAST_0", "PAST_1"];
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
    /// Stacks of the last window, and of intervals that have not ended: they may be in a later window's intervals.
    stacks: HashMap<u64, Arc<[u64]>>,
}

/// An interval off the CPU.
#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    /// How long the thread was blocked and runnable in it, as far as windows have told.
    told: [u64; 2],
    stacks: [u64; 3],
}

#[derive(Debug, Default)]
struct Told {
    times: [u64; 3],
    /// Windows since the thread was last seen. One that is not seen in two has ended, and that was lost.
    unseen: u32,
}

impl Threads {
    /// Reads what threads did until `end_ns`, when the window ended whose maps are those of `generation`. Adds to `stacks`,
    /// the window's, those that are older.
    pub(super) fn read(
        &mut self,
        session: &Session,
        generation: u32,
        end_ns: u64,
        stacks: &mut HashMap<u64, Arc<[u64]>>,
    ) -> Result<Found, DrainError> {
        let mut found = Found::default();
        let slot = generation as usize;
        read_map(session, WAITS[slot], Reading::Drain, (size_of::<Key>(), size_of::<Waits>()), BATCH, |key, value| {
            match (Key::read_from_bytes(key), Waits::read_from_bytes(value)) {
                (Ok(key), Ok(waits)) => found.off(&key, waits.first_ns, [waits.blocked_ns, waits.runnable_ns]),
                _ => found.undecodable += 1,
            }
        })?;
        let bytes = (size_of::<Past>(), size_of::<PastThread>());
        read_map(session, PAST[slot], Reading::Drain, bytes, BATCH, |key, value| {
            match (Past::read_from_bytes(key), PastThread::read_from_bytes(value)) {
                (Ok(past), Ok(was)) if past.ended != 0 => {
                    self.tell(&mut found, &was.thread, was.thread.times(was.until_ns));
                    self.told.remove(&(was.thread.key.tid, was.thread.first_ns));
                }
                (Ok(past), Ok(was)) => {
                    let off = was.thread.off(was.until_ns);
                    let id = (past.tid, past.from_ns);
                    let before = self.open.remove(&id).or_else(|| self.ending.remove(&id)).unwrap_or_default();
                    let rest = rest(off, before.told);
                    found.taken_ns += rest.iter().sum::<u64>();
                    found.off(&was.thread.key, past.from_ns, rest);
                }
                _ => found.undecodable += 1,
            }
        })?;
        let mut open = HashMap::new();
        for thread in look(session)?.values() {
            self.tell(&mut found, thread, thread.times(end_ns));
            let is_off = thread.state == State::Blocked as u32 || thread.state == State::Runnable as u32;
            if is_off && thread.off_ns < end_ns {
                let off = thread.off(end_ns);
                let id = (thread.key.tid, thread.off_ns);
                let before = self.open.remove(&id).unwrap_or_default();
                let rest = rest(off, before.told);
                found.taken_ns += rest.iter().sum::<u64>();
                found.off(&thread.key, thread.off_ns, rest);
                let told = [before.told[0] + rest[0], before.told[1] + rest[1]];
                open.insert(id, Interval { told, stacks: stacks_of(&thread.key) });
                found.open.push((thread.key, thread.off_ns, off));
            }
        }
        self.ending = std::mem::replace(&mut self.open, open);
        let own = stacks.clone();
        for id in found.off.iter().flat_map(|sample| [sample.user_stack, sample.kernel_stack, sample.python_stack]) {
            if let Some(frames) = self.stacks.get(&id) {
                stacks.entry(id).or_insert_with(|| Arc::clone(frames));
            }
        }
        let needed = self.open.values().chain(self.ending.values()).flat_map(|interval| interval.stacks);
        let needed: HashSet<u64> = needed.collect();
        self.stacks.retain(|id, _| needed.contains(id));
        self.stacks.extend(own);
        self.told.values_mut().for_each(|told| told.unseen += 1);
        self.told.retain(|_, told| told.unseen <= 2);
        Ok(found)
    }

    /// Adds what a thread did since this was last told.
    fn tell(&mut self, found: &mut Found, thread: &Thread, times: [u64; 3]) {
        let told = self.told.entry((thread.key.tid, thread.first_ns)).or_default();
        told.unseen = 0;
        let dids = [Did::Ran, Did::WaitedForCpu, Did::Blocked];
        for (did, (now, before)) in dids.into_iter().zip(times.into_iter().zip(told.times.iter_mut())) {
            let value = now.saturating_sub(*before);
            *before += value;
            if value > 0 {
                let key = Key { user_stack: 0, kernel_stack: 0, python_stack: 0, ..thread.key };
                found.did.push(RawSample::of(&key, Some(did), value, thread.since_ns));
            }
        }
    }
}

fn stacks_of(key: &Key) -> [u64; 3] {
    [key.user_stack, key.kernel_stack, key.python_stack]
}

/// What is left of two times after what was told of them.
fn rest(times: [u64; 2], told: [u64; 2]) -> [u64; 2] {
    [times[0].saturating_sub(told[0]), times[1].saturating_sub(told[1])]
}

/// What was found of a window.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Time off the CPU, by where and why.
    off: Vec<RawSample>,
    /// Time, by what threads did.
    did: Vec<RawSample>,
    /// Intervals that have not ended: who and where, since when, and how long blocked and runnable.
    open: Vec<(Key, u64, [u64; 2])>,
    /// Nanoseconds in `off` that the kernel half did not count.
    taken_ns: u64,
    undecodable: u64,
}

impl Found {
    fn off(&mut self, key: &Key, first_ns: u64, [blocked_ns, runnable_ns]: [u64; 2]) {
        for (did, value) in [(Did::Waited(key.why), blocked_ns), (Did::WaitedForCpu, runnable_ns)] {
            if value > 0 {
                self.off.push(RawSample::of(key, Some(did), value, first_ns));
            }
        }
    }

    /// Intervals that have not ended.
    pub(super) fn open(&self) -> impl Iterator<Item = (&Key, u64, [u64; 2])> {
        self.open.iter().map(|(key, off_ns, off)| (key, *off_ns, *off))
    }

    /// As kinds of events of a window; what the kernel half counted of the first is still to be added.
    pub(super) fn into_kinds(self, options: &SessionOptions) -> Vec<RawKind> {
        let Self { off, did, taken_ns, undecodable, .. } = self;
        let told: u64 = did.iter().map(|sample| sample.value).sum();
        let off = RawKind { samples: off, undecodable, taken: taken_ns, ..RawKind::new(EventKind::OffCpu) };
        let did = RawKind { samples: did, taken: told, ..RawKind::new(EventKind::Sched) };
        [off, did].into_iter().filter(|kind| options.records(kind.kind)).collect()
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
