//! System calls on files and sockets: how many, how long and how much, of which of them, and how peers answer.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use serde::Serialize;

use super::{LengthsReport, ReportOptions, human::thousands};
use crate::profile::{Accounting, FileCall, FileCalls, Profile};

mod text;

#[cfg(test)]
mod tests;

/// What the program did to files and sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FileCallsReport {
    /// What became of all calls that returned, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses.
    pub counters: BTreeMap<String, u64>,
    /// By process, file and call, the longest time in all first. Empty if the report is of one thread.
    pub calls: Vec<FileCallReport>,
    /// How many more there are.
    pub calls_omitted: usize,
    /// By process and peer that it asks, the longest time in all first. Empty if the report is of one thread.
    pub peers: Vec<PeerReport>,
    /// How many more there are.
    pub peers_omitted: usize,
}

/// Page faults: what was needed of memory that was not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FaultsReport {
    /// What became of all that ended, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses.
    pub counters: BTreeMap<String, u64>,
    /// By process, kind and what is mapped, the longest time in all first. Empty if the report is of one thread.
    pub faults: Vec<FileCallReport>,
    /// How many more there are.
    pub faults_omitted: usize,
}

/// The calls of one name that a process made on one file or socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileCallReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// For how many processes of that name this stands, of which it is the first: in shortened lists more than one, where there are many.
    #[serde(skip_serializing_if = "is_one")]
    pub processes: usize,
    /// What it is: file, socket, pipe, memory or other.
    pub kind: String,
    /// The path, or the peer; empty where it is not known.
    pub file: String,
    /// The call.
    pub call: String,
    /// How many.
    pub count: u64,
    /// How many failed, other than because there was nothing yet (`EAGAIN`, `EINPROGRESS`).
    pub errors: u64,
    /// How much they read or wrote.
    pub bytes: u64,
    /// During how many the thread itself asked a disk for something; the others were served from memory, or waited for what somebody
    /// else had asked for.
    pub from_disk: u64,
    /// For how long: percentiles within 12 %.
    #[serde(flatten)]
    pub lengths: LengthsReport,
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

/// How a peer answers a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The peer, as the file of calls.
    pub peer: String,
    /// How often, and for how long: from when the first thing was sent until something was received.
    pub responses: ResponsesReport,
    /// Connections that were made.
    pub connects: ConnectsReport,
    /// Segments that were sent again.
    pub retransmits: u64,
    /// Resets that were sent.
    pub resets_sent: u64,
    /// And received.
    pub resets_received: u64,
}

/// Answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResponsesReport {
    /// How many.
    pub count: u64,
    /// For how long.
    #[serde(flatten)]
    pub lengths: LengthsReport,
}

/// Connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectsReport {
    /// How many were made.
    pub count: u64,
    /// How many were not.
    pub failed: u64,
    /// For how long it took to make them.
    pub total_ns: u64,
    /// The longest of these times.
    pub max_ns: u64,
}

/// Of the calls of a profile; `None` if it has none recorded.
pub(super) fn file_calls(profile: &Profile, options: &ReportOptions) -> Option<FileCallsReport> {
    let calls = profile.file_calls.as_ref()?;
    let (rows, calls_omitted) = rows(calls, options);
    let peers = calls.peers.iter().map(|((tgid, peer), of)| PeerReport {
        tgid: *tgid,
        process: name(calls, *tgid),
        peer: peer.clone(),
        responses: ResponsesReport { count: of.answers.count, lengths: LengthsReport::of(&of.answers) },
        connects: ConnectsReport {
            count: of.connections.connects,
            failed: of.connections.connects_failed,
            total_ns: of.connections.connect_ns,
            max_ns: of.connections.connect_max_ns,
        },
        retransmits: of.connections.retransmits,
        resets_sent: of.connections.resets_sent,
        resets_received: of.connections.resets_received,
    });
    let mut peers: Vec<PeerReport> = peers.collect();
    peers.sort_by(|a, b| {
        let key = |peer: &PeerReport| (Reverse(peer.responses.lengths.total_ns), peer.tgid);
        (key(a), &a.peer).cmp(&(key(b), &b.peer))
    });
    let most = options.top.unwrap_or(usize::MAX);
    let peers_omitted = peers.len().saturating_sub(most);
    peers.truncate(most);
    let (accounting, counters) = (calls.accounting.clone(), calls.counters.clone());
    Some(FileCallsReport { accounting, counters, calls: rows, calls_omitted, peers, peers_omitted })
}

