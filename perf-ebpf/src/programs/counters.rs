//! The per-CPU counters.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use perf_ebpf::counters::{Counter, Counters};

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// The counters of this CPU.
#[inline(always)]
pub(super) fn counters() -> Option<&'static mut Counters> {
    // SAFETY: the slot belongs to this CPU, and a sampling interrupt, which may interrupt a program that counts here,
    // only ever adds: at worst one increment of the interrupted program is repeated on top.
    COUNTERS.get_ptr_mut(0).map(|counters| unsafe { &mut *counters })
}

/// Adds one.
#[inline(always)]
pub(super) fn count(counters: &mut Counters, counter: Counter) {
    counters[counter as usize] += 1;
}
