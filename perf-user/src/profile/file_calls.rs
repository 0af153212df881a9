//! System calls on files and sockets as a recording has them.

use std::collections::BTreeMap;

use perf_ebpf::file_calls::Connections;

use super::{Accounting, Lengths};

/// System calls on files and sockets, over the windows of the profile.
#[derive(Clone, Debug, Default)]
pub struct FileCalls {
    /// What became of all calls that returned, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
    /// By process, kind of file, file and call; empty if the profile is of one thread.
    pub sums: BTreeMap<(u32, String, String, String), FileCall>,
    /// By process and peer; empty if the profile is of one thread.
    pub peers: BTreeMap<(u32, String), Peer>,
    /// The last names of processes.
    pub processes: BTreeMap<u32, String>,
}

/// The calls of one name that a process made on one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileCall {
    /// What they moved.
    pub bytes: u64,
    /// How many failed, other than for the moment.
    pub errors: u64,
    /// During how many the thread asked a disk for something.
    pub from_disk: u64,
    /// How many, and how long they took.
    pub lengths: Lengths,
}

/// What a process has to do with a peer that it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// How often it answered, and for how long: from when the first thing was sent until something was received.
    pub answers: Lengths,
    /// What became of connections.
    pub connections: Connections,
}
