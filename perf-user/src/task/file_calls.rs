//! System calls on files and sockets with what only their moment knows.

use std::collections::{BTreeMap, HashMap};

use perf_ebpf::{
    block::FileKey,
    file_calls::{Connections, FAULT_CALLS, FileCalls},
    histogram::Lengths,
};

use super::{Tasks, file_names::FileText};
use crate::drain::{RawFileCalls, RawWindow, Tally};

/// System calls on files and sockets, and page faults, on their way to be stored.
#[derive(Debug, Default)]
pub struct LocatedFileCalls {
    /// By process, number and file.
    pub sums: Vec<((u32, u32, FileKey), FileCalls)>,
    /// What became of sockets that ask others, by process.
    pub peers: Vec<((u32, FileKey), Peer)>,
    /// The names of the processes in all these.
    pub processes: HashMap<u32, String>,
    /// What became of all of them but faults.
    pub tally: Tally,
    /// What became of page faults.
    pub faults: Tally,
}

/// How a peer answers, and what became of the connections with it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// From when the first thing was sent until something was received.
    pub answers: Lengths,
    /// What became of the connections.
    pub connections: Connections,
}

impl LocatedFileCalls {
    /// Those that are counted in `sums`: calls and operations, and page faults.
    #[must_use]
    pub fn reported(&self) -> [u64; 2] {
        let mut reported = [0; 2];
        for ((_, call, _), sum) in &self.sums {
            reported[usize::from(*call >= FAULT_CALLS)] += sum.lengths.count;
        }
        reported
    }
}

impl Tasks {
    /// Finds out what is known of the calls of a window as long as it can be known.
    pub(super) fn locate_file_calls(
        &self,
        calls: &RawFileCalls,
        texts: &HashMap<FileKey, FileText>,
        window: &RawWindow,
    ) -> LocatedFileCalls {
        let asks = |socket: &FileKey| texts.get(socket).is_some_and(|text| text.asks);
        let mut peers: BTreeMap<(u32, FileKey), Peer> = BTreeMap::new();
        let none = Peer { answers: Lengths::NONE, connections: Connections::default() };
        for ((tgid, socket), answers) in calls.answers.iter().filter(|((_, socket), _)| asks(socket)) {
            peers.entry((*tgid, *socket)).or_insert(none).answers = *answers;
        }
        for ((tgid, socket), connections) in &calls.connections {
            peers.entry((*tgid, *socket)).or_insert(none).connections = *connections;
        }
        let mut processes = HashMap::new();
        let tgids = calls.sums.keys().map(|(tgid, ..)| tgid).chain(peers.keys().map(|(tgid, _)| tgid));
        for tgid in tgids {
            processes.entry(*tgid).or_insert_with(|| self.process_name(*tgid, window.end_ns));
        }
        LocatedFileCalls {
            sums: calls.sums.iter().map(|(key, sum)| (*key, *sum)).collect(),
            peers: peers.into_iter().collect(),
            processes,
            tally: calls.tally.clone(),
            faults: calls.faults.clone(),
        }
    }
}
