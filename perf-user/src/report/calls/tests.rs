//! What the report says of system calls, as text and as JSON.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use super::*;
use crate::{
    profile::Calls,
    report::{
        Report,
        fixture::{self, assert_golden, lengths},
        report,
    },
};

fn kind(times: &[(u64, u64)], errors: &[(&str, u64)]) -> CallKind {
    CallKind {
        lengths: lengths(times),
        errors: errors.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
    }
}

fn single(name: &str, arguments: &str, start_ns: i64, length_ns: u64, result: Option<i64>) -> SingleCall {
    SingleCall {
        tgid: 1234,
        process: "server".into(),
        tid: 1240,
        comm: "worker\u{1b}[31m thread".into(),
        name: name.into(),
        arguments: arguments.into(),
        start_ns,
        length_ns,
        result,
    }
}

fn calls() -> Calls {
    let path = "/var/lib/server/data/partition-00000000000000000017/segment-0000000004.log";
    let slowest = vec![
        single("fsync", &format!("fsync(17<{path}>)"), 1_500_000_000, 340_000_000, Some(0)),
        single("openat", "openat(/etc/ser\u{202e}ver.conf, O_RDONLY)", 20_000_000, 1_200, Some(-2)),
        single("mmap", "mmap(0x0, 0x1000, 0x3)", 30_000_000, 12_000_000, Some(0x7f00_0000_0000)),
        single("epoll_wait", "epoll_wait", -2_000_000, 10_002_000_000, None),
        single("read", "read(0</dev/pts/0>, 1024)", 0, 10_000_000_000, None),
    ];
    let kinds = BTreeMap::from([
        ((1234, "fsync".to_owned()), kind(&[(2_000_000, 900), (340_000_000, 1)], &[])),
        ((1234, "read".to_owned()), kind(&[(800, 1_000_000), (90_000, 20_000)], &[("EAGAIN", 12_345), ("EINTR", 2)])),
        ((99, "openat".to_owned()), kind(&[(1_200, 40)], &[("ENOENT", 38), ("EACCES", 1)])),
        ((99, "system call 600".to_owned()), kind(&[(40, 7)], &[("ENOSYS", 7)])),
    ]);
    Calls {
        accounting: Accounting {
            taken: 1_020_958,
            reported: 1_020_948,
            lost: BTreeMap::from([("calls_full".into(), 10), ("map_busy".into(), 0)]),
        },
        counters: [("begun_before", 3), ("open_at_end", 1)].map(|(name, at)| (name.into(), at)).into(),
        kinds,
        processes: BTreeMap::from([(99, "node".into()), (1234, "server".into())]),
        slowest,
    }
}

fn reported(top: Option<usize>) -> Report {
    let mut profile = fixture::profile();
    profile.calls = Some(calls());
    report(&profile, &ReportOptions { top })
}

#[test]
fn the_text_is_the_golden_one() {
    assert_golden(&reported(Some(20)), "System  ", "calls/golden.txt");
}

#[test]
fn the_json_has_everything() {
    let json = serde_json::to_value(reported(None)).unwrap();
    let calls = &json["calls"];
    assert_eq!(calls["accounting"]["taken"], 1_020_958);
    assert_eq!(calls["counters"]["begun_before"], 3);
    let read = calls["kinds"].as_array().unwrap().iter().find(|kind| kind["call"] == "read").unwrap();
    assert_eq!((&read["tgid"], &read["process"], &read["count"]), (&1234.into(), &"server".into(), &1_020_000.into()));
    assert_eq!((&read["errors"]["EAGAIN"], &read["max_ns"]), (&12_345.into(), &90_000.into()));
    let [p50, p99] = ["p50_ns", "p99_ns"].map(|field| read[field].as_u64().unwrap() as f64);
    assert!((p50 / 800.0 - 1.0).abs() < 0.12 && (p99 / 90_000.0 - 1.0).abs() < 0.12, "{read}");
    let slowest = calls["slowest"].as_array().unwrap();
    assert_eq!(slowest[0]["call"], "fsync");
    assert_eq!((&slowest[2]["error"], &slowest[2]["result"]), (&"ENOENT".into(), &(-2).into()));
    assert!(slowest[0].get("error").is_none());
    assert!(calls["open"][0].get("result").is_none() && calls["open"][0]["start_ns"] == -2_000_000);
    assert!(calls["open"][0].get("began_before").is_none() && calls["open"][1]["began_before"] == true);
    assert!(
        serde_json::to_value(report(&fixture::profile(), &ReportOptions::default())).unwrap().get("calls").is_none()
    );
}

#[test]
fn lists_are_cut_and_say_so() {
    let calls = reported(Some(1)).calls.unwrap();
    assert_eq!((calls.kinds.len(), calls.kinds_omitted, calls.slowest.len()), (1, 3, 1));
    assert_eq!(calls.kinds[0].call, "read", "the longest of all");
}
