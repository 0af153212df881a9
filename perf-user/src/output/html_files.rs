//! The page's tables of system calls on files and sockets.

use flamegraphs::{Column, Section};

use super::html::more;
use crate::report::{
    FaultsReport, FileCallReport, FileCallsReport, PeerReport, accounting_line,
    human::{bytes, duration, thousands},
};

/// By process, file and call; and peers.
pub(super) fn sections(calls: &FileCallsReport) -> Vec<Section> {
    let numbers = ["time", "calls", "failed", "with disk I/O", "bytes", "p50", "p99", "max"].map(Column::number);
    let texts = ["call", "file or peer", "process"].map(Column::text);
    let files = Section {
        heading: "Files and sockets".into(),
        text: more(&accounting_line(&calls.accounting, "calls"), calls.calls_omitted, "calls on files"),
        columns: numbers.into_iter().chain(texts).collect(),
        rows: calls.calls.iter().map(call).collect(),
    };
    let numbers = ["time", "answers", "p50", "p90", "p99", "max", "connected", "max"].map(Column::number);
    let texts = ["peer", "process", "failures"].map(Column::text);
    let peers = (!calls.peers.is_empty()).then(|| Section {
        heading: "Peers: time to the first byte of an answer".into(),
        text: more(
            "From when the first thing was sent until something was received; how many connections were made, and the longest time \
             that took.",
            calls.peers_omitted,
            "peers",
        ),
        columns: numbers.into_iter().chain(texts).collect(),
        rows: calls.peers.iter().map(peer).collect(),
    });
    [Some(files), peers].into_iter().flatten().collect()
}

/// By process, kind, and what is mapped.
pub(super) fn faults(faults: &FaultsReport) -> Section {
    let numbers = ["time", "faults", "with disk I/O", "p50", "p99", "max"].map(Column::number);
    let texts = ["kind", "on what", "process"].map(Column::text);
    let row = |fault: &FileCallReport| {
        let mut row = call(fault);
        // These neither fail nor move bytes.
        row.remove(BYTES);
        row.remove(FAILED);
        row
    };
    Section {
        heading: "Page faults".into(),
        text: more(&accounting_line(&faults.accounting, "page faults"), faults.faults_omitted, "lines"),
        columns: numbers.into_iter().chain(texts).collect(),
        rows: faults.faults.iter().map(row).collect(),
    }
}

/// Columns of a [`call`] that faults do not have.
const FAILED: usize = 2;
const BYTES: usize = 4;

fn call(call: &FileCallReport) -> Vec<String> {
    vec![
        duration(call.lengths.total_ns),
        thousands(call.count),
        thousands(call.errors),
        thousands(call.from_disk),
        bytes(call.bytes),
        duration(call.lengths.p50_ns),
        duration(call.lengths.p99_ns),
        duration(call.lengths.max_ns),
        call.call.clone(),
        call.told().to_owned(),
        format!("{} ({})", call.told_process(), call.tgid),
    ]
}

fn peer(peer: &PeerReport) -> Vec<String> {
    let of = &peer.responses.lengths;
    vec![
        duration(of.total_ns),
        thousands(peer.responses.count),
        duration(of.p50_ns),
        duration(of.p90_ns),
        duration(of.p99_ns),
        duration(of.max_ns),
        thousands(peer.connects.count),
        duration(peer.connects.max_ns),
        peer.peer.clone(),
        format!("{} ({})", peer.process, peer.tgid),
        peer.told_failures(),
    ]
}
