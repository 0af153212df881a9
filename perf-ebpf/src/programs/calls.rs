//! System calls: how many, how long, with which errors, where in the program, and which took longest.

use aya_ebpf::{
    Global,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_raw_tracepoint_args},
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_prandom_u32},
    macros::{map, raw_tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    block::FileKey,
    calls::{CallKey, CallTime, OTHER_ABI, OpenCall, X32_BIT, is_sampled, weight},
    counters::{Counter, Counters},
    file_calls::{CLOSED, DESCRIPTOR, FileTimeKey},
    histogram::Lengths,
    sample::Key,
    target::SIDE_USER,
};

use super::{
    call_arguments::{CLONES, number},
    counters::{add, count, count_length, counters, generation, is_ending, sum_of},
    file_calls,
    place::{Asked, put_stacks, stacks_by_pointers},
    slow_calls::keep_slow,
    stacks::{Busy, PROCESS, insert_failure},
    target::{cpu, exec_count, is_target, now, read_comm, read_u32},
};

/// Where `task_struct` keeps that the thread makes a call by the rules of 32-bit programs, and the bits that tell it: from BTF.
#[unsafe(no_mangle)]
static OTHER_ABI_OFFSET: Global<u32> = Global::new(0);

/// 0 if that is not known.
#[unsafe(no_mangle)]
static OTHER_ABI_BITS: Global<u32> = Global::new(0);

/// The call that each thread of the target is in, by the thread's id.
#[map]
pub(super) static OPEN_CALLS: HashMap<u32, OpenCall> = HashMap::with_max_entries(1, 0);

#[map]
static CALLS_0: HashMap<CallKey, Lengths> = HashMap::with_max_entries(1, 0);

#[map]
static CALLS_1: HashMap<CallKey, Lengths> = HashMap::with_max_entries(1, 0);

#[map]
static CALL_ERRORS_0: HashMap<CallKey, u64> = HashMap::with_max_entries(1, 0);

#[map]
static CALL_ERRORS_1: HashMap<CallKey, u64> = HashMap::with_max_entries(1, 0);

/// The time in calls, by thread, call (in the place of [`Key::why`]) and stack.
#[map]
static CALL_TIMES_0: HashMap<Key, CallTime> = HashMap::with_max_entries(1, 0);

#[map]
static CALL_TIMES_1: HashMap<Key, CallTime> = HashMap::with_max_entries(1, 0);

/// No calls: what a new entry begins with, for which the stack of a program has no room.
#[map]
static NO_CALLS: PerCpuArray<Lengths> = PerCpuArray::with_max_entries(1, 0);

/// What time is counted under, in the making, for the same reason.
#[map]
pub(super) static CALL_MEMORY: PerCpuArray<FileTimeKey> = PerCpuArray::with_max_entries(1, 0);

/// `sys_enter(struct pt_regs *regs, long id)`.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(super) fn sys_enter(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if !is_target(tgid) {
        return 0;
    }
    let call: u64 = ctx.arg(1);
    let (mut start_ns, mut file, mut opened) = (OTHER_ABI, FileKey::default(), 0);
    if !is_other_abi(call) {
        let word = file_calls::word(call as u32);
        match word & 0xff {
            // Of what is closed nothing is left when the call returns.
            CLOSED => file = file_calls::closed(word, ctx.arg(0)),
            // And a descriptor can mean something else then.
            DESCRIPTOR => opened = file_calls::opened(word, ctx.arg(0)),
            _ => {}
        }
        start_ns = now();
    }
    if let Some(open) = OPEN_CALLS.get_ptr_mut(&tid) {
        // SAFETY: the entry is the running thread's, which nothing else writes to.
        let open = unsafe { &mut *open };
        if is_begun(open)
            && let Some(counters) = counters(generation())
        {
            count(counters, Counter::CallsTaken);
            count(counters, Counter::CallsLostReturn);
            if file_calls::word(open.call) != 0 {
                count(counters, Counter::FileCallsTaken);
                count(counters, Counter::FileCallsLostReturn);
            }
        }
        (open.call, open.tgid) = (call as u32, tgid);
        (open.requests, open.file, open.opened) = (0, file, opened);
        open.start_ns = start_ns;
    } else {
        // That there is no room is told when the call returns.
        let open = OpenCall { start_ns, call: call as u32, tgid, requests: 0, file, opened };
        let _ = OPEN_CALLS.insert(tid, open, u64::from(BPF_ANY));
    }
    0
}

/// `sys_exit(struct pt_regs *regs, long ret)`.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(super) fn sys_exit(ctx: RawTracePointContext) -> i32 {
    returns(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory))
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(super) fn sys_exit_walk(ctx: RawTracePointContext) -> i32 {
    returns(&ctx, |ctx, memory| super::place::stacks_by_tables(ctx, memory))
}

/// `sched_process_exit(struct task_struct *p)`; runs in the thread that ends. A call that it was in when it was killed has
/// returned before, with `ERESTARTSYS` or the like; only those by which threads end themselves never return, and are not counted.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(super) fn calls_end(_ctx: RawTracePointContext) -> i32 {
    let tid = bpf_get_current_pid_tgid() as u32;
    let _ = OPEN_CALLS.remove(&tid);
    0
}

