//! Waits for the kernel's own locks: how often, for how long, and where. Only those who find a lock taken come here.

use aya_ebpf::{
    Global,
    bindings::bpf_raw_tracepoint_args,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_prandom_u32},
    macros::{map, raw_tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    calls::{CallTime, is_sampled, weight},
    counters::Counter,
    histogram::Lengths,
    kernel_lock::{KernelLockKey, KernelWait, MAPPINGS, READ, SPIN, WRITE, spins},
    sample::Key,
    target::BOTH_SIDES,
};

use super::{
    calls::add_time,
    counters::{add, count, count_length, counters, generation, sum_of},
    place::{Asked, put_stacks, stacks_by_pointers},
    stacks::{Busy, PROCESS},
    target::{cpu, now, put_runner, read_u64},
    threads::known,
};

/// Where `task_struct` of the running kernel has its memory: from BTF; 0 if that is not known.
#[unsafe(no_mangle)]
static LOCKED_MEMORY: Global<u32> = Global::new(0);

/// Where `mm_struct` has the lock of its mappings.
#[unsafe(no_mangle)]
static MAPPINGS_LOCK: Global<u32> = Global::new(0);

#[map]
static KERNEL_LOCKS_0: HashMap<KernelLockKey, Lengths> = HashMap::with_max_entries(1, 0);

#[map]
static KERNEL_LOCKS_1: HashMap<KernelLockKey, Lengths> = HashMap::with_max_entries(1, 0);

/// The time in these waits, by thread, stack, and how it waited (in the place of [`Key::why`]).
#[map]
static KERNEL_LOCK_TIMES_0: HashMap<Key, CallTime> = HashMap::with_max_entries(1, 0);

#[map]
static KERNEL_LOCK_TIMES_1: HashMap<Key, CallTime> = HashMap::with_max_entries(1, 0);

/// No waits: what a new entry begins with, for which the stack of a program has no room.
#[map]
static NO_KERNEL_LOCK: PerCpuArray<Lengths> = PerCpuArray::with_max_entries(1, 0);

/// What time is counted under, in the making, for the same reason.
#[map]
static KERNEL_LOCK_MEMORY: PerCpuArray<Key> = PerCpuArray::with_max_entries(1, 0);

/// `contention_begin(void *lock, unsigned int flags)`: the running thread, or an interrupt in its name, has to wait.
#[raw_tracepoint(tracepoint = "contention_begin")]
pub(super) fn kernel_lock_begins(ctx: RawTracePointContext) -> i32 {
    let Some(thread) = known(bpf_get_current_pid_tgid() as u32) else { return 0 };
    let (lock, how): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let how = how as u32;
    // SAFETY: of the map; what waits are under way, only the running thread writes.
    let wait = unsafe {
        if !spins(how) {
            &mut (*thread).sleeps
        } else if how & (READ | WRITE) != 0 {
            &mut (*thread).shares
        } else {
            &mut (*thread).spins
        }
    };
    if wait.goes_on(lock, how) {
        wait.how = how;
        return 0;
    }
    if wait.since_ns != 0
        && let Some(counters) = counters(generation())
    {
        // An interrupt waits within a wait: the end of the outer one is not told apart from one of which no beginning was seen.
        count(counters, Counter::KernelLocksLostNested);
    }
    *wait = KernelWait { lock, since_ns: now(), how, reserved: 0 };
    0
}

