//! Threads of a pool that wait for work: which of their waits in condition variables are no trouble.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Frame, FrameId, FrameKind, Owner, Profile, StackId, ThreadIndex};
use crate::{
    collect::{Did, EventKind},
    symbolize::did_name,
};

/// Why such a thread waits.
pub const IDLE_POOL: &str = "idle: pool";

/// Of a thread's time, so many percent are in one condition variable.
const SHARE_PERCENT: u64 = 90;

/// So many threads of a process that wait at one place are a pool.
const THREADS: usize = 2;

/// A part of the name of a function that waits in a condition variable, or is a runtime's for threads without work.
const CONDITIONS: [&str; 15] = [
    "pthread_cond_",
    "cnd_wait",
    "cnd_timedwait",
    "sync::condvar::",
    "sync::poison::condvar::",
    "condvar::Condvar",
    "std::thread::park",
    "thread::Thread>::park",
    "std::condition_variable",
    "Condition.wait",
    "_queue_SimpleQueue_get",
    "ConditionObject",
    "ForkJoinPool.awaitWork",
    "runtime.stopm",
    "SynchronousQueue",
];

/// A part of the name of a function that waits for the end of another thread.
const JOINS: [&str; 6] =
    ["pthread_join", "pthread_clockjoin", "pthread_timedjoin", "thread::join", "JoinHandle", "Thread.join"];

/// A part of the name of a function that waits for a lock, which somebody holds: never idle.
const LOCKS: [&str; 11] = [
    "mutex_lock",
    "mutex_cond_lock",
    "mutex_timedlock",
    "lll_lock_wait",
    "rwlock",
    "RwLock",
    "Mutex::lock",
    "lock_contended",
    "lock_slow",
    "take_gil",
    "ObjectMonitor::enter",
];

/// The process, the thread, and the function and the module in which it waits for work.
type Member = (u32, u32, String, String);

/// Threads of pools, with the place at which each waits for work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools(BTreeSet<Member>);

/// The time of a thread in condition variables, by function and module.
type Waits = HashMap<(String, String), u64>;

/// Something of each thread, by process and thread.
type ByThread<T> = BTreeMap<(u32, u32), T>;

impl Profile {
    /// Finds threads of pools. All of this has to hold: nine tenths of the thread's time it waits in a condition variable, called
    /// from one function; it ran in both halves of the time, so that this ends and begins again; and another thread of the process
    /// does the same in the same function. Of waits that began before the recording nothing is known: they are left out of account.
    #[must_use]
    pub fn pools(&self) -> Pools {
        let (waits, unknown_ns) = self.condition_waits();
        let times = self.times();
        let mut pools: BTreeMap<(u32, &str, &str), Vec<u32>> = BTreeMap::new();
        for ((tgid, tid), places) in &waits {
            let Some((wall_ns, [true, true])) = times.get(&(*tgid, *tid)) else { continue };
            let known_ns = wall_ns.saturating_sub(unknown_ns.get(&(*tgid, *tid)).copied().unwrap_or(0));
            let most = places.iter().max_by_key(|(place, ns)| (**ns, *place));
            if let Some(((function, module), ns)) = most
                && u128::from(*ns) * 100 >= u128::from(known_ns) * u128::from(SHARE_PERCENT)
            {
                pools.entry((*tgid, function, module)).or_default().push(*tid);
            }
        }
        let pools = pools.into_iter().filter(|(_, tids)| tids.len() >= THREADS);
        let members = pools.flat_map(|((tgid, function, module), tids)| {
            tids.into_iter().map(move |tid| (tgid, tid, function.to_owned(), module.to_owned()))
        });
        Pools(members.collect())
    }

    /// Calls the waits of these threads for work by their name, instead of `futex`.
    pub fn name_idle(&mut self, pools: &Pools) {
        if pools.0.is_empty() {
            return;
        }
        let idle = self.strings.intern(IDLE_POOL);
        let mut renamed: HashMap<StackId, StackId> = HashMap::new();
        let mut frames: HashMap<FrameId, FrameId> = HashMap::new();
        let mut all = std::mem::take(&mut self.series);
        let waits = [EventKind::OffCpu.name(), EventKind::OffWake.name()];
        for series in all.iter_mut().filter(|series| waits.contains(&series.event.as_str())) {
            let samples = series.samples.iter_mut().map(|sample| (sample.thread, &mut sample.stack));
            let moments = series.moments.iter_mut().map(|moment| (moment.thread, &mut moment.stack));
            for (thread, stack) in samples.chain(moments) {
                if !self.is_member(pools, thread, *stack) {
                    continue;
                }
                *stack = *renamed.entry(*stack).or_insert_with(|| {
                    let mut ids = self.stacks.root_to_leaf(*stack);
                    if let Some(at) = ids.iter().position(|id| self.frames[id.0 as usize].kind == FrameKind::Wait) {
                        ids[at] = *frames.entry(ids[at]).or_insert_with(|| {
                            self.frames.push(Frame { function: idle, ..self.frames[ids[at].0 as usize] });
                            FrameId(self.frames.len() as u32 - 1)
                        });
                    }
                    ids.into_iter().fold(StackId::EMPTY, |caller, id| self.stacks.push(caller, id))
                });
            }
        }
        self.series = all;
    }

