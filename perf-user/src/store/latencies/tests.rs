//! Lengths come back window by window, by what they are of.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use perf_ebpf::{
    block::FileKey,
    file_calls::{FAULT_CALLS, FileCalls as Sum},
    histogram::bucket,
};

use crate::{
    collect::EventKind,
    drain::Tally,
    profile::Latencies,
    store::{
        Selection, read,
        tests::{lengths, recorded_seconds, window},
    },
    task::{LocatedFileCalls, LocatedKind, LocatedWindow},
};

/// A window in which process 7 read twice, the second time for longer the later it is, and process 8 had a fault.
fn second(at: u64) -> LocatedWindow {
    let row = |tgid, call, ns: &[u64]| ((tgid, call, FileKey::default()), Sum { lengths: lengths(ns), ..Sum::NONE });
    let calls = LocatedFileCalls {
        sums: vec![row(7, libc::SYS_read as u32, &[500, 1_000 << at]), row(8, FAULT_CALLS, &[2_000])],
        ..LocatedFileCalls::default()
    };
    let kinds = [EventKind::Files, EventKind::Faults];
    let kinds = kinds.map(|kind| LocatedKind { kind, samples: vec![], tally: Tally::default() });
    LocatedWindow { kinds: kinds.into(), file_calls: Some(calls), ..window(at, 0, 0, vec![]) }
}

fn latencies(selection: Selection) -> Latencies {
    let (_directory, path) = recorded_seconds(EventKind::Files, second);
    read(&path, selection).unwrap().latencies
}

#[test]
fn each_window_has_its_own_lengths() {
    let found = latencies(Selection { latencies: true, ..Selection::default() });
    assert_eq!(found.parts.len(), 2);
    assert!(found.parts[0].1 <= found.parts[1].0, "{:?}", found.parts);
    let reads = &found.maps[&("files", "read".to_owned())];
    assert_eq!((reads.all.count, reads.all.total_ns), (4, 4_000));
    let cell = |part, ns| reads.cells.get(&(part, bucket(ns) as u8)).copied();
    assert_eq!([cell(0, 500), cell(0, 1_000), cell(0, 2_000)], [Some(1), Some(1), None]);
    assert_eq!([cell(1, 500), cell(1, 1_000), cell(1, 2_000)], [Some(1), None, Some(1)]);
    assert_eq!(found.maps[&("faults", "page fault".to_owned())].all.count, 2, "faults are no calls");
    assert_eq!(found.maps.len(), 2);
}

#[test]
fn only_who_asks_has_them_and_of_the_process_that_is_asked_for() {
    assert!(latencies(Selection::default()).maps.is_empty());
    let found = latencies(Selection { latencies: true, tgid: Some(8), ..Selection::default() });
    assert_eq!(found.maps.keys().map(|(event, _)| *event).collect::<Vec<_>>(), ["faults"]);
}
