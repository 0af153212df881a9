//! Waiting for a CPU: how long, and who ran meanwhile.

use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use perf_ebpf::{
    counters::{Counter, Counters},
    histogram::Lengths,
    run_queue::{QueueKey, SLICES, Slices, TAKEN_NS, TakerKey},
    sched::Thread,
};

use super::{
    counters::{count, count_length},
    target::{cpu, read_comm},
};

/// 1 if this is recorded.
#[unsafe(no_mangle)]
static RUN_QUEUE: Global<u32> = Global::new(0);

#[map]
static QUEUES_0: HashMap<QueueKey, Lengths> = HashMap::with_max_entries(1, 0);

#[map]
static QUEUES_1: HashMap<QueueKey, Lengths> = HashMap::with_max_entries(1, 0);

/// For how long who ran while whom waited.
#[map]
static TAKERS_0: HashMap<TakerKey, u64> = HashMap::with_max_entries(1, 0);

#[map]
static TAKERS_1: HashMap<TakerKey, u64> = HashMap::with_max_entries(1, 0);

/// Who ran on this CPU.
#[map]
static RAN: PerCpuArray<Slices> = PerCpuArray::with_max_entries(1, 0);

/// An entry in the making: the stack of a program has no room for it.
#[map]
static QUEUE_MEMORY: PerCpuArray<Lengths> = PerCpuArray::with_max_entries(1, 0);

/// A thread comes to run on this CPU that waited for one since it became runnable.
#[inline(always)]
pub(super) fn waited(thread: &Thread, now_ns: u64, generation: u32) {
    let key = &thread.wait.key;
    run_queue_waited(key.tgid, key.tid, thread.since_ns, now_ns, generation);
}

/// Whether this is recorded.
#[inline(always)]
pub(super) fn is_recorded() -> bool {
    RUN_QUEUE.load() != 0
}

/// Remembers that the running thread ran on this CPU until now.
#[inline(always)]
pub(super) fn ran(tgid: u32, tid: u32, now_ns: u64) {
    let Some(ran) = RAN.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's.
    let ran = unsafe { &mut *ran };
    let before = ran.slices[ran.count.wrapping_sub(1) as usize & (SLICES - 1)].until_ns;
    let slice = &mut ran.slices[ran.count as usize & (SLICES - 1)];
    (slice.from_ns, slice.until_ns, slice.tgid, slice.tid) = (before, now_ns, tgid, tid);
    if tid != 0 {
        read_comm(&mut slice.comm);
    }
    ran.count = ran.count.wrapping_add(1);
}

/// A thread comes to run on this CPU that waited for one since `since_ns`. A name of its own, and numbers alone, so that verifiers
/// look at it once, not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn run_queue_waited(tgid: u32, tid: u32, since_ns: u64, now_ns: u64, generation: u32) -> i64 {
    let Some(counters) = super::counters::counters(generation) else { return 1 };
    let runnable_ns = now_ns.saturating_sub(since_ns);
    let cpu = cpu();
    let key = QueueKey { tgid, tid, cpu, reserved: 0 };
    let queues = if generation == 0 { &QUEUES_0 } else { &QUEUES_1 };
    if let Some(times) = queues.get_ptr_mut(&key) {
        // SAFETY: the key names one thread on one CPU, this one.
        count_length(unsafe { &mut *times }, runnable_ns);
    } else if let Some(times) = QUEUE_MEMORY.get_ptr_mut(0) {
        // SAFETY: this CPU's.
        let times = unsafe { &mut *times };
        *times = Lengths::NONE;
        count_length(times, runnable_ns);
        if queues.insert(&key, &*times, u64::from(BPF_NOEXIST)).is_err() {
            count(counters, Counter::QueuesMissed);
        }
    }
    if runnable_ns >= TAKEN_NS {
        taken_by(&key, since_ns, generation, counters);
    }
    0
}

/// Counts who ran on this CPU since `since_ns`, as far back as is remembered.
#[inline(always)]
fn taken_by(key: &QueueKey, since_ns: u64, generation: u32, counters: *mut Counters) {
    let Some(ran) = RAN.get_ptr(0) else { return };
    // SAFETY: this CPU's.
    let ran = unsafe { &*ran };
    let takers = if generation == 0 { &TAKERS_0 } else { &TAKERS_1 };
    let mut back = 1;
    while back <= SLICES as u64 {
        let slice = &ran.slices[ran.count.wrapping_sub(back) as usize & (SLICES - 1)];
        back += 1;
        if slice.until_ns <= since_ns {
            break;
        }
        if slice.tid == 0 || slice.tid == key.tid {
            continue;
        }
        let from_ns = if slice.from_ns > since_ns { slice.from_ns } else { since_ns };
        let taken_ns = slice.until_ns - from_ns;
        let taker = TakerKey {
            tgid: key.tgid,
            tid: key.tid,
            taker_tgid: slice.tgid,
            taker_tid: slice.tid,
            taker_comm: slice.comm,
        };
        if let Some(sum) = takers.get_ptr_mut(&taker) {
            // SAFETY: the thread that waited comes to run on one CPU at a time.
            unsafe { *sum += taken_ns };
        } else if takers.insert(&taker, &taken_ns, u64::from(BPF_NOEXIST)).is_err() {
            count(counters, Counter::TakersMissed);
        }
    }
}
