//! The scheduler's events: what every thread of the target does, and where and why it leaves the CPU.

use std::{collections::HashMap, os::fd::AsFd as _, sync::Arc};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData},
    programs::raw_trace_point::RawTracePointLink,
};
use perf_ebpf::{
    sample::Key,
    sched::{
        AtLock, NO_SYSTEM_CALL, State, TASK_INTERRUPTIBLE, TASK_STOPPED, TASK_UNINTERRUPTIBLE, Thread, UNKNOWN_EXEC,
        WaitKey, why,
    },
};
use zerocopy::IntoBytes as _;

use super::{
    AttachError, EventKind,
    before::{self, stack_of},
    locks::LockFinder,
    maps::size,
    session::{SessionOptions, Unwind},
    target::{Target, comm_from},
};
use crate::host::{Host, found_call::entry, proc, sys};

/// Threads that can be looked at, at once.
const THREADS: u32 = 65_536;
/// Distinct waits in a window: threads, where, and why.
const WAITS: u32 = 16_384;
/// Distinct wakers, each with the stack that it woke from, in a window.
const WAKERS: u32 = 8_192;
/// Stacks of waits in a window.
pub(super) const STACKS: u32 = 8_192;

/// The maps, each with the room it needs.
const MAPS: [(&str, u32); 5] =
    [("THREADS", THREADS), ("WAITS_0", WAITS), ("WAITS_1", WAITS), ("PAST_0", THREADS), ("PAST_1", THREADS)];

/// Those that are needed to know wakers.
const WAKER_MAPS: [(&str, u32); 2] = [("WAKERS_0", WAKERS), ("WAKERS_1", WAKERS)];

/// Threads on CPUs that waited for one in a window, and pairs of those that waited and those that ran.
const QUEUES: u32 = 4_096;
const TAKERS: u32 = 4_096;

/// Those that are needed to know how long threads wait for a CPU.
const QUEUE_MAPS: [(&str, u32); 4] =
    [("QUEUES_0", QUEUES), ("QUEUES_1", QUEUES), ("TAKERS_0", TAKERS), ("TAKERS_1", TAKERS)];

/// Locks at which threads wait in a window, and those of which it is remembered who waits.
const LOCKS: u32 = 2_048;
const LOCK_STATES: u32 = 8_192;

/// Who made others wait for them, each with the stack that it let go from, in a window.
const HOLDERS: u32 = 8_192;

/// The maps of locks.
const LOCK_MAPS: [(&str, u32); 5] = [
    ("LOCKS_0", LOCKS),
    ("LOCKS_1", LOCKS),
    ("HOLDERS_0", HOLDERS),
    ("HOLDERS_1", HOLDERS),
    ("LOCK_STATES", LOCK_STATES),
];

/// The programs that take no stacks, and their tracepoints.
const OTHERS: [(&str, &str); 2] = [("sched_new", "sched_wakeup_new"), ("sched_exec", "sched_process_exec")];
/// Those that do, by frame pointers alone.
const PLAIN: [(&str, &str); 2] = [("sched_switch", "sched_switch"), ("sched_waking", "sched_waking")];
/// And by tables, or with Python frames.
const WALKING: [(&str, &str); 2] = [("sched_walk", "sched_switch"), ("sched_waking_walk", "sched_waking")];

/// The scheduler's events.
#[derive(Debug)]
pub struct SchedCollector {
    programs: Vec<(&'static str, &'static str)>,
    links: Vec<RawTracePointLink>,
    /// Whether it can be asked where threads wait already; `None` if there is nothing to ask.
    before: Option<Result<(), AttachError>>,
    /// Stacks, by their ids, of threads that waited before.
    stacks: HashMap<u64, Arc<[u64]>>,
}

impl SchedCollector {
    /// Sets map sizes, before the object is loaded.
    pub(super) fn configure(loader: &mut EbpfLoader<'_>, options: &SessionOptions) {
        let wakers = if options.tells_wakers() { &WAKER_MAPS[..] } else { &[] };
        let queues = if options.records(EventKind::Sched) { &QUEUE_MAPS[..] } else { &[] };
        let locks = if options.records(EventKind::Locks) { &LOCK_MAPS[..] } else { &[] };
        size(loader, MAPS.iter().chain(wakers).chain(queues).chain(locks).copied());
    }

    /// Loads its programs, for a target whose threads wait already unless it is `new`; `python` says that they read Python frames
    /// too.
    pub(super) fn load(bpf: &mut Ebpf, unwind: Unwind, python: bool, new: bool) -> Result<Self, AttachError> {
        // Switches first: a thread that is woken is not mistaken for one that has not slept.
        let programs: Vec<_> = if unwind.walks(python) { WALKING } else { PLAIN }.into_iter().chain(OTHERS).collect();
        programs.iter().try_for_each(|(program, _)| super::links::load_raw(bpf, program))?;
        let before = if new { None } else { Some(before::load(bpf)) };
        Ok(Self { programs, links: Vec::new(), before, stacks: HashMap::new() })
    }