/// Of the page faults of a profile; `None` if it has none recorded.
pub(super) fn faults(profile: &Profile, options: &ReportOptions) -> Option<FaultsReport> {
    let of = profile.faults.as_ref()?;
    let (faults, faults_omitted) = rows(of, options);
    let (accounting, counters) = (of.accounting.clone(), of.counters.clone());
    Some(FaultsReport { accounting, counters, faults, faults_omitted })
}

/// The name of a process.
fn name(calls: &FileCalls, tgid: u32) -> String {
    calls.processes.get(&tgid).cloned().unwrap_or_default()
}

/// The sums, the longest time first, and how many more there are.
fn rows(calls: &FileCalls, options: &ReportOptions) -> (Vec<FileCallReport>, usize) {
    // Loops of a shell, and builds, have thousands of processes, each with the same few rows.
    let crowds = if options.top.is_some() { crowds(calls) } else { HashMap::new() };
    let mut sums: BTreeMap<(u32, &str, &str, &str), FileCall> = BTreeMap::new();
    for ((tgid, kind, file, call), sum) in &calls.sums {
        let first = crowds.get(tgid).map_or(*tgid, |(first, _)| *first);
        let into = sums.entry((first, kind, file, call)).or_default();
        (into.bytes, into.errors) = (into.bytes.saturating_add(sum.bytes), into.errors.saturating_add(sum.errors));
        into.from_disk = into.from_disk.saturating_add(sum.from_disk);
        into.lengths.add(&sum.lengths);
    }
    let rows = sums.iter().map(|((tgid, kind, file, call), sum)| FileCallReport {
        tgid: *tgid,
        process: name(calls, *tgid),
        processes: crowds.get(tgid).map_or(1, |(_, count)| *count),
        kind: (*kind).to_owned(),
        file: (*file).to_owned(),
        call: (*call).to_owned(),
        count: sum.lengths.count,
        errors: sum.errors,
        bytes: sum.bytes,
        from_disk: sum.from_disk,
        lengths: LengthsReport::of(&sum.lengths),
    });
    let mut rows: Vec<FileCallReport> = rows.collect();
    rows.sort_by(|a, b| {
        let key = |row: &FileCallReport| (Reverse(row.lengths.total_ns), row.tgid);
        (key(a), &a.file, &a.call).cmp(&(key(b), &b.file, &b.call))
    });
    let omitted = rows.len().saturating_sub(options.top.unwrap_or(usize::MAX));
    rows.truncate(rows.len() - omitted);
    (rows, omitted)
}

/// Processes of one name are told apart if there are no more.
const CROWD: usize = 8;

/// Of processes whose name many have: the first of these, and how many there are.
fn crowds(calls: &FileCalls) -> HashMap<u32, (u32, usize)> {
    let tgids: BTreeSet<u32> = calls.sums.keys().map(|(tgid, ..)| *tgid).collect();
    let mut of_name: HashMap<&str, Vec<u32>> = HashMap::new();
    for (tgid, name) in tgids.iter().filter_map(|tgid| Some((tgid, calls.processes.get(tgid)?))) {
        of_name.entry(name).or_default().push(*tgid);
    }
    let crowds = of_name.into_values().filter(|tgids| tgids.len() > CROWD);
    crowds.flat_map(|tgids| tgids.clone().into_iter().map(move |tgid| (tgid, (tgids[0], tgids.len())))).collect()
}

impl FileCallReport {
    /// The process, or how many.
    #[must_use]
    pub fn told_process(&self) -> String {
        match self.processes {
            1 => self.process.clone(),
            count => format!("{}, {} processes, the first", self.process, thousands(count as u64)),
        }
    }

    /// The file, or what stands for it.
    #[must_use]
    pub fn told(&self) -> &str {
        if self.file.is_empty() { "(not known)" } else { &self.file }
    }
}

impl PeerReport {
    /// What went wrong; empty if nothing did.
    #[must_use]
    pub fn told_failures(&self) -> String {
        let told = |count: u64, what: &str| (count > 0).then(|| format!("{what} {}", thousands(count)));
        let failures = [
            told(self.connects.failed, "not connected"),
            told(self.retransmits, "sent again"),
            told(self.resets_received, "resets received"),
            told(self.resets_sent, "resets sent"),
        ];
        failures.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
