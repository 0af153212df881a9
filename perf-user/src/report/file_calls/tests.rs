//! What the report says of calls on files and sockets, as text and as JSON.

#![allow(clippy::unwrap_used, reason = "tests")]

use perf_ebpf::file_calls::Connections;

use super::*;
use crate::{
    profile::Peer,
    report::{
        Report,
        fixture::{self, assert_golden, lengths},
        report,
    },
};

fn file_calls() -> FileCalls {
    let long = "/var/lib/server/data/partition-00000000000000000017/segment-0000000004.log";
    let read =
        FileCall { bytes: 5 << 30, errors: 0, from_disk: 41, lengths: lengths(&[(1_500, 123_000), (7_000_000, 41)]) };
    let sync = FileCall { bytes: 0, errors: 0, from_disk: 12, lengths: lengths(&[(4_000_000, 12)]) };
    let open = FileCall { errors: 7, lengths: lengths(&[(9_000, 7)]), ..FileCall::default() };
    let unknown = FileCall { errors: 1, lengths: lengths(&[(300, 2)]), ..FileCall::default() };
    let receive = FileCall { bytes: 123_456, errors: 2, from_disk: 0, lengths: lengths(&[(20_000_000, 300)]) };
    let of = |tgid, kind: &str, file: &str, call: &str| (tgid, kind.to_owned(), file.to_owned(), call.to_owned());
    let answers = lengths(&[(20_000_000, 299), (900_000_000, 1)]);
    let made = Connections {
        connects: 3,
        connect_ns: 700_000,
        connect_max_ns: 400_000,
        retransmits: 2,
        resets_received: 1,
        ..Connections::default()
    };
    let refused = Connections { connects_failed: 1_234, resets_sent: 3, ..Connections::default() };
    let (db, refused) = (Peer { answers, connections: made }, Peer { connections: refused, ..Peer::default() });
    FileCalls {
        accounting: Accounting {
            taken: 123_366,
            reported: 123_363,
            lost: BTreeMap::from([("file_calls_full".into(), 3), ("cpu_busy".into(), 0)]),
        },
        counters: BTreeMap::from([("peers_full".into(), 4)]),
        sums: BTreeMap::from([
            (of(1234, "file", long, "pread64"), read),
            (of(1234, "file", "/srv/\u{1b}[31m.db", "fdatasync"), sync),
            (of(1234, "file", "../etc/missing.conf", "openat"), open),
            (of(1234, "file", "", "close"), unknown),
            (of(99, "socket", "tcp to 10.0.0.7:5432", "recvfrom"), receive),
        ]),
        peers: BTreeMap::from([
            ((99, "tcp to 10.0.0.7:5432".into()), db),
            ((99, "tcp6 to [2001:db8:1234:5678:9abc:def0:1234:5678]:44300".into()), refused),
        ]),
        processes: BTreeMap::from([(99, "node".into()), (1234, "server".into())]),
    }
}

fn reported(top: Option<usize>) -> Report {
    let mut profile = fixture::profile();
    profile.file_calls = Some(file_calls());
    report(&profile, &ReportOptions { top })
}

#[test]
fn the_text_is_the_golden_one() {
    assert_golden(&reported(Some(20)), "Files  ", "file_calls/golden.txt");
}

#[test]
fn the_json_has_all_that_is_counted() {
    let report = serde_json::to_value(reported(None)).unwrap();
    let calls = report["file_calls"]["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 5);
    let receive = &calls[0];
    assert_eq!((receive["kind"].as_str(), receive["call"].as_str()), (Some("socket"), Some("recvfrom")));
    assert_eq!((receive["total_ns"].as_u64(), receive["bytes"].as_u64()), (Some(6_000_000_000), Some(123_456)));
    let peers = report["file_calls"]["peers"].as_array().unwrap();
    let db = &peers[0];
    assert_eq!((db["responses"]["count"].as_u64(), db["retransmits"].as_u64()), (Some(300), Some(2)));
    assert!(db["responses"]["p50_ns"].as_u64() <= db["responses"]["p99_ns"].as_u64());
    assert_eq!(peers[1]["connects"]["failed"], 1_234);
}

#[test]
fn only_so_many_are_told_as_are_asked_for() {
    let calls = reported(Some(1)).file_calls.unwrap();
    assert_eq!((calls.calls.len(), calls.calls_omitted), (1, 4));
    assert_eq!((calls.peers.len(), calls.peers_omitted), (1, 1));
}

#[test]
fn many_processes_of_one_name_are_one_in_short() {
    let mut profile = Profile::default();
    let mut calls = FileCalls::default();
    for tgid in 100..100 + CROWD as u32 + 1 {
        let lengths = lengths(&[(3, 1), (7, 1)]);
        let key = (tgid, "file".to_owned(), "/bin/true".to_owned(), "page fault".to_owned());
        calls.sums.insert(key, FileCall { from_disk: 1, lengths, ..FileCall::default() });
        calls.processes.insert(tgid, "true".into());
    }
    profile.faults = Some(calls);
    let of = |top| faults(&profile, &ReportOptions { top }).unwrap();
    let short = of(Some(20));
    let [row] = &short.faults[..] else { panic!("{:?}", short.faults) };
    assert_eq!((row.tgid, row.processes, row.count, row.from_disk), (100, CROWD + 1, 18, 9));
    assert_eq!((row.lengths.total_ns, row.lengths.max_ns), (90, 7));
    assert_eq!(row.told_process(), "true, 9 processes, the first");
    assert_eq!(of(None).faults.len(), CROWD + 1);
}
