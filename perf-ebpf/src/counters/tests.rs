//! Slots and balances fit together.

extern crate std;
use std::vec::Vec;

use super::*;

#[test]
fn slots_are_in_order() {
    for (slot, counter) in Counter::ALL.into_iter().enumerate() {
        assert_eq!(counter as usize, slot);
    }
}

#[test]
fn every_counter_is_part_of_one_balance() {
    let parts = |balance: Balance| {
        [&[balance.taken], balance.lost, balance.facts].into_iter().flatten().copied().collect::<Vec<_>>()
    };
    for counter in Counter::ALL {
        let of = |balance| parts(balance).iter().filter(|part| **part == counter).count();
        let facts = SCHED_FACTS
            .iter()
            .chain(LOCK_FACTS)
            .chain(&IO_LOST)
            .chain(&KERNEL_LOCKS_LOST)
            .filter(|fact| **fact == counter)
            .count();
        let balances =
            [CPU, OFF_CPU, CALLS, CALL_TIME, IO, IO_TIME, IO_BYTES, FILE_CALLS, FILE_TIME, FAULTS, FAULT_TIME];
        let balances = balances.into_iter().chain(TIMELINE).chain([KERNEL_LOCKS, KERNEL_LOCK_TIME, MEMORY]);
        assert_eq!(balances.map(of).sum::<usize>() + facts, 1, "{counter:?}");
    }
}
