//! The scheduler's own events: what every thread of the target does at any time, and where and why it leaves the CPU.

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    counters::{Counter, Counters},
    sample::Key,
    sched::{Past, PastThread, State, TASK_DEAD, Thread, Waits, why},
};

use super::{
    counters::{add, count, counters, generation},
    follow::{TASK_PID_OFFSET, TASK_TGID_OFFSET},
    stacks::{StackIds, TRACEPOINT, Walked, insert_failure, take},
    system_call::by_offset,
    target::{exec_count, is_target, read_u32},
    timeline,
};

/// 1 if `sched_switch` tells the state that the thread had when it was decided (5.18).
#[unsafe(no_mangle)]
static TELLS_STATE: Global<u32> = Global::new(0);

/// Else where `task_struct` keeps the state that it has now: from BTF.
#[unsafe(no_mangle)]
static TASK_STATE_OFFSET: Global<u32> = Global::new(0);

/// The threads of the target, by their ids.
#[map]
static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(1, 0);

/// When the window of each generation began.
#[map]
static WINDOW_STARTS: Array<u64> = Array::with_max_entries(2, 0);

#[map]
static WAITS_0: HashMap<Key, Waits> = HashMap::with_max_entries(1, 0);

#[map]
static WAITS_1: HashMap<Key, Waits> = HashMap::with_max_entries(1, 0);

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
    switch(&ctx, || None, || None, by_offset)
}

/// The same, with user stacks walked by tables, with Python frames and system calls: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(super) fn sched_walk(ctx: RawTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    switch(
        &ctx,
        || super::unwind::walk(TRACEPOINT, tgid, None),
        || super::python::read(TRACEPOINT, tgid),
        super::system_call::by_helper,
    )
}

/// `sched_waking(struct task_struct *p)`: something wakes `p`, which is blocked.
#[raw_tracepoint(tracepoint = "sched_waking")]
pub(super) fn sched_waking(ctx: RawTracePointContext) -> i32 {
    let tid = read_u32(ctx.arg(0), TASK_PID_OFFSET.load());
    if let Some(thread) = THREADS.get_ptr_mut(&tid) {
        // SAFETY: see `change`.
        let thread = unsafe { &mut *thread };
        // One that is about to block, and is woken before it has, never does.
        if thread.state == State::Blocked as u32 {
            change(thread, |thread| thread.turn(now(), State::Blocked, State::Runnable));
        }
    }
    0
}

/// `sched_wakeup_new(struct task_struct *p)`; runs in the thread that has made `p`.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub(super) fn sched_new(ctx: RawTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let tgid = read_u32(task, TASK_TGID_OFFSET.load());
    if is_target(tgid) {
        let tid = read_u32(task, TASK_PID_OFFSET.load());
        // It has the name of the thread that made it.
        let comm = bpf_get_current_comm().unwrap_or_default();
        keep(Key { tgid, tid, comm, ..Key::default() }, State::Runnable, now());
    }
    0
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn keep(key: Key, state: State, now_ns: u64) {
    let Some(memory) = SCHED_MEMORY.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's, and no program of this kind interrupts another.
    let thread = unsafe { &mut (*memory).thread };
    *thread =
        Thread { first_ns: now_ns, since_ns: now_ns, off_ns: now_ns, key, state: state as u32, ..Thread::default() };
    // What an ended thread of the same id may have left is replaced.
    if THREADS.insert(key.tid, &*thread, u64::from(BPF_ANY)).is_err()
        && let Some(counters) = counters(generation())
    {
        count(counters, Counter::ThreadsMissed);
    }
}

/// Changes a thread so that who copies it meanwhile can tell. Threads are changed by the CPU that switches to or from them,
/// and by others that wake them: rarely at once, and then a copy is of no moment until the next change.
#[inline(always)]
fn change(thread: &mut Thread, how: impl FnOnce(&mut Thread)) {
    let thread: *mut Thread = thread;
    // SAFETY: from a reference; volatile, so that the writes stay in this order.
    unsafe {
        let after = (*thread).changes_after.wrapping_add(1);
        (&raw mut (*thread).changes_after).write_volatile(after);
        how(&mut *thread);
        (&raw mut (*thread).changes).write_volatile(after);
    }
}

