//! The per-CPU counters, and the generation of maps that is written to.

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
};
use perf_ebpf::counters::{Counter, Counters};

/// The generation of maps that programs write to, 0 or 1. User space flips it, waits until no program can still be
/// writing to the other one, and drains that.
#[map]
static GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// One entry a generation.
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(2, 0);

/// Which generation to write to: read once at the start of a program.
#[inline(always)]
pub(super) fn generation() -> u32 {
    GENERATION.get(0).map_or(0, |generation| *generation)
}

/// The counters of this CPU.
#[inline(always)]
pub(super) fn counters(generation: u32) -> Option<&'static mut Counters> {
    // SAFETY: the slot belongs to this CPU, and a sampling interrupt, which may interrupt a program that counts here,
    // touches other slots of it than that program does.
    COUNTERS.get_ptr_mut(generation).map(|counters| unsafe { &mut *counters })
}

/// Adds one.
#[inline(always)]
pub(super) fn count(counters: &mut Counters, counter: Counter) {
    counters[counter as usize] += 1;
}
