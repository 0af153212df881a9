//! The scheduler's own events: what every thread of the target does at any time, and where and why it leaves the CPU.

use aya_ebpf::{
    Global,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_raw_tracepoint_args},
    helpers::bpf_get_current_pid_tgid,
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    counters::{Counter, Counters},
    sample::Key,
    sched::{
        AT_KERNEL_LOCK, INTERRUPTED, Past, PastThread, State, TASK_DEAD, Thread, WaitFilter, WaitKey, Waits,
        place::{self, How},
        why,
    },
    stack::mix,
    target::BOTH_SIDES,
};

use super::{
    counters::{add, count, counters, generation},
    follow::{TASK_PID_OFFSET, TASK_TGID_OFFSET},
    locks,
    marks::mark,
    place::{Asked, first_fp, stacks_at, stacks_by_pointers},
    run_queue,
    stacks::{StackIds, TRACEPOINT, insert_failure},
    system_call::{Entry, by_offset},
    target::{exec_count, is_target, now, read_comm, read_u32, read_u64},
    threads::{THREADS, begin_change, change, end_change, known},
    timeline,
};

/// 1 if `sched_switch` tells the state that the thread had when it was decided (5.18).
#[unsafe(no_mangle)]
static TELLS_STATE: Global<u32> = Global::new(0);

/// Else where `task_struct` keeps the state that it has now: from BTF.
#[unsafe(no_mangle)]
static TASK_STATE_OFFSET: Global<u32> = Global::new(0);

/// Where `task_struct` counts for how long it has run (`se.sum_exec_runtime`): from BTF; 0 if that is not known.
#[unsafe(no_mangle)]
static TASK_EXEC_OFFSET: Global<u32> = Global::new(0);

/// 1 if waits are told, with their stacks, and not only what threads do with their time.
#[unsafe(no_mangle)]
static WAITS_TOLD: Global<u32> = Global::new(0);

/// [`WaitFilter::min_ns`].
#[unsafe(no_mangle)]
static MIN_WAIT_NS: Global<u64> = Global::new(0);

/// [`WaitFilter::states`].
#[unsafe(no_mangle)]
static WAIT_STATES: Global<u32> = Global::new(u32::MAX);

/// When the window of each generation began.
#[map]
pub(super) static WINDOW_STARTS: Array<u64> = Array::with_max_entries(2, 0);

#[map]
static WAITS_0: HashMap<WaitKey, Waits> = HashMap::with_max_entries(1, 0);

#[map]
static WAITS_1: HashMap<WaitKey, Waits> = HashMap::with_max_entries(1, 0);

/// Threads as they were when an interval ended that began in an earlier window, or when they ended themselves.
#[map]
static PAST_0: HashMap<Past, PastThread> = HashMap::with_max_entries(1, 0);

#[map]
static PAST_1: HashMap<Past, PastThread> = HashMap::with_max_entries(1, 0);

/// A thread in the making, or about to be kept as past: the stack of a program has no room for it.
#[map]
static SCHED_MEMORY: PerCpuArray<PastThread> = PerCpuArray::with_max_entries(1, 0);

