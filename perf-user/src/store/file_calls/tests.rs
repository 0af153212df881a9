//! Calls on files come back as they were written, whole or in slices; those of none have none.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use perf_ebpf::{
    block::FileKey,
    file_calls::{Connections, FileCalls as Sum},
};

use super::*;
use crate::{
    drain::Tally,
    profile::{Overhead, Recording},
    store::{
        Selection, Writer, read, slice,
        tests::{SECOND, START, assert_damage, lengths, recorded_seconds, window},
    },
    task::{FileKind, LocatedKind, Peer},
};

const FILE: FileKey = FileKey { inode: 12, system: 8 << 20 | 17, generation: 0 };
const SOCKET: FileKey = FileKey { inode: 99, system: u32::MAX - 1, generation: 0 };

/// A window in which process 7 read a file twice, and process 8 asked a peer.
fn second(at: u64) -> LocatedWindow {
    let read = Sum { bytes: 8_192, errors: 0, from_disk: 1, lengths: lengths(&[500, 900]) };
    let send = Sum { bytes: 100, errors: 1, from_disk: 0, lengths: lengths(&[70]) };
    let connections =
        Connections { retransmits: 2, connects: 1, connect_ns: 30, connect_max_ns: 30, ..Connections::default() };
    let calls = LocatedFileCalls {
        sums: vec![
            ((7, libc::SYS_read as u32, FILE), read),
            ((8, libc::SYS_sendto as u32, SOCKET), send),
            ((8, libc::SYS_close as u32, FileKey::default()), Sum { lengths: lengths(&[1]), ..Sum::NONE }),
        ],
        peers: vec![((8, SOCKET), Peer { answers: lengths(&[4_000]), connections })],
        processes: HashMap::from([(7, "main".to_owned()), (8, "other".to_owned())]),
        tally: Tally { taken: 6, lost: vec![("file_calls_full", 2)], facts: vec![("peers_full", at)] },
        faults: Tally::default(),
    };
    let text = |kind, text: &str| FileText { kind, text: text.into(), asks: false };
    let files = HashMap::from([
        (FILE, text(FileKind::File, "/srv/t.db")),
        (SOCKET, text(FileKind::Socket, "tcp to 10.0.0.7:5432")),
    ]);
    let kind = LocatedKind { kind: EventKind::Files, samples: vec![], tally: Tally::default() };
    LocatedWindow { kinds: vec![kind], file_calls: Some(calls), files, ..window(at, 0, 0, vec![]) }
}

fn recorded() -> (tempfile::TempDir, PathBuf) {
    recorded_seconds(EventKind::Files, second)
}

fn file_calls(path: &Path, selection: Selection) -> FileCalls {
    read(path, selection).unwrap().file_calls.unwrap()
}

fn key(tgid: u32, kind: &str, file: &str, call: &str) -> (u32, String, String, String) {
    (tgid, kind.into(), file.into(), call.into())
}

#[test]
fn calls_of_all_windows_are_added_up() {
    let (_directory, path) = recorded();
    let calls = file_calls(&path, Selection::default());
    let read = &calls.sums[&key(7, "file", "/srv/t.db", "read")];
    assert_eq!((read.bytes, read.from_disk, read.lengths.count), (16_384, 2, 4));
    assert_eq!((read.lengths.total_ns, read.lengths.max_ns), (2_800, 900));
    let send = &calls.sums[&key(8, "socket", "tcp to 10.0.0.7:5432", "sendto")];
    assert_eq!((send.bytes, send.errors), (200, 2));
    assert_eq!(calls.sums[&key(8, "file", "", "close")].lengths.count, 2, "of a file that is not known");
    let peer = &calls.peers[&(8, "tcp to 10.0.0.7:5432".to_owned())];
    let of = &peer.connections;
    assert_eq!((peer.answers.count, of.retransmits, of.connects, of.connect_max_ns), (2, 4, 2, 30));
    assert!(calls.accounting.balances(), "{:?}", calls.accounting);
    assert_eq!((calls.accounting.taken, calls.counters["peers_full"]), (12, 1));
}

#[test]
fn a_part_has_its_own_calls() {
    let (directory, path) = recorded();
    let part = Selection { tgid: Some(8), from_ns: Some(SECOND), ..Selection::default() };
    let copy = directory.path().join("part.perfprobe");
    slice(&path, &copy, part).unwrap();
    for calls in [file_calls(&path, part), file_calls(&copy, Selection::default())] {
        assert_eq!(calls.sums.values().map(|call| call.lengths.count).sum::<u64>(), 2);
        assert_eq!(calls.peers.len(), 1);
        assert_eq!(calls.processes.into_values().collect::<Vec<_>>(), ["other"]);
    }
    let of_thread = Selection { tid: Some(70), ..Selection::default() };
    slice(&path, &copy, of_thread).unwrap();
    for calls in [file_calls(&path, of_thread), file_calls(&copy, Selection::default())] {
        assert!(calls.sums.is_empty() && calls.peers.is_empty(), "which thread made a call is not told");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for change in
        ["UPDATE file_call SET bytes = -1", "UPDATE peer SET connects = -1", "UPDATE file_call SET lengths = x'00ff'"]
    {
        let (_directory, path) = recorded();
        assert_damage(&path, change);
    }
}

#[test]
fn a_recording_without_calls_on_files_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.perfprobe");
    let writer = Writer::create(&path).unwrap();
    writer.describe(&Recording { complete: true, ..Recording::default() }, &Overhead::default(), START).unwrap();
    assert!(read(&path, Selection::default()).unwrap().file_calls.is_none());
}