#[inline(always)]
fn switch(
    ctx: &RawTracePointContext,
    walk: impl FnOnce() -> Option<Walked<'static>>,
    read_python: impl FnOnce() -> Option<Walked<'static>>,
    system_call: impl FnOnce() -> u32,
) -> i32 {
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    let now_ns = now();
    let next = read_u32(ctx.arg(2), TASK_PID_OFFSET.load());
    if let Some(thread) = THREADS.get_ptr_mut(&next) {
        // SAFETY: see `change`.
        comes(unsafe { &mut *thread }, now_ns, generation, counters);
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if tid == 0 {
        return 0;
    }
    let thread = match THREADS.get_ptr_mut(&tid) {
        Some(thread) => thread,
        None if is_target(tgid) => {
            keep(Key { tgid, tid, ..Key::default() }, State::Unheard, now_ns);
            let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 0 };
            thread
        }
        None => return 0,
    };
    // SAFETY: see `change`.
    let thread = unsafe { &mut *thread };
    // It has come to run without being seen, which is rare: what it did before has lasted until now, as far as is known.
    if thread.state > State::Running as u32 {
        comes(thread, now_ns, generation, counters);
    }
    let preempted: u64 = ctx.arg(0);
    let state =
        if TELLS_STATE.load() != 0 { ctx.arg::<u64>(3) as u32 } else { read_u32(ctx.arg(1), TASK_STATE_OFFSET.load()) };
    let state = if preempted as u8 != 0 { 0 } else { state };
    if state & TASK_DEAD != 0 {
        end(thread, tid, now_ns, generation, counters);
        return 0;
    }
    let taken = take(TRACEPOINT, ctx.as_ptr(), true, walk, read_python, generation, counters);
    let stacks = taken.unwrap_or_else(|_| {
        count(counters, Counter::OffStackless);
        StackIds { user: 0, kernel: 0, python: 0 }
    });
    let key = Key {
        tgid,
        tid,
        comm: bpf_get_current_comm().unwrap_or_default(),
        exec_count: exec_count(),
        why: why(state, system_call()),
        user_stack: stacks.user,
        kernel_stack: stacks.kernel,
        python_stack: stacks.python,
    };
    change(thread, |thread| {
        thread.key = key;
        thread.off_ns = now_ns;
        thread.turn(now_ns, State::Running, if state == 0 { State::Runnable } else { State::Blocked });
    });
    0
}

/// A thread comes to run.
#[inline(always)]
fn comes(thread: &mut Thread, now_ns: u64, generation: u32, counters: *mut Counters) {
    let was = match thread.state {
        state if state == State::Running as u32 => return,
        state if state == State::Blocked as u32 => State::Blocked,
        _ => State::Runnable,
    };
    let begun_before = WINDOW_STARTS.get(generation).is_some_and(|start_ns| thread.off_ns < *start_ns);
    let [blocked_ns, runnable_ns] = thread.off(now_ns);
    let kept = if begun_before {
        let past = Past { tid: thread.key.tid, ended: 0, from_ns: thread.off_ns };
        keep_past(&past, thread, now_ns, generation)
    } else {
        keep_wait(&thread.key, thread.off_ns, blocked_ns, runnable_ns, generation)
    };
    kept.iter().for_each(|()| timeline::waited(thread, [blocked_ns, runnable_ns], generation, counters));
    // What is handed over as past, user space counts.
    if !begun_before || kept.is_err() {
        add(counters, Counter::OffTaken, blocked_ns + runnable_ns);
    }
    if let Err(error) = kept {
        let cause = insert_failure(error, Counter::OffLostFull, Counter::OffLostBusy);
        add(counters, cause, blocked_ns + runnable_ns);
    }
    change(thread, |thread| thread.turn(now_ns, was, State::Running));
}

#[inline(always)]
fn keep_wait(key: &Key, off_ns: u64, blocked_ns: u64, runnable_ns: u64, generation: u32) -> Result<(), i32> {
    let waits = if generation == 0 { &WAITS_0 } else { &WAITS_1 };
    if let Some(sum) = waits.get_ptr_mut(key) {
        // SAFETY: the key names one thread, which comes to run on one CPU at a time; and user space touches a generation only
        // when no program writes to it any more.
        let sum = unsafe { &mut *sum };
        sum.blocked_ns += blocked_ns;
        sum.runnable_ns += runnable_ns;
        return Ok(());
    }
    let sum = Waits { blocked_ns, runnable_ns, first_ns: off_ns };
    waits.insert(key, &sum, u64::from(BPF_NOEXIST))
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
#[inline(always)]
fn end(thread: &mut Thread, tid: u32, now_ns: u64, generation: u32, counters: *mut Counters) {
    change(thread, |thread| thread.turn(now_ns, State::Running, State::Running));
    let past = Past { tid, ended: 1, from_ns: thread.first_ns };
    if keep_past(&past, thread, now_ns, generation).is_err() {
        count(counters, Counter::ThreadsMissed);
    }
    let _ = THREADS.remove(&tid);
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`; runs in `p`. A thread that executes a
/// program takes the id of its process, whose main thread has ended before.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(super) fn sched_exec(ctx: RawTracePointContext) -> i32 {
    let (old, tid) = (ctx.arg::<u64>(1) as u32, bpf_get_current_pid_tgid() as u32);
    if old == tid {
        return 0;
    }
    let generation = generation();
    if let (Some(thread), Some(counters)) = (THREADS.get_ptr_mut(&old), counters(generation)) {
        // SAFETY: see `change`.
        end(unsafe { &mut *thread }, old, now(), generation, counters);
    }
    0
}
