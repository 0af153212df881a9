//! The per-CPU counters, and the generation of maps that is written to.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use perf_ebpf::{
    counters::{Counter, Counters},
    histogram::{BUCKETS, Lengths, bucket},
};

use super::stacks::insert_failure;

/// The generation of maps that programs write to, 0 or 1. User space flips it, waits until no program can still be
/// writing to the other one, and drains that.
#[map]
static GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// 1 when programs are about to be detached, one after another: what is heard then may not be all.
#[map]
static ENDING: Array<u32> = Array::with_max_entries(1, 0);

/// One entry a generation.
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(2, 0);

/// Which generation to write to: read once at the start of a program.
#[inline(always)]
pub(super) fn generation() -> u32 {
    GENERATION.get(0).map_or(0, |generation| *generation)
}

/// Whether programs are about to be detached.
#[inline(always)]
pub(super) fn is_ending() -> bool {
    ENDING.get(0).is_some_and(|ending| *ending != 0)
}

/// The counters of this CPU. A pointer, because a sampling interrupt may count while a program it interrupted does.
#[inline(always)]
pub(super) fn counters(generation: u32) -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(generation)
}

/// Adds one.
#[inline(always)]
pub(super) fn count(counters: *mut Counters, counter: Counter) {
    add(counters, counter, 1);
}

/// Adds so many.
#[inline(always)]
pub(super) fn add(counters: *mut Counters, counter: Counter, value: u64) {
    // SAFETY: `counters` comes from the map, whose slots belong to this CPU; a sampling interrupt and the programs it can
    // interrupt count in different slots.
    unsafe { (*counters)[counter as usize] += value };
}

/// The sum that is counted under this key on this CPU, which begins with `none`: of a map, as the stack of a program has no room
/// for it. `None` if there is no place: because the map is `full`, or `busy`.
#[inline(always)]
pub(super) fn sum_of<K, V>(
    sums: &HashMap<K, V>,
    key: &K,
    none: &PerCpuArray<V>,
    counters: *mut Counters,
    [full, busy]: [Counter; 2],
) -> Option<*mut V> {
    if let Some(sum) = sums.get_ptr_mut(key) {
        return Some(sum);
    }
    // SAFETY: memory of the map, which is never written to.
    if let Err(error) = sums.insert(key, unsafe { &*none.get_ptr(0)? }, u64::from(BPF_NOEXIST)) {
        count(counters, insert_failure(error, full, busy));
        return None;
    }
    let sum = sums.get_ptr_mut(key);
    if sum.is_none() {
        count(counters, busy);
    }
    sum
}

/// Counts one more that took so long.
#[inline(always)]
pub(super) fn count_length(lengths: &mut Lengths, ns: u64) {
    lengths.count += 1;
    lengths.total_ns += ns;
    if ns > lengths.max_ns {
        lengths.max_ns = ns;
    }
    let at = bucket(ns);
    // SAFETY: a local. Read as if it could be anything: else the mask, which the compiler knows to be idle, is left out, and
    // verifiers before 6.12 see no limit.
    let at = unsafe { (&raw const at).read_volatile() } & (BUCKETS - 1);
    lengths.buckets[at] += 1;
}