#[inline(always)]
fn is_begun(open: &OpenCall) -> bool {
    open.start_ns != 0 && open.start_ns != OTHER_ABI
}

/// Whether the number of a call is that of another table than the machine's own.
#[inline(always)]
fn is_other_abi(call: u64) -> bool {
    let bits = OTHER_ABI_BITS.load();
    // SAFETY: takes no pointer.
    let task = || unsafe { bpf_get_current_task() } as *const c_void;
    call & X32_BIT != 0 || (bits != 0 && read_u32(task(), OTHER_ABI_OFFSET.load()) & bits != 0)
}

#[inline(always)]
fn returns(ctx: &RawTracePointContext, take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if !is_target(tgid) {
        return 0;
    }
    let (registers, result): (*const c_void, u64) = (ctx.arg(0), ctx.arg(1));
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    let Some(entry) = OPEN_CALLS.get_ptr_mut(&tid) else {
        begins_to_be_heard_of(tid, tgid, registers, result, counters);
        return 0;
    };
    // SAFETY: as in `sys_enter`.
    let open = unsafe { &*entry };
    if !is_begun(open) {
        let (start_ns, requests) = (open.start_ns, open.requests);
        // SAFETY: as above.
        unsafe { (*entry).start_ns = 0 };
        if start_ns != 0 {
            count(counters, Counter::CallsOtherAbi);
            return 0;
        }
        if requests == UNHEARD {
            count(counters, Counter::CallsBegunBefore);
            return 0;
        }
        if is_ending() {
            return 0;
        }
        // That it began was not told, as of a call that a filter refuses.
        count(counters, Counter::CallsTaken);
        count(counters, Counter::CallsLostEntry);
        if file_calls::word(number(registers) as u32) != 0 {
            count(counters, Counter::FileCallsTaken);
            count(counters, Counter::FileCallsLostEntry);
        }
        return 0;
    }
    let length_ns = now().saturating_sub(open.start_ns);
    calls_keep(open.tgid, open.call, result as i64, length_ns, generation);
    calls_keep_slow(tid, registers as u64, result as i64, length_ns, generation);
    // SAFETY: takes no pointer.
    let sampled = is_sampled(length_ns, unsafe { bpf_get_prandom_u32() });
    let word = file_calls::word(open.call);
    if sampled || word != 0 {
        let taken = Taken { tid, length_ns, sampled, word };
        keep(ctx, &taken, registers, result as i64, generation, take);
    }
    // SAFETY: as above.
    unsafe { (*entry).start_ns = 0 };
    0
}

/// A call that is looked at closer.
struct Taken {
    tid: u32,
    length_ns: u64,
    sampled: bool,
    word: u32,
}

/// Counts a call by its file, and adds the time that it stands for.
#[inline(always)]
fn keep(
    ctx: &RawTracePointContext,
    taken: &Taken,
    registers: *const c_void,
    result: i64,
    generation: u32,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
) {
    calls_taken(taken.word, taken.sampled.into(), taken.length_ns, generation);
    let Some(busy) = Busy::claim() else {
        calls_lost(taken.word, taken.sampled.into(), taken.length_ns, generation);
        return;
    };
    if taken.word != 0 {
        file_calls::file_calls_keep(taken.tid, registers as u64, result, taken.length_ns, generation);
    }
    if taken.sampled {
        keep_time(ctx, taken, generation, take);
    }
    busy.give_back();
}

/// Counts a call that is looked at closer. Not inlined, as [`calls_keep`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn calls_taken(word: u32, sampled: u32, length_ns: u64, generation: u32) -> i64 {
    let Some(counters) = counters(generation) else { return 1 };
    if word != 0 {
        count(counters, Counter::FileCallsTaken);
    }
    if sampled != 0 {
        let ns = weight(length_ns);
        count(counters, Counter::CallsSampled);
        add(counters, Counter::CallTime, ns);
        add(counters, Counter::FileTime, if word != 0 { ns } else { 0 });
    }
    0
}

/// The same of one that is lost, as the CPU is busy.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn calls_lost(word: u32, sampled: u32, length_ns: u64, generation: u32) -> i64 {
    let Some(counters) = counters(generation) else { return 1 };
    if word != 0 {
        count(counters, Counter::FileCallsLostBusy);
    }
    if sampled != 0 {
        let ns = weight(length_ns);
        add(counters, Counter::CallTimeLostBusy, ns);
        add(counters, Counter::FileTimeLostBusy, if word != 0 { ns } else { 0 });
    }
    0
}

/// The thread asks a disk for something: in the call that it is in, if it is in one.
#[inline(always)]
pub(super) fn take_note_of_request(tid: u32) {
    if let Some(open) = OPEN_CALLS.get_ptr_mut(&tid) {
        // SAFETY: as in `sys_enter`.
        let open = unsafe { &mut *open };
        if open.requests != UNHEARD {
            open.requests += 1;
        }
    }
}