    /// Attaches its programs, then tells them of the threads that are there already. What these wait for in the kernel is asked, if
    /// stacks are kept `of_kernel`, and at which lock, if those are looked for; why that is not known, if it is not.
    pub(super) fn attach(
        &mut self,
        bpf: &mut Ebpf,
        target: &Target,
        of_kernel: bool,
        now_ns: u64,
        mut locks: Option<LockFinder>,
    ) -> Result<Option<AttachError>, AttachError> {
        set_window_start(bpf, 0, now_ns)?;
        for &(program, tracepoint) in &self.programs {
            self.links.push(super::links::attach_raw(bpf, program, tracepoint)?);
        }
        let threads = |tgid: u32| proc::threads(tgid).into_iter().map(move |tid| (tgid, tid));
        let found: Vec<(u32, u32)> = target.processes().into_iter().flat_map(threads).collect();
        let tids: Vec<u32> = found.iter().map(|(_, tid)| *tid).collect();
        super::session::mark(bpf, &tids)?;
        let befores = match self.before.take() {
            None => Ok(HashMap::new()),
            Some(loaded) => loaded.and_then(|()| before::threads_before(bpf)),
        };
        let (befores, why_not) = match befores {
            Ok(befores) => (befores, None),
            Err(error) => (HashMap::new(), Some(error)),
        };
        let map = bpf.map_mut(MAPS[0].0).ok_or(AttachError::Missing(MAPS[0].0))?;
        let Map::HashMap(map) = map else { return Err(AttachError::Missing(MAPS[0].0)) };
        for (tgid, tid) in found {
            let Some(mut thread) = seen(tgid, tid, &mut locks) else { continue };
            if let Some(before) = befores.get(&tid).filter(|_| thread.state == State::Blocked as u32) {
                thread.fp = before.fp;
                let (id, frames) = stack_of(&before.kernel);
                if of_kernel && !frames.is_empty() {
                    thread.wait.key.kernel_stack = id;
                    self.stacks.insert(id, frames);
                }
            }
            // Of one that has been switched to or from meanwhile, more is known already.
            let _ = sys::insert_new(map.fd().as_fd(), tid.as_bytes(), thread.as_bytes());
        }
        Ok(why_not)
    }

    /// Stacks, by their ids, of threads that waited before the recording.
    pub(super) fn take_stacks(&mut self) -> HashMap<u64, Arc<[u64]>> {
        std::mem::take(&mut self.stacks)
    }

    /// Detaches its programs.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }
}

/// Tells programs when the window of a generation begins.
pub(super) fn set_window_start(bpf: &mut Ebpf, generation: u32, start_ns: u64) -> Result<(), AttachError> {
    const MAP: &str = "WINDOW_STARTS";
    let wrong = |source| AttachError::Map { map: MAP, source };
    let map = bpf.map_mut(MAP).ok_or(AttachError::Missing(MAP))?;
    let mut array: Array<&mut MapData, u64> = map.try_into().map_err(wrong)?;
    array.set(generation, start_ns, 0).map_err(wrong)
}

/// A thread as `/proc` shows it; `None` when it is gone.
fn seen(tgid: u32, tid: u32, locks: &mut Option<LockFinder>) -> Option<Thread> {
    let (stat, comm) = (proc::thread_stat(tgid, tid)?, proc::thread_comm(tgid, tid)?);
    let (state, task_state) = match stat.state() {
        b'R' => (State::Unheard, 0),
        b'D' => (State::Blocked, TASK_UNINTERRUPTIBLE),
        b'T' | b't' => (State::Blocked, TASK_STOPPED),
        b'Z' | b'X' => return None,
        _ => (State::Blocked, TASK_INTERRUPTIBLE),
    };
    let entry = if stat.is_kernel_thread() { None } else { entry(tgid, tid) };
    let call = entry.and_then(|entry| entry.call);
    let system_call = call.map_or(NO_SYSTEM_CALL, |(number, _)| number);
    let key = Key { tgid, tid, comm: comm_from(&comm), why: why(task_state, system_call), ..Key::default() };
    let mut wait = WaitKey { key, ..WaitKey::default() };
    if let (Some(locks), Some((number, arguments))) = (locks, call)
        && let Some(found) = locks.found(tgid, tid, number, arguments)
    {
        (wait.lock, wait.owner, wait.how) = (found.lock, found.owner, found.how);
    }
    // It was not seen to begin, and is not among those of whom it is counted how many wait.
    let at_lock = if wait.lock == 0 { AtLock::Not } else { AtLock::GaveUp } as u32;
    let now_ns = sys::monotonic_ns();
    let (first_ns, since_ns, off_ns) = (now_ns, now_ns, now_ns);
    let state = state as u32;
    Some(Thread { first_ns, since_ns, off_ns, wait, state, exec_ns: UNKNOWN_EXEC, at_lock, ..Thread::default() })
}

/// Whether `sched_switch` tells the state that a thread had when it was decided that it leaves the CPU.
pub(super) fn tells_state(host: &Host) -> bool {
    !host.is_before(5, 18)
}
