//! Requests to devices come back as they were written, whole or in slices; those of no requests have none.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use perf_ebpf::{
    block::{BlockSum, FileKey, FileRequests, OpenRequest, Operation, SlowRequest},
    histogram::bucket,
    sample::Key,
};

use crate::{
    collect::EventKind,
    drain::Tally,
    profile::Block,
    store::{
        Selection, read, slice,
        tests::{SECOND, START, assert_damage, lengths, recorded_seconds, window},
    },
    task::{FileText, LocatedBlock, LocatedKind, LocatedWindow},
};

const DISK: u32 = 4095 << 20 | 16;
const FILE: FileKey = FileKey { inode: 12, system: 8 << 20 | 17, generation: 0 };

/// A window in which process 7 read twice and process 8 wrote once, which failed.
fn second(at: u64) -> LocatedWindow {
    let read = BlockSum {
        bytes: 12_288,
        failed: 0,
        requeues: 3,
        whole: lengths(&[500, 900]),
        queue: lengths(&[100, 200]),
        device: lengths(&[400, 700]),
    };
    let write = BlockSum { bytes: 512, failed: 1, requeues: 0, ..read };
    let slow = SlowRequest {
        start_ns: START + 5,
        queue_ns: 200,
        device_ns: 700,
        sector: 2_048,
        bytes: 8_192,
        tgid: 7,
        tid: 70,
        comm: *b"reader\0\0\0\0\0\0\0\0\0\0",
        device: DISK,
        operation: Operation::Read as u32,
        requeues: 3,
        failed: 0,
        file: FILE,
    };
    let key = Key { tgid: 8, tid: 80, why: Operation::Write as u32, ..Key::default() };
    let open =
        |issue_ns| OpenRequest { key, issue_ns, start_ns: START + at * SECOND, device: DISK, ..OpenRequest::default() };
    let block = LocatedBlock {
        sums: vec![((7, DISK, Operation::Read as u32), read), ((8, DISK, Operation::Write as u32), write)],
        files: vec![
            ((7, DISK, Operation::Read as u32), FILE, FileRequests { count: 2, bytes: 12_288, ns: 1_400, max_ns: 900 }),
            (
                (8, DISK, Operation::Write as u32),
                FileKey::default(),
                FileRequests { count: 2, ..FileRequests::default() },
            ),
        ],
        slowest: vec![slow, SlowRequest { tgid: 8, tid: 80, failed: 1, ..slow }],
        open: vec![open(0), open(START + at * SECOND + 1_000)],
        processes: HashMap::from([(7, "main".to_owned()), (8, "other".to_owned())]),
        disks: HashMap::from([(DISK, "sda".to_owned())]),
        tally: Tally { taken: 6, lost: vec![("io_full", 2)], facts: vec![("merged", at)] },
    };
    let kind = LocatedKind { kind: EventKind::Io, samples: vec![], tally: Tally::default() };
    let files = HashMap::from([(FILE, FileText { text: "/srv/t.db".into(), ..FileText::default() })]);
    LocatedWindow { kinds: vec![kind], block: Some(block), files, ..window(at, 0, 0, vec![]) }
}

fn recorded() -> (tempfile::TempDir, PathBuf) {
    recorded_seconds(EventKind::Io, second)
}

fn block(path: &Path, selection: Selection) -> Block {
    read(path, selection).unwrap().block.unwrap()
}

#[test]
fn all_windows_add_up() {
    let (_directory, path) = recorded();
    let block = block(&path, Selection::default());
    assert!(block.accounting.balances());
    assert_eq!((block.accounting.taken, block.accounting.lost["io_full"]), (12, 4));
    assert_eq!((block.counters["merged"], block.processes[&8].as_str()), (1, "other"));
    let read = &block.sums[&(7, "sda".to_owned(), "read".to_owned())];
    assert_eq!((read.bytes, read.failed, read.requeues, read.whole.count), (24_576, 0, 6, 4));
    assert_eq!([&read.whole, &read.queue, &read.device].map(|of| of.total_ns), [2_800, 600, 2_200]);
    assert_eq!([&read.whole, &read.queue, &read.device].map(|of| of.max_ns), [900, 200, 700]);
    assert_eq!((read.queue.buckets[bucket(100)], read.device.buckets[bucket(700)]), (2, 2));
    let of = |tgid, operation: &str, file: &str| {
        &block.files[&(tgid, "sda".to_owned(), operation.to_owned(), file.to_owned())]
    };
    let file = of(7, "read", "/srv/t.db");
    assert_eq!((file.count, file.bytes, file.ns, file.max_ns), (4, 24_576, 2_800, 900));
    assert_eq!(of(8, "write", "").count, 4, "of no file that is known");
    assert_eq!((block.slowest[0].file.as_str(), block.slowest[2].file.as_str()), ("/srv/t.db", ""));
    assert_eq!(block.sums[&(8, "sda".to_owned(), "write".to_owned())].failed, 2);
    let [slow, failed, queued, issued] = &block.slowest[..4] else { panic!("{:?}", block.slowest) };
    assert_eq!((slow.start_ns, slow.queue_ns, slow.device_ns, slow.sector, slow.bytes), (5, 200, 700, 2_048, 8_192));
    assert_eq!((slow.comm.as_str(), slow.disk.as_str(), slow.operation.as_str()), ("reader", "sda", "read"));
    assert!(slow.complete && !slow.failed && failed.failed && !queued.complete);
    assert_eq!([queued, issued].map(|open| (open.queue_ns, open.device_ns)), [(SECOND, 0), (1_000, SECOND - 1_000)]);
}

#[test]
fn parts_hold_their_part_in_place_and_as_copies() {
    let (directory, path) = recorded();
    let copy = directory.path().join("copy.perfprobe");
    let from = Selection { from_ns: Some(SECOND), ..Selection::default() };
    let process = Selection { tgid: Some(8), ..Selection::default() };
    let thread = Selection { tid: Some(70), ..Selection::default() };
    for (selection, kinds, count, single) in [(from, 2, 4, 4), (process, 1, 4, 6), (thread, 0, 0, 2)] {
        slice(&path, &copy, selection).unwrap();
        for block in [block(&path, selection), block(&copy, Selection::default())] {
            let found: u64 = block.sums.values().map(|kind| kind.whole.count).sum();
            assert_eq!((block.sums.len(), found, block.slowest.len()), (kinds, count, single), "{selection:?}");
            assert_eq!(block.files.len(), kinds, "{selection:?}");
        }
    }
}

#[test]
fn numbers_that_cannot_be_are_damage() {
    for sql in [
        "UPDATE io SET bytes = -1",
        "UPDATE io SET count = -1",
        "UPDATE io SET queue_ns = 9223372036854775807; INSERT INTO io SELECT * FROM io; INSERT INTO io SELECT * FROM io",
        "UPDATE io SET device_lengths = x'00ff'",
        "UPDATE slow_io SET queue_ns = -1",
        "UPDATE io_file SET bytes = -1",
        "UPDATE counter SET value = -1 WHERE event = 'requests'",
    ] {
        let (_directory, path) = recorded();
        assert_damage(&path, sql);
    }
}
