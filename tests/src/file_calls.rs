//! System calls on files and sockets in the JSON report.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Accounting, Lengths};

/// System calls on files and sockets.
#[derive(Debug, Deserialize)]
pub struct FileCalls {
    /// What became of all of them.
    pub accounting: Accounting,
    /// Facts that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
    /// By process, file and call.
    pub calls: Vec<FileCall>,
    /// How many more rows there are.
    #[serde(default)]
    pub calls_omitted: u64,
    /// By process and peer.
    pub peers: Vec<Peer>,
}

/// Page faults.
#[derive(Debug, Deserialize)]
pub struct PageFaults {
    /// What became of all of them.
    pub accounting: Accounting,
    /// By process, kind and what is mapped.
    pub faults: Vec<FileCall>,
}

impl PageFaults {
    /// How many faults of this kind on this there were, and how long they took.
    ///
    /// # Panics
    /// If several processes had some.
    #[must_use]
    pub fn of(&self, kind: &str, what: &str) -> [u64; 2] {
        let mut rows = self.faults.iter().filter(|row| row.call == kind && row.file == what);
        let told = rows.next().map_or([0; 2], |row| [row.count, row.lengths.total_ns]);
        assert!(rows.next().is_none(), "several rows of {kind} {what} in {:#?}", self.faults);
        told
    }
}

/// The calls of one name that a process made on one file or socket.
#[derive(Clone, Debug, Deserialize)]
pub struct FileCall {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// `file`, `socket`, `pipe`, `memory` or `other`.
    pub kind: String,
    /// The file's path, or the peer.
    pub file: String,
    /// The call.
    pub call: String,
    /// How many.
    pub count: u64,
    /// How many failed.
    pub errors: u64,
    /// How much they moved.
    pub bytes: u64,
    /// In how many the thread asked a disk for something.
    pub from_disk: u64,
    /// How long they took.
    #[serde(flatten)]
    pub lengths: Lengths,
}

/// What a process had to do with another at the other end of its connections.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The peer, as [`FileCall::file`] has it.
    pub peer: String,
    /// How long it took to answer.
    pub responses: Answers,
    /// How long it took to be connected.
    pub connects: Connects,
    /// What was sent again.
    pub retransmits: u64,
    /// Connections that this side reset.
    pub resets_sent: u64,
    /// Connections that the other side reset.
    pub resets_received: u64,
}

/// How long a peer's answers took.
#[derive(Clone, Debug, Deserialize)]
pub struct Answers {
    /// How many.
    pub count: u64,
    /// What 90 of 100 did not exceed.
    pub p90_ns: u64,
    /// How long they took.
    #[serde(flatten)]
    pub lengths: Lengths,
}

/// How long it took to be connected to a peer.
#[derive(Clone, Debug, Deserialize)]
pub struct Connects {
    /// How many connections.
    pub count: u64,
    /// In all.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl FileCall {
    /// Asserts that this many calls, of which some failed, are counted with their bytes, and took no longer than by the clock of
    /// who made them; but for those of which the kernel did not tell that they returned.
    ///
    /// # Panics
    /// If they are not.
    pub fn assert_counted(&self, [count, bytes, waited_ns]: [u64; 3], errors: u64, untold: u64) {
        assert!((count.saturating_sub(untold)..=count).contains(&self.count), "{count} calls: {self:?}");
        assert!((errors.saturating_sub(untold)..=errors).contains(&self.errors), "{errors} errors: {self:?}");
        assert!(self.bytes == bytes || self.count < count, "{bytes} bytes: {self:?}");
        assert!(self.lengths.total_ns <= waited_ns, "{waited_ns} ns by the clock: {self:?}");
    }
}

impl FileCalls {
    /// Asserts that nothing was lost, and that what is reported is told; but for calls of which the kernel did not tell that they
    /// returned, as newer ones do where another thread's return has interrupted a program on its CPU: how many these are.
    ///
    /// # Panics
    /// If something was lost, or is not told.
    #[must_use]
    pub fn assert_whole(&self) -> u64 {
        let Self { accounting, calls, .. } = self;
        let untold = ["cpu_busy", "return_missed", "entry_missed"]
            .iter()
            .filter_map(|cause| accounting.lost.get(*cause))
            .sum::<u64>();
        assert_eq!(accounting.lost_total(), untold, "maps have room: {accounting:?}");
        assert_eq!(accounting.taken, accounting.reported + untold, "taken = reported + lost: {accounting:?}");
        assert!(untold * 100 <= accounting.taken, "{accounting:?}");
        assert_eq!(self.calls_omitted, 0, "all rows are there");
        assert_eq!(calls.iter().map(|row| row.count).sum::<u64>(), accounting.reported, "what is reported is told");
        for row in calls {
            assert!(row.errors <= row.count && row.from_disk <= row.count && !row.process.is_empty(), "{row:?}");
            assert!(["file", "socket", "pipe", "other"].contains(&row.kind.as_str()), "{row:?}");
            let of = &row.lengths;
            assert!(of.p50_ns <= of.p99_ns && of.p99_ns <= of.max_ns && of.max_ns <= of.total_ns, "{row:?}");
        }
        untold
    }

    /// The calls of this name on this file of the only process that made some.
    ///
    /// # Panics
    /// If none did, or several.
    #[must_use]
    pub fn of(&self, call: &str, file: &str) -> &FileCall {
        self.only(call, file, |_| true)
    }

    /// The calls of this name on this file that the process made.
    ///
    /// # Panics
    /// If it made none.
    #[must_use]
    pub fn of_process(&self, tgid: u32, call: &str, file: &str) -> &FileCall {
        self.only(call, file, |row| row.tgid == tgid)
    }

    /// How many calls of this name are counted under this file, whoever made them; 0 if there are none.
    #[must_use]
    pub fn count(&self, call: &str, file: &str) -> u64 {
        self.calls.iter().filter(|row| row.call == call && row.file == file).map(|row| row.count).sum()
    }

    /// What the process had to do with this peer, if anything.
    ///
    /// # Panics
    /// If it has several rows.
    #[must_use]
    pub fn peer(&self, tgid: u32, peer: &str) -> Option<&Peer> {
        let mut found = self.peers.iter().filter(|row| row.tgid == tgid && row.peer == peer);
        let row = found.next();
        assert!(found.next().is_none(), "several rows of {tgid} and {peer} in {:#?}", self.peers);
        row
    }

    fn only(&self, call: &str, file: &str, wanted: impl Fn(&FileCall) -> bool) -> &FileCall {
        let mut found = self.calls.iter().filter(|row| row.call == call && row.file == file && wanted(row));
        let row = found.next().unwrap_or_else(|| panic!("no {call} {file} in {:#?}", self.calls));
        assert!(found.next().is_none(), "several rows of {call} {file} in {:#?}", self.calls);
        row
    }
}
