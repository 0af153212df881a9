//! The timeline: single samples and long waits, in the order in which they come, for who asked for it.

use aya_ebpf::{Global, macros::map, maps::RingBuf};
use perf_ebpf::{
    counters::{Counter, Counters},
    sample::Key,
    sched::Thread,
    timeline::{Event, SAMPLE, WAIT},
};

use super::{counters::count, target::now};

/// How long a wait is at least that is told; 0: nothing is told, samples neither.
#[unsafe(no_mangle)]
static TIMELINE_MIN_NS: Global<u64> = Global::new(0);

#[map]
static TIMELINE: RingBuf = RingBuf::with_byte_size(4096, 0);

/// User space looks by the clock: waking it would cost more than the record.
const BPF_RB_NO_WAKEUP: u64 = 1;

/// A sample was counted under `key`.
#[inline(always)]
pub(super) fn sampled(key: &Key, generation: u32, counters: *mut Counters) {
    if TIMELINE_MIN_NS.load() == 0 {
        return;
    }
    let now_ns = now();
    count(counters, Counter::TimelineSamples);
    if !tell(key, SAMPLE, now_ns, [0, 0], generation) {
        count(counters, Counter::TimelineSamplesLost);
    }
}

/// A wait of the thread was counted, which has been blocked and runnable for so long.
#[inline(always)]
pub(super) fn waited(thread: &Thread, off: [u64; 2], generation: u32, counters: *mut Counters) {
    let min_ns = TIMELINE_MIN_NS.load();
    if min_ns == 0 || off[0] + off[1] < min_ns {
        return;
    }
    count(counters, Counter::TimelineWaits);
    if !tell(&thread.wait.key, WAIT, thread.off_ns, off, generation) {
        count(counters, Counter::TimelineWaitsLost);
    }
}

/// Writes a record, in place: the stack of a program has no room for it. Whether the ring had.
#[inline(always)]
fn tell(key: &Key, kind: u32, start_ns: u64, [blocked_ns, runnable_ns]: [u64; 2], generation: u32) -> bool {
    let Some(mut entry) = TIMELINE.reserve::<Event>(0) else { return false };
    let event = entry.as_mut_ptr();
    // SAFETY: the entry is this program's until it is submitted, and all of it is written.
    unsafe {
        (*event).start_ns = start_ns;
        (*event).blocked_ns = blocked_ns;
        (*event).runnable_ns = runnable_ns;
        (*event).key = *key;
        (*event).kind = kind;
        (*event).generation = generation;
    }
    entry.submit(BPF_RB_NO_WAKEUP);
    true
}