/// A call returns of a thread that was not known, or for which there was no room.
#[inline(always)]
fn begins_to_be_heard_of(tid: u32, tgid: u32, registers: *const c_void, result: u64, counters: *mut Counters) {
    let open = OpenCall { tgid, requests: UNHEARD, ..OpenCall::default() };
    if OPEN_CALLS.insert(tid, open, u64::from(BPF_ANY)).is_err() {
        count(counters, Counter::CallsTaken);
        count(counters, Counter::CallsLostThreads);
    } else if result != 0 || !CLONES.contains(&number(registers)) {
        // A new thread returns from the call by which another made it; that is counted there.
        count(counters, Counter::CallsBegunBefore);
    }
}

/// Counts a call, and its error if it had one. Not inlined: what it needs of the stack is free again when stacks are walked, for
/// which 512 bytes have to do. Of a name of its own and numbers alone, so that verifiers look at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn calls_keep(tgid: u32, call: u32, result: i64, length_ns: u64, generation: u32) -> i64 {
    let Some(counters) = counters(generation) else { return 1 };
    count(counters, Counter::CallsTaken);
    let mut key = CallKey { tgid, call, cpu: cpu(), error: 0 };
    let calls = if generation == 0 { &CALLS_0 } else { &CALLS_1 };
    let lost = [Counter::CallsLostFull, Counter::CallsLostBusy];
    let Some(sum) = sum_of(calls, &key, &NO_CALLS, counters, lost) else { return 1 };
    // SAFETY: the key names this CPU; and user space touches a generation only when no program writes to it any more.
    count_length(unsafe { &mut *sum }, length_ns);
    if !(-MAX_ERRNO..0).contains(&result) {
        return 0;
    }
    key.error = -result as u32;
    let errors = if generation == 0 { &CALL_ERRORS_0 } else { &CALL_ERRORS_1 };
    if let Some(sum) = errors.get_ptr_mut(&key) {
        // SAFETY: as above.
        unsafe { *sum += 1 };
    } else if errors.insert(key, 1, u64::from(BPF_NOEXIST)).is_err() {
        count(counters, Counter::CallErrorsMissed);
    }
    0
}

/// Keeps the thread's call if it is one of the slowest so far. Not inlined, as [`calls_keep`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn calls_keep_slow(tid: u32, registers: u64, result: i64, length_ns: u64, generation: u32) -> i64 {
    let Some(open) = OPEN_CALLS.get_ptr(&tid) else { return 1 };
    // SAFETY: as in `sys_enter`.
    keep_slow(unsafe { &*open }, tid, registers as *const c_void, result, length_ns, generation);
    0
}

/// In place of [`OpenCall::requests`], of a thread of which no call was seen to begin.
const UNHEARD: u64 = u64::MAX;

/// Results from -4095 to -1 are errors (`MAX_ERRNO`).
pub(super) const MAX_ERRNO: i64 = 4095;

/// Adds the time that a call stands for. Only with the memory for programs that run in the middle of what a thread does.
#[inline(always)]
fn keep_time(
    ctx: &RawTracePointContext,
    taken: &Taken,
    generation: u32,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
) {
    let Some(memory) = CALL_MEMORY.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's, and it is claimed.
    let memory = unsafe { &mut *memory };
    let Some(open) = OPEN_CALLS.get_ptr(&taken.tid) else { return };
    // SAFETY: as in `sys_enter`.
    let (tgid, call) = unsafe { ((*open).tgid, (*open).call) };
    let key = &mut memory.key;
    (key.tgid, key.tid, key.exec_count, key.why) = (tgid, taken.tid, exec_count(), call);
    read_comm(&mut key.comm);
    // The way back from a call is no news: only what called.
    let asked = Asked { memory: PROCESS, sides: SIDE_USER, tid: taken.tid, at: 0, now_ns: 0, generation };
    put_stacks(key, Counter::CallStackless, ctx, asked, take);
    let Some(counters) = counters(generation) else { return };
    let ns = weight(taken.length_ns);
    let times = if generation == 0 { &CALL_TIMES_0 } else { &CALL_TIMES_1 };
    add_time(times, &memory.key, ns, counters, [Counter::CallTimeLostFull, Counter::CallTimeLostBusy]);
    if taken.word != 0 {
        file_calls::add_time_of_found(memory, ns, generation, counters, file_calls::CALL_LOSSES);
    }
}

#[inline(always)]
pub(super) fn add_time<K>(times: &HashMap<K, CallTime>, key: &K, ns: u64, counters: *mut Counters, lost: [Counter; 2]) {
    if let Some(time) = times.get_ptr_mut(key) {
        // SAFETY: the key names one thread, which is in one call at a time; and user space touches a generation only when no
        // program writes to it any more.
        unsafe { (*time).ns += ns };
    } else if let Err(error) = times.insert(key, CallTime { ns, first_ns: now() }, u64::from(BPF_NOEXIST)) {
        add(counters, insert_failure(error, lost[0], lost[1]), ns);
    }
}
