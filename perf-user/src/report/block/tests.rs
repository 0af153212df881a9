//! What the report says of requests to disks, as text and as JSON.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use super::*;
use crate::{
    profile::{Block, FileIo},
    report::{
        Report,
        fixture::{self, assert_golden, lengths},
        report,
    },
};

fn single(operation: &str, start_ns: i64, times: [u64; 2], bytes: u64) -> SingleRequest {
    SingleRequest {
        tgid: 1234,
        process: "server".into(),
        tid: 1240,
        comm: "worker\u{1b}[31m thread".into(),
        disk: "nvme0n1".into(),
        operation: operation.into(),
        file: String::new(),
        start_ns,
        queue_ns: times[0],
        device_ns: times[1],
        sector: 123_456_789,
        bytes,
        requeues: 0,
        failed: false,
        complete: true,
    }
}

fn block() -> Block {
    let read = BlockKind {
        bytes: 123_456 << 14,
        failed: 0,
        requeues: 0,
        whole: lengths(&[(90_000, 123_000), (12_000_000, 456)]),
        queue: lengths(&[(1_000, 123_000), (11_000_000, 456)]),
        device: lengths(&[(89_000, 123_000), (1_000_000, 456)]),
    };
    let flush = BlockKind { bytes: 0, whole: lengths(&[(4_000_000, 12)]), queue: lengths(&[(0, 12)]), ..read.clone() };
    let flush = BlockKind { device: lengths(&[(4_000_000, 12)]), ..flush };
    let write = BlockKind { failed: 2, requeues: 1_234, ..read.clone() };
    let path = "/var/lib/server/data/partition-00000000000000000017/segment-0000000004.log";
    let slow = SingleRequest { file: path.into(), ..single("read", 1_500_000_000, [11_000_000, 1_000_000], 1 << 20) };
    let file = |ns| FileIo { count: 12, bytes: 49_152, ns, max_ns: 4_000_000 };
    let failed = SingleRequest { failed: true, requeues: 3, ..single("write", 20_000, [5, 300_000], 4_096) };
    let open = SingleRequest { complete: false, ..single("flush", -2_000_000, [0, 10_002_000_000], 0) };
    let of = |tgid, disk: &str, operation: &str| (tgid, disk.to_owned(), operation.to_owned());
    Block {
        accounting: Accounting {
            taken: 246_934,
            reported: 246_924,
            lost: BTreeMap::from([("io_full".into(), 10), ("map_busy".into(), 0)]),
        },
        counters: [("io_started", 246_940), ("merged", 5), ("open_at_end", 1)]
            .map(|(name, at)| (name.into(), at))
            .into(),
        sums: BTreeMap::from([
            (of(1234, "nvme0n1", "read"), read),
            (of(1234, "nvme0n1", "flush"), flush),
            (of(99, "a-disk-with-a-long-name", "write"), write),
        ]),
        files: BTreeMap::from([
            ((1234, "nvme0n1".into(), "read".into(), path.into()), file(400_000_000)),
            ((1234, "nvme0n1".into(), "flush".into(), String::new()), file(40_000_000)),
            ((99, "a-disk-with-a-long-name".into(), "write".into(), "/srv/\u{1b}[31m.db".into()), file(9_000)),
        ]),
        processes: BTreeMap::from([(99, "node".into()), (1234, "server".into())]),
        slowest: vec![failed, slow, open],
    }
}

fn reported(top: Option<usize>) -> Report {
    let mut profile = fixture::profile();
    profile.block = Some(block());
    report(&profile, &ReportOptions { top })
}

#[test]
fn the_text_is_the_golden_one() {
    assert_golden(&reported(Some(20)), "Disks  ", "block/golden.txt");
}

#[test]
fn the_json_has_all_percentiles_and_rates() {
    let report = serde_json::to_value(reported(None)).unwrap();
    let read = &report["block"]["kinds"][1];
    assert_eq!((read["disk"].as_str(), read["operation"].as_str()), (Some("nvme0n1"), Some("read")));
    for part in ["whole", "queue", "device"] {
        let of = |name: &str| read[part][name].as_u64().unwrap();
        assert!(of("p50_ns") <= of("p90_ns") && of("p90_ns") <= of("p99_ns") && of("p99_ns") <= of("max_ns"), "{part}");
    }
    let seconds = fixture::profile().covered_ns() as f64 / 1e9;
    assert!((read["per_second"].as_f64().unwrap() * seconds - 123_456.0).abs() < 0.01);
    assert_eq!(report["block"]["open"][0]["operation"], "flush");
    assert_eq!(report["block"]["slowest"][0]["queue_ns"], 11_000_000);
}

#[test]
fn only_so_many_are_told_as_are_asked_for() {
    let block = reported(Some(1)).block.unwrap();
    assert_eq!((block.kinds.len(), block.kinds_omitted, block.slowest.len(), block.open.len()), (1, 2, 1, 1));
    assert_eq!((block.files.len(), block.files_omitted), (1, 2));
}
