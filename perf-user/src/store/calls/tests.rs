//! System calls come back as they were written, whole or in slices; those of no calls have none.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use perf_ebpf::{
    calls::{OpenCall, SlowCall, TEXT_BYTES},
    histogram::bucket,
};

use crate::{
    collect::EventKind,
    drain::Tally,
    profile::Calls,
    store::{
        Selection, read, slice,
        tests::{self, SECOND, START, assert_damage, change, lengths, recorded_seconds},
    },
    task::{LocatedCall, LocatedCalls, LocatedKind, LocatedOpen, LocatedWindow},
};

fn slow(tid: u32, length_ns: u64) -> LocatedCall {
    let call = SlowCall {
        start_ns: START + 5,
        length_ns,
        result: -11,
        tgid: 7,
        tid,
        comm: [0; 16],
        call: libc::SYS_fsync as u32,
        text_bytes: 0,
        arguments: [3; 8],
        text: [0; TEXT_BYTES],
    };
    LocatedCall { call, comm: "worker".into(), file: None }
}

/// A window in which process 7 read three times and process 8 once.
fn window(second: u64) -> LocatedWindow {
    let (three, one) = (lengths(&[100, 200, 300]), lengths(&[9_000]));
    let call = libc::SYS_read as u32;
    let open = OpenCall { start_ns: START - SECOND, call: libc::SYS_read as u32, tgid: 8, ..OpenCall::default() };
    let calls = LocatedCalls {
        sums: vec![((7, call), three), ((8, call), one)],
        errors: vec![((7, call, 11), 2), ((8, call, 4000), 1)],
        slowest: vec![slow(70, 300), slow(71, 200)],
        open: vec![LocatedOpen { tid: 80, call: open, comm: "other".into(), told: None }],
        processes: HashMap::from([(7, "main".to_owned()), (8, "other".to_owned())]),
        tally: Tally { taken: 6, lost: vec![("calls_full", 2)], facts: vec![("begun_before", second)] },
    };
    let kind = LocatedKind { kind: EventKind::Syscalls, samples: vec![], tally: Tally::default() };
    LocatedWindow { kinds: vec![kind], calls: Some(calls), ..tests::window(second, 0, 0, vec![]) }
}

fn recorded() -> (tempfile::TempDir, PathBuf) {
    recorded_seconds(EventKind::Syscalls, window)
}

fn calls(path: &Path, selection: Selection) -> Calls {
    read(path, selection).unwrap().calls.unwrap()
}

#[test]
fn all_windows_add_up() {
    let (_directory, path) = recorded();
    let calls = calls(&path, Selection::default());
    assert!(calls.accounting.balances());
    assert_eq!((calls.accounting.taken, calls.accounting.lost["calls_full"]), (12, 4));
    assert_eq!((calls.counters["begun_before"], calls.processes[&8].as_str()), (1, "other"));
    let read = &calls.kinds[&(7, "read".to_owned())];
    assert_eq!((read.lengths.count, read.lengths.total_ns, read.lengths.max_ns), (6, 1200, 300));
    assert_eq!((read.lengths.buckets[bucket(100)], read.lengths.buckets.iter().sum::<u64>()), (2, 6));
    assert_eq!(read.errors["EAGAIN"], 4);
    assert_eq!(calls.kinds[&(8, "read".to_owned())].errors["error 4000"], 2);
    assert_eq!(calls.slowest.len(), 6);
    let (slow, open) = (&calls.slowest[0], &calls.slowest[2]);
    assert_eq!((slow.arguments.as_str(), slow.result, slow.start_ns), ("fsync(3)", Some(-11), 5));
    assert_eq!((open.arguments.as_str(), open.result, open.start_ns), ("read", None, -(SECOND as i64)));
    assert_eq!(open.length_ns, 2 * SECOND);
}

#[test]
fn parts_hold_their_part_in_place_and_as_copies() {
    let (directory, path) = recorded();
    let copy = directory.path().join("copy.perfprobe");
    let from = Selection { from_ns: Some(SECOND), ..Selection::default() };
    let process = Selection { tgid: Some(8), ..Selection::default() };
    let thread = Selection { tid: Some(70), ..Selection::default() };
    for (selection, kinds, count, single) in [(from, 2, 4, 3), (process, 1, 2, 2), (thread, 0, 0, 2)] {
        slice(&path, &copy, selection).unwrap();
        for calls in [calls(&path, selection), calls(&copy, Selection::default())] {
            let found: u64 = calls.kinds.values().map(|kind| kind.lengths.count).sum();
            assert_eq!((calls.kinds.len(), found, calls.slowest.len()), (kinds, count, single), "{selection:?}");
        }
    }
}

#[test]
fn numbers_that_cannot_be_are_damage() {
    for sql in [
        "UPDATE call SET count = -1",
        "UPDATE call SET total_ns = 9223372036854775807; INSERT INTO call SELECT * FROM call; INSERT INTO call SELECT * FROM call",
        "UPDATE call SET lengths = x'00ff'",
        "UPDATE call_error SET count = -1",
        "UPDATE slow_call SET length_ns = -1",
        "UPDATE counter SET value = -1 WHERE event = 'calls'",
    ] {
        let (_directory, path) = recorded();
        assert_damage(&path, sql);
    }
    // A bucket, a time and a name of which there are none.
    let (_directory, path) = recorded();
    change(
        &path,
        "UPDATE call SET lengths = x'00009f2001'; UPDATE slow_call SET start_ns = -9223372036854775808, name = 99",
    );
    assert_eq!(calls(&path, Selection::default()).kinds[&(7, "read".to_owned())].lengths.quantile_ns(0.5), 0);
}