/// `contention_end(void *lock, int ret)`: it has the lock, or has given up.
#[raw_tracepoint(tracepoint = "contention_end")]
pub(super) fn kernel_lock_ends(ctx: RawTracePointContext) -> i32 {
    ends(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory))
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop`, as all that have this event.
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "contention_end")]
pub(super) fn kernel_lock_ends_walk(ctx: RawTracePointContext) -> i32 {
    ends(&ctx, |ctx, memory| super::place::stacks_by_tables(ctx, memory))
}

#[inline(always)]
fn ends(ctx: &RawTracePointContext, take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(thread) = known(pid_tgid as u32) else { return 0 };
    let lock: u64 = ctx.arg(0);
    // SAFETY: as above.
    let waits = unsafe { [&mut (*thread).spins, &mut (*thread).shares, &mut (*thread).sleeps] };
    // What had begun before is not counted.
    let Some(wait) = waits.into_iter().find(|wait| wait.since_ns != 0 && wait.lock == lock) else { return 0 };
    let length_ns = now().saturating_sub(wait.since_ns);
    let how = wait.how;
    wait.since_ns = 0;
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    count(counters, Counter::KernelLocksTaken);
    // SAFETY: takes no pointer.
    let sampled = is_sampled(length_ns, unsafe { bpf_get_prandom_u32() });
    if sampled {
        add(counters, Counter::KernelLockTime, weight(length_ns));
    }
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::KernelLocksLostBusy);
        if sampled {
            add(counters, Counter::KernelLockTimeLostBusy, weight(length_ns));
        }
        return 0;
    };
    let how = kernel_lock_keep(lock, how, length_ns, generation) as u32;
    if sampled {
        keep_time(ctx, pid_tgid, how, weight(length_ns), generation, take);
    }
    busy.give_back();
    0
}

/// Counts a wait; how it was, and whether it was for the thread's own mappings. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn kernel_lock_keep(lock: u64, how: u32, length_ns: u64, generation: u32) -> i64 {
    let (how, lock) = named(lock, how);
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let key = KernelLockKey { tgid, cpu: cpu(), how, reserved: 0, lock };
    let sums = if generation == 0 { &KERNEL_LOCKS_0 } else { &KERNEL_LOCKS_1 };
    let lost = [Counter::KernelLocksLostFull, Counter::KernelLocksLostBusy];
    if let Some(counters) = counters(generation)
        && let Some(sum) = sum_of(sums, &key, &NO_KERNEL_LOCK, counters, lost)
    {
        // SAFETY: the key names this CPU; and user space touches a generation only when no program writes to it any more.
        count_length(unsafe { &mut *sum }, length_ns);
    }
    i64::from(how)
}

/// From here on lie the variables of the kernel and its modules (`__START_KERNEL_map`).
#[cfg(bpf_target_arch = "x86_64")]
const FIRST_VARIABLE: u64 = 0xffff_ffff_8000_0000;
/// Elsewhere they lie among what is allocated.
#[cfg(not(bpf_target_arch = "x86_64"))]
const FIRST_VARIABLE: u64 = u64::MAX;

/// What is told of a lock: how it is waited for, without what depends on how long that took, and where it is if it has a name.
#[inline(always)]
fn named(lock: u64, how: u32) -> (u32, u64) {
    let how = if spins(how) { how } else { how & !SPIN };
    if lock >= FIRST_VARIABLE {
        return (how, lock);
    }
    let memory = LOCKED_MEMORY.load();
    if memory != 0 && how & (READ | WRITE) != 0 && !spins(how) {
        // SAFETY: takes no pointer.
        let memory = read_u64(unsafe { bpf_get_current_task() } as *const c_void, memory);
        if memory != 0 && lock == memory.wrapping_add(u64::from(MAPPINGS_LOCK.load())) {
            return (how | MAPPINGS, 0);
        }
    }
    (how, 0)
}

/// Adds the time that a wait stands for. Only with the memory for programs that run in the middle of what a thread does.
#[inline(always)]
fn keep_time(
    ctx: &RawTracePointContext,
    pid_tgid: u64,
    how: u32,
    ns: u64,
    generation: u32,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
) {
    let Some(memory) = KERNEL_LOCK_MEMORY.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's, and it is claimed.
    let key = unsafe { &mut *memory };
    put_runner(key, pid_tgid, how);
    let asked = Asked { memory: PROCESS, sides: BOTH_SIDES, tid: pid_tgid as u32, at: 0, now_ns: 0, generation };
    put_stacks(key, Counter::KernelLockStackless, ctx, asked, take);
    let Some(counters) = counters(generation) else { return };
    let times = if generation == 0 { &KERNEL_LOCK_TIMES_0 } else { &KERNEL_LOCK_TIMES_1 };
    add_time(times, key, ns, counters, [Counter::KernelLockTimeLostFull, Counter::KernelLockTimeLostBusy]);
}
