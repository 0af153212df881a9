//! Who ends waits.

use aya_ebpf::{
    Global,
    bindings::{BPF_ANY, bpf_raw_tracepoint_args},
    helpers::bpf_get_current_pid_tgid,
    macros::{map, raw_tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use perf_ebpf::{
    comm::comm_words,
    counters::Counter,
    sched::{INTERRUPTED, State, Waker},
    stack::{STACK_ID_SEED, finish, mix},
    target::{SIDE_KERNEL, SIDE_USER},
};

use super::{
    counters::{count, counters, generation},
    follow::TASK_PID_OFFSET,
    locks,
    place::{Asked, stacks_at, stacks_by_pointers},
    stacks::{StackIds, TRACEPOINT},
    system_call::{Entry, by_offset},
    target::{exec_count, now, read_comm, read_u32},
    threads::{THREADS, change, known},
};

/// 1 if it is looked who ends waits.
#[unsafe(no_mangle)]
static WAKERS: Global<u32> = Global::new(0);

/// Who ended waits, by the ids that waits name.
#[map]
static WAKERS_0: HashMap<u64, Waker> = HashMap::with_max_entries(1, 0);

#[map]
static WAKERS_1: HashMap<u64, Waker> = HashMap::with_max_entries(1, 0);

/// A waker in the making. Not the memory of the programs that wake-ups in interrupts may interrupt.
#[map]
static WAKER_MEMORY: PerCpuArray<Waker> = PerCpuArray::with_max_entries(1, 0);

/// `sched_waking(struct task_struct *p)`: something wakes `p`, which is blocked.
#[raw_tracepoint(tracepoint = "sched_waking")]
pub(super) fn sched_waking(ctx: RawTracePointContext) -> i32 {
    waking(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory), by_offset, locks::lock_wakes_by_offset)
}

/// The same, with user stacks walked by tables and with Python frames: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "sched_waking")]
pub(super) fn sched_waking_walk(ctx: RawTracePointContext) -> i32 {
    let take = |ctx, memory| super::place::stacks_by_tables(ctx, memory);
    waking(&ctx, take, super::system_call::by_helper, locks::lock_wakes_by_helper)
}

#[inline(always)]
fn waking(
    ctx: &RawTracePointContext,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
    wakes: locks::Wakes,
) -> i32 {
    let tid = read_u32(ctx.arg(0), TASK_PID_OFFSET.load());
    let Some(thread) = known(tid) else { return 0 };
    // SAFETY: see `change`.
    let thread = unsafe { &mut *thread };
    // One that is about to block, and is woken before it has, never does.
    if thread.state != State::Blocked as u32 {
        return 0;
    }
    let now_ns = now();
    let (mut waker, mut off_ns) = (0, 0);
    if WAKERS.load() != 0 {
        let pid_tgid = bpf_get_current_pid_tgid();
        let from = if pid_tgid as u32 == 0 { Entry::UNKNOWN } else { entry() };
        (waker, off_ns) = waker_of(ctx, thread.off_ns, now_ns, pid_tgid, from, take).unwrap_or((0, 0));
        if locks::is_at_lock(thread) {
            wakes(read_u32(ctx.arg(0), TASK_PID_OFFSET.load()), waker, now_ns);
        }
    }
    change(thread, |thread| {
        (thread.wait.waker, thread.waker_off_ns) = (waker, off_ns);
        thread.turn(now_ns, State::Blocked, State::Runnable);
    });
    0
}

/// Who runs and came into the kernel by this entry, as the waker of a thread that is off the CPU since `off_ns`: an id, and how long
/// it was off the CPU itself meanwhile, as far as its last such interval tells. Nothing of one of these interrupts another:
/// wake-ups of other threads happen with interrupts turned off.
#[inline(always)]
fn waker_of(
    ctx: &RawTracePointContext,
    off_ns: u64,
    now_ns: u64,
    pid_tgid: u64,
    from: Entry,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
) -> Option<(u64, u64)> {
    let generation = generation();
    let counters = counters(generation)?;
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    // SAFETY: this CPU's.
    let waker = unsafe { &mut *WAKER_MEMORY.get_ptr_mut(0)? };
    (waker.waited_stack, waker.waited_python) = (0, 0);
    let key = &mut waker.key;
    (key.tgid, key.tid, key.exec_count) = (tgid, tid, exec_count());
    read_comm(&mut key.comm);
    (key.why, key.user_stack, key.kernel_stack, key.python_stack) = (0, 0, 0, 0);
    let mut waited_ns = 0;
    // Of others it is said what the kernel did: an interrupt wakes in the name of whom it interrupts.
    let mut sides = SIDE_KERNEL;
    if tid != 0
        && let Some(thread) = THREADS.get_ptr(&tid)
    {
        // SAFETY: the running thread's, and only read.
        let thread = unsafe { &*thread };
        sides |= SIDE_USER;
        let gone_ns = if thread.off_ns > off_ns { thread.off_ns } else { off_ns };
        if thread.state == State::Running as u32 && thread.since_ns > gone_ns {
            waited_ns = thread.since_ns - gone_ns;
            let waited = &thread.wait.key;
            key.why = waited.why;
            (waker.waited_stack, waker.waited_python) = (waited.user_stack, waited.python_stack);
        }
    }
    // An interrupt may come anywhere, and for anything: nothing that was taken there stands for it.
    let is_known = from.place != 0 && from.system_call != INTERRUPTED;
    let place = if is_known { mix(from.place, WAKES) } else { 0 };
    let asked = Asked { memory: TRACEPOINT, sides, tid, at: place, now_ns, generation };
    let (_, stacks) = stacks_at(ctx, asked, take).unwrap_or_else(|| {
        count(counters, Counter::OffStackless);
        (0, StackIds::NONE)
    });
    (key.user_stack, key.kernel_stack, key.python_stack) = (stacks.user, stacks.kernel, stacks.python);
    let mut id = mix(mix(STACK_ID_SEED, pid_tgid), u64::from(key.exec_count) << 32 | u64::from(key.why));
    let [low, high] = comm_words(&key.comm);
    id = mix(mix(id, low), high);
    id = mix(mix(mix(id, key.user_stack), key.kernel_stack), key.python_stack);
    id = finish(mix(id, waker.waited_stack));
    let wakers = if generation == 0 { &WAKERS_0 } else { &WAKERS_1 };
    if wakers.get_ptr(id).is_none() && wakers.insert(id, &*waker, u64::from(BPF_ANY)).is_err() {
        count(counters, Counter::WakersMissed);
        return None;
    }
    Some((id, waited_ns))
}

/// What tells the places where a thread wakes others from those where it waits.
const WAKES: u64 = 0x5741_4b45;