    fn is_member(&self, pools: &Pools, thread: ThreadIndex, stack: StackId) -> bool {
        let Some(thread) = self.threads.get(thread.0 as usize) else { return false };
        self.condition(stack).is_some_and(|place| {
            let [function, module] = [place.function, place.module].map(|id| self.strings.get(id).to_owned());
            pools.0.contains(&(thread.tgid, thread.tid, function, module))
        })
    }

    /// By thread: the time in condition variables by place, and the time of waits without a stack.
    fn condition_waits(&self) -> (ByThread<Waits>, ByThread<u64>) {
        let (mut waits, mut unknown_ns) = (ByThread::<Waits>::new(), ByThread::<u64>::new());
        let mut places: HashMap<StackId, Option<(String, String)>> = HashMap::new();
        for sample in self.series(EventKind::OffCpu.name()).map_or(&[][..], |series| &series.samples) {
            let Some(thread) = self.threads.get(sample.thread.0 as usize) else { continue };
            let id = (thread.tgid, thread.tid);
            let place = places.entry(sample.stack).or_insert_with(|| {
                let place = self.condition(sample.stack)?;
                Some((self.strings.get(place.function).to_owned(), self.strings.get(place.module).to_owned()))
            });
            if let Some(place) = place {
                *waits.entry(id).or_default().entry(place.clone()).or_default() += sample.value;
            } else if self.stacks.leaf_to_root(sample.stack).nth(1).is_none() {
                *unknown_ns.entry(id).or_default() += sample.value;
            }
        }
        (waits, unknown_ns)
    }

    /// By thread: all its time, and whether it ran in the first and in the second half of the recording's.
    fn times(&self) -> ByThread<(u64, [bool; 2])> {
        let samples = self.series(EventKind::Sched.name()).map_or(&[][..], |series| &series.samples);
        let windows = || samples.iter().map(|sample| sample.window_ns);
        let middle_ns = windows().min().unwrap_or(0).midpoint(windows().max().unwrap_or(0));
        let ran = did_name(Did::Ran);
        let mut times = ByThread::<(u64, [bool; 2])>::new();
        for sample in samples {
            let Some(thread) = self.threads.get(sample.thread.0 as usize) else { continue };
            let (wall_ns, halves) = times.entry((thread.tgid, thread.tid)).or_default();
            *wall_ns += sample.value;
            if self.reason(sample.stack) == Some(ran) && sample.value > 0 {
                halves[usize::from(sample.window_ns > middle_ns)] = true;
            }
        }
        times
    }

    /// Whether a thread waits for a sign of another: in a condition variable, or for its end.
    #[must_use]
    pub fn awaits_sign(&self, stack: StackId) -> bool {
        self.condition(stack).or_else(|| self.futex(stack, &JOINS)).is_some()
    }

    /// Where a thread waits in a condition variable, if it does.
    fn condition(&self, stack: StackId) -> Option<&Frame> {
        self.futex(stack, &CONDITIONS)
    }

    /// Where a thread waits by a futex in a function with one of these parts in its name, and for no lock, if it does.
    fn futex(&self, stack: StackId, parts: &[&str]) -> Option<&Frame> {
        // Of a stack that goes on with the waker's, only the part up to the reason.
        let ids = self.stacks.root_to_leaf(stack);
        let frames: Vec<&Frame> = ids.iter().filter_map(|id| self.frames.get(id.0 as usize)).collect();
        let reason = frames.iter().position(|frame| frame.kind == FrameKind::Wait)?;
        if self.strings.get(frames[reason].function) != "futex" {
            return None;
        }
        let place = self.place_of(frames[..reason].iter().rev().copied())?;
        let inner = frames[..reason].iter().rev().take_while(|frame| !std::ptr::eq(**frame, place.own));
        let names: Vec<&str> = inner
            .chain([&place.own])
            .filter(|frame| frame.kind != FrameKind::Kernel)
            .map(|frame| self.strings.get(frame.function))
            .collect();
        let has =
            |names: &[&str], known: &[&str]| names.iter().any(|name| known.iter().any(|part| name.contains(part)));
        // A function of the program's own is no condition variable because it is called like one.
        let called = if self.owner(place.own) == Owner::Program { &names[..names.len() - 1] } else { &names[..] };
        (has(called, parts) && !has(&names, &LOCKS)).then_some(place.own)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sample, Series, Thread};
    use super::*;

