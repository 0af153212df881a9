//! The slowest of a CPU in a window: where the least of those that are kept is.

use perf_ebpf::calls::{SLOWEST, SlowLengths};

/// Where to put one that took so long; `None` if it is none of the slowest so far.
#[inline(always)]
pub(super) fn place(lengths: &SlowLengths, length_ns: u64) -> Option<usize> {
    (length_ns > lengths.least_ns).then_some(lengths.least_at as usize & (SLOWEST - 1))
}

/// Takes note that it was put there.
#[inline(always)]
pub(super) fn put(lengths: &mut SlowLengths, at: usize, length_ns: u64) {
    lengths.ns[at & (SLOWEST - 1)] = length_ns;
    let (mut least_ns, mut least_at) = (u64::MAX, 0);
    let mut at = 0;
    while at < SLOWEST {
        if lengths.ns[at] < least_ns {
            (least_ns, least_at) = (lengths.ns[at], at as u64);
        }
        at += 1;
    }
    (lengths.least_ns, lengths.least_at) = (least_ns, least_at);
}