/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next[, unsigned int prev_state])`; runs in `prev`.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(super) fn sched_switch(ctx: RawTracePointContext) -> i32 {
    switch(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory), by_offset, locks::lock_waits_by_offset)
}

/// The same, with user stacks walked by tables, with Python frames and system calls: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(super) fn sched_walk(ctx: RawTracePointContext) -> i32 {
    let take = |ctx, memory| super::place::stacks_by_tables(ctx, memory);
    switch(&ctx, take, super::system_call::by_helper, locks::lock_waits_by_helper)
}

/// `sched_wakeup_new(struct task_struct *p)`; runs in the thread that has made `p`.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub(super) fn sched_new(ctx: RawTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let tgid = read_u32(task, TASK_TGID_OFFSET.load());
    if is_target(tgid) {
        let tid = read_u32(task, TASK_PID_OFFSET.load());
        sched_keep(tgid, tid, State::Runnable as u32, now());
    }
    0
}

/// A thread that was not there before has the name of the running one, which has made it, or is it. Not inlined, as what follows
/// that has its own place on the stack, so that stacks can be walked from the same program: 512 bytes are for all. And with a
/// name of its own and numbers alone, as what is rare, so that verifiers look at it once, whatever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sched_keep(tgid: u32, tid: u32, state: u32, now_ns: u64) -> i64 {
    let Some(memory) = SCHED_MEMORY.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's, and no program of this kind interrupts another.
    let thread = unsafe { &mut (*memory).thread };
    *thread = Thread { first_ns: now_ns, since_ns: now_ns, off_ns: now_ns, state, ..Thread::default() };
    let key = &mut thread.wait.key;
    (key.tgid, key.tid) = (tgid, tid);
    read_comm(&mut key.comm);
    mark(tid);
    // What an ended thread of the same id may have left is replaced.
    if THREADS.insert(tid, &*thread, u64::from(BPF_ANY)).is_err()
        && let Some(counters) = counters(generation())
    {
        count(counters, Counter::ThreadsMissed);
    }
    0
}

#[inline(always)]
fn switch(
    ctx: &RawTracePointContext,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
    waits: locks::Waits,
) -> i32 {
    // Before anything is looked up: on a CPU that was idle that takes microseconds, which are the next thread's.
    let now_ns = now();
    let next_tid = read_u32(ctx.arg(2), TASK_PID_OFFSET.load());
    let next = known(next_tid);
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    let previous = known(tid);
    let is_new = tid != 0 && previous.is_none() && is_target(tgid);
    if run_queue::is_recorded() {
        run_queue::ran(tgid, tid, now_ns);
    }
    // Most switches on a machine are between others.
    if next.is_none() && previous.is_none() && !is_new {
        return 0;
    }
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    if let Some(thread) = next {
        // It has left the CPU without being seen: see below.
        // SAFETY: see `change`.
        if unsafe { (*thread).state } == State::Running as u32 {
            sched_left(next_tid, exec_ns(ctx.arg(2)), now_ns, generation);
        }
        // SAFETY: see `change`.
        comes(unsafe { &mut *thread }, now_ns, generation);
    }
    if is_new {
        sched_keep(tgid, tid, State::Unheard as u32, now_ns);
    }
    let known = if is_new { THREADS.get_ptr_mut(&tid) } else { previous };
    let Some(thread) = known else { return 0 };
    // SAFETY: see `change`.
    let thread = unsafe { &mut *thread };
    let exec_ns = exec_ns(ctx.arg(1));
    // It has come to run without being seen, which is rare: there are kernels that run no programs while some threads do, whose
    // switches to others nobody sees. Since when it has run, the kernel's own account of its time tells.
    if thread.state > State::Running as u32 {
        count(counters, Counter::SwitchesUnseen);
        sched_came(tid, now_ns.saturating_sub(thread.ran_since(exec_ns).unwrap_or(0)), generation);
    }
    thread.exec_ns = exec_ns;
    let preempted: u64 = ctx.arg(0);
    let state =
        if TELLS_STATE.load() != 0 { ctx.arg::<u64>(3) as u32 } else { read_u32(ctx.arg(1), TASK_STATE_OFFSET.load()) };
    let mut state = if preempted as u8 != 0 { 0 } else { state };
    if state & TASK_DEAD != 0 {
        sched_end(tid, now_ns, generation);
        return 0;
    }
    if state != 0 && thread.sleeps.since_ns != 0 {
        state |= AT_KERNEL_LOCK;
    }
    // Before stacks are taken, which is long enough to be woken by another CPU meanwhile. It comes to run on none before this ends.
    begin_change(thread);
    (thread.wait.waker, thread.waker_off_ns, thread.off_ns) = (0, 0, now_ns);
    thread.wait.leave_lock();
    thread.turn(now_ns, State::Running, if state == 0 { State::Runnable } else { State::Blocked });
    let entry = entry();
    // Before stacks are taken, too: whoever has it may let go of it meanwhile.
    if locks::is_wait(state, entry.system_call) {
        waits(tid);
    }
    // For how long it has to wait for a CPU does not hang on where it was when that was taken from it.
    let is_preempted = state == 0 && entry.system_call == INTERRUPTED;
    let at = match entry.place {
        0 => 0,
        _ if is_preempted => mix(u64::from(INTERRUPTED), u64::from(exec_count())),
        // Runtimes wait for all kinds of things at one place of theirs, each at a futex of its own.
        place => mix(mix(place, u64::from(state)), thread.wait.lock),
    };
    let sides = if WAITS_TOLD.load() == 0 { 0 } else { BOTH_SIDES };
    let asked = Asked { memory: TRACEPOINT, sides, tid, at, now_ns, generation };
    let (place, stacks) = stacks_at(ctx, asked, take).unwrap_or_else(|| {
        count(counters, Counter::OffStackless);
        (0, StackIds::NONE)
    });
    let is_skipped = place::how(place) == How::Skipped;
    if is_skipped {
        count(counters, Counter::OffSkipped);
    }
    let WaitKey { key, place: at, .. } = &mut thread.wait;
    // In a storm it is who it was a moment ago.
    if !is_skipped {
        (key.tgid, key.tid, key.exec_count) = (tgid, tid, exec_count());
        read_comm(&mut key.comm);
    }
    key.why = why(state, entry.system_call);
    (key.user_stack, key.kernel_stack, key.python_stack) = (stacks.user, stacks.kernel, stacks.python);
    if is_skipped && is_preempted {
        // It was somewhere else then.
        (key.user_stack, key.kernel_stack, key.python_stack) = (0, 0, 0);
    }
    (*at, thread.fp) = (place, first_fp());
    end_change(thread);
    0
}

/// For how long a thread has run, by the kernel's own account; 0 if it does not tell.
#[inline(always)]
fn exec_ns(task: *const c_void) -> u64 {
    let offset = TASK_EXEC_OFFSET.load();
    if offset == 0 { 0 } else { read_u64(task, offset) }
}

/// A thread that comes to run was not seen to leave the CPU: it has run as long as the kernel's account says, and was blocked then,
/// nobody knows where. The first time that account is not known, and what it ran is too short to matter.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sched_left(tid: u32, exec_ns: u64, now_ns: u64, generation: u32) -> i64 {
    let Some(counters) = counters(generation) else { return 1 };
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `change`.
    let thread = unsafe { &mut *thread };
    if exec_ns == 0 {
        return 1;
    }
    count(counters, Counter::SwitchesUnseen);
    change(thread, |thread| thread.leave_unseen(exec_ns, now_ns));
    0
}

/// A thread has come to run.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sched_came(tid: u32, now_ns: u64, generation: u32) -> i64 {
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `change`.
    comes(unsafe { &mut *thread }, now_ns, generation)
}

/// A thread comes to run.
#[inline(never)]
fn comes(thread: &mut Thread, now_ns: u64, generation: u32) -> i64 {
    let Some(counters) = counters(generation) else { return 1 };
    let was = match thread.state {
        state if state == State::Running as u32 => return 0,
        state if state == State::Blocked as u32 => State::Blocked,
        _ => State::Runnable,
    };
    if thread.state == State::Runnable as u32 && run_queue::is_recorded() {
        run_queue::waited(thread, now_ns, generation);
    }
    locks::ran(thread, thread.off(now_ns)[0], now_ns, generation);
    if WAITS_TOLD.load() != 0 {
        tell_wait(thread, now_ns, generation, counters);
    }
    change(thread, |thread| thread.turn(now_ns, was, State::Running));
    0
}

/// A wait has ended: it is counted, or handed over, or left out.
#[inline(always)]
fn tell_wait(thread: &mut Thread, now_ns: u64, generation: u32, counters: *mut Counters) {
    let begun_before = WINDOW_STARTS.get(generation).is_some_and(|start_ns| thread.off_ns < *start_ns);
    let [blocked_ns, runnable_ns] = thread.off(now_ns);
    let filter = WaitFilter { min_ns: MIN_WAIT_NS.load(), states: WAIT_STATES.load() };
    let is_wanted = filter.keeps(thread.wait.key.why, blocked_ns + runnable_ns);
    if is_wanted {
        timeline::waited(thread, [blocked_ns, runnable_ns], generation, counters);
    } else if !begun_before {
        add(counters, Counter::OffLeftOut, blocked_ns + runnable_ns);
        return;
    }
    let kept = if begun_before {
        let past = Past { tid: thread.wait.key.tid, ended: 0, from_ns: thread.off_ns };
        keep_past(&past, thread, now_ns, generation)
    } else {
        // Who is one of a storm counts with the others: whose stacks they had, those that have some tell. Whom it wakes asks for them.
        let Key { user_stack, kernel_stack, python_stack, .. } = thread.wait.key;
        if place::how(thread.wait.place) == How::Skipped {
            let key = &mut thread.wait.key;
            (key.user_stack, key.kernel_stack, key.python_stack) = (0, 0, 0);
        }
        let kept = keep_wait(thread, blocked_ns, runnable_ns, generation);
        let key = &mut thread.wait.key;
        (key.user_stack, key.kernel_stack, key.python_stack) = (user_stack, kernel_stack, python_stack);
        kept
    };
    // What is handed over as past, user space counts.
    if !begun_before || kept.is_err() {
        add(counters, Counter::OffTaken, blocked_ns + runnable_ns);
    }
    if let Err(error) = kept {
        let cause = insert_failure(error, Counter::OffLostFull, Counter::OffLostBusy);
        add(counters, cause, blocked_ns + runnable_ns);
    }
}

#[inline(always)]
fn keep_wait(thread: &Thread, blocked_ns: u64, runnable_ns: u64, generation: u32) -> Result<(), i32> {
    let waits = if generation == 0 { &WAITS_0 } else { &WAITS_1 };
    if let Some(sum) = waits.get_ptr_mut(&thread.wait) {
        // SAFETY: the key names one thread, which comes to run on one CPU at a time; and user space touches a generation only
        // when no program writes to it any more.
        let sum = unsafe { &mut *sum };
        sum.blocked_ns += blocked_ns;
        sum.runnable_ns += runnable_ns;
        sum.waker_off_ns += thread.waker_off_ns;
        return Ok(());
    }
    let Thread { off_ns: first_ns, waker_off_ns, .. } = *thread;
    let sum = Waits { blocked_ns, runnable_ns, waker_off_ns, first_ns };
    waits.insert(&thread.wait, &sum, u64::from(BPF_NOEXIST))
}

#[inline(always)]
fn keep_past(past: &Past, thread: &Thread, until_ns: u64, generation: u32) -> Result<(), i32> {
    let Some(memory) = SCHED_MEMORY.get_ptr_mut(0) else { return Err(0) };
    // SAFETY: as in `keep`.
    let memory = unsafe { &mut *memory };
    (memory.thread, memory.until_ns) = (*thread, until_ns);
    (if generation == 0 { &PAST_0 } else { &PAST_1 }).insert(past, &*memory, u64::from(BPF_ANY))
}

/// The thread ends, or goes on under another id.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sched_end(tid: u32, now_ns: u64, generation: u32) -> i64 {
    let Some(counters) = counters(generation) else { return 1 };
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `change`.
    let thread = unsafe { &mut *thread };
    change(thread, |thread| thread.turn(now_ns, State::Running, State::Running));
    let past = Past { tid, ended: 1, from_ns: thread.first_ns };
    if keep_past(&past, thread, now_ns, generation).is_err() {
        count(counters, Counter::ThreadsMissed);
    }
    let _ = THREADS.remove(&tid);
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`; runs in `p`. A thread that executes a
/// program takes the id of its process, whose main thread has ended before.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(super) fn sched_exec(ctx: RawTracePointContext) -> i32 {
    let (old, tid) = (ctx.arg::<u64>(1) as u32, bpf_get_current_pid_tgid() as u32);
    if old == tid {
        return 0;
    }
    sched_end(old, now(), generation());
    0
}