    /// A profile of two seconds in which threads of one process wait at these stacks, the outermost frame first, for so many
    /// nanoseconds of a hundred, and run in these windows.
    fn profile(threads: &[(&[&str], u64, &[u64])]) -> Profile {
        let mut profile = Profile::default();
        let empty = profile.strings.intern("");
        let mut series = ["offcpu", "sched"].map(|event| Series { event: event.into(), ..Series::default() });
        for (at, (labels, waited, windows)) in threads.iter().enumerate() {
            profile.threads.push(Thread { tgid: 1, tid: at as u32 + 1, comm: empty, process: empty });
            let mut stack = |labels: &[&str]| {
                labels.iter().fold(StackId::EMPTY, |caller, label| {
                    let (function, id) = (profile.strings.intern(label), FrameId(profile.frames.len() as u32));
                    let kind =
                        if ["futex", "running", "blocked"].contains(label) { FrameKind::Wait } else { FrameKind::User };
                    let same = |frame: &Frame| frame.function == function && frame.kind == kind;
                    let known = profile.frames.iter().position(same).map(|at| FrameId(at as u32));
                    if known.is_none() {
                        let (module, file) = (empty, empty);
                        profile.frames.push(Frame {
                            function,
                            module,
                            file,
                            line: 0,
                            kind,
                            symbolized: true,
                            address: 0,
                        });
                    }
                    profile.stacks.push(caller, known.unwrap_or(id))
                })
            };
            let [waits, ran, blocked] = [*labels, &["running"], &["blocked"]].map(&mut stack);
            let sample = |window_ns, stack, value| Sample { window_ns, thread: ThreadIndex(at as u32), stack, value };
            series[0].samples.push(sample(0, waits, *waited));
            series[1].samples.push(sample(0, blocked, 100 - windows.len() as u64));
            series[1].samples.extend(windows.iter().map(|window_ns| sample(*window_ns, ran, 1)));
        }
        profile.series = series.into();
        profile
    }

    /// The time that threads wait as idle ones.
    fn idle_ns(threads: &[(&[&str], u64, &[u64])]) -> u64 {
        let mut profile = profile(threads);
        let before = profile.series[0].total();
        let pools = profile.pools();
        profile.name_idle(&pools);
        assert_eq!(profile.series[0].total(), before, "nothing is lost");
        let waits = &profile.series[0].samples;
        waits.iter().filter(|sample| profile.reason(sample.stack) == Some(IDLE_POOL)).map(|sample| sample.value).sum()
    }

    const BOTH: &[u64] = &[0, 1];
    const WORKER: &[&str] = &["worker_loop", "pthread_cond_wait", "__futex_abstimed_wait_common", "futex"];

    #[test]
    fn workers_that_come_back_for_work_are_a_pool() {
        assert_eq!(idle_ns(&[(WORKER, 95, BOTH), (WORKER, 98, BOTH)]), 193);
        let rust = &[
            "<alloc::boxed::Box<F> as core::ops::FnOnce>::call_once",
            "pool::run",
            "std::sync::mpsc::Receiver<T>::recv",
            "std::sys::sync::condvar::futex::Condvar::wait",
            "syscall",
            "futex",
        ];
        assert_eq!(idle_ns(&[(rust, 95, BOTH), (rust, 98, BOTH)]), 193);
    }

    #[test]
    fn what_may_be_trouble_is_never_idle() {
        assert_eq!(idle_ns(&[(WORKER, 95, BOTH)]), 0, "one is no pool");
        assert_eq!(idle_ns(&[(WORKER, 95, BOTH), (WORKER, 80, BOTH)]), 0, "one of them does something else as well");
        assert_eq!(idle_ns(&[(WORKER, 95, &[0]), (WORKER, 98, &[0])]), 0, "they do not wake any more");
        let other: &[&str] = &["other_loop", "pthread_cond_wait", "futex"];
        assert_eq!(idle_ns(&[(WORKER, 95, BOTH), (other, 98, BOTH)]), 0, "not at one place");
        for stack in [
            &["worker_loop", "pthread_mutex_lock", "__lll_lock_wait", "futex"][..],
            &["worker_loop", "pthread_cond_wait", "__pthread_mutex_cond_lock", "__lll_lock_wait", "futex"],
            &["worker_loop", "std::sys::sync::mutex::futex::Mutex::lock_contended", "syscall", "futex"],
            &["my_pthread_cond_wait", "syscall", "futex"],
            &["worker_loop", "take_gil", "pthread_cond_timedwait", "futex"],
            &["worker_loop", "pthread_join", "futex"],
        ] {
            assert_eq!(idle_ns(&[(stack, 95, BOTH), (stack, 98, BOTH)]), 0, "{stack:?}");
        }
    }
}
