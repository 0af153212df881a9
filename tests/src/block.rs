//! Requests to block devices in the JSON report.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::Accounting;

/// Requests to block devices.
#[derive(Debug, Deserialize)]
pub struct Block {
    /// What became of all of them.
    pub accounting: Accounting,
    /// Facts that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
    /// By process, disk and operation.
    pub kinds: Vec<BlockKind>,
    /// By process, file, disk and operation.
    pub files: Vec<FileRequests>,
    /// Those that took longest.
    pub slowest: Vec<Request>,
    /// Those that were not complete.
    pub open: Vec<Request>,
}

/// What a process asked a disk for, of one kind.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BlockKind {
    /// The process.
    pub tgid: u32,
    /// The disk.
    pub disk: String,
    /// What it was asked for.
    pub operation: String,
    /// How many requests.
    pub count: u64,
    /// How much.
    pub bytes: u64,
    /// How many failed.
    pub failed: u64,
    /// How long from when they were asked for until they were complete.
    pub whole: Lengths,
    /// How long until they were given to the device.
    pub queue: Lengths,
    /// How long from then on.
    pub device: Lengths,
}

/// What a process asked a disk for, for one file.
#[derive(Debug, Deserialize)]
pub struct FileRequests {
    /// The process.
    pub tgid: u32,
    /// The file's path.
    pub file: String,
    /// What the disk was asked for.
    pub operation: String,
    /// How many requests.
    pub count: u64,
    /// How much.
    pub bytes: u64,
    /// For how long.
    pub total_ns: u64,
}

/// How long things took.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Lengths {
    /// In all.
    pub total_ns: u64,
    /// What half of them did not exceed.
    pub p50_ns: u64,
    /// What 99 of 100 did not exceed.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// One request.
#[derive(Debug, Deserialize)]
pub struct Request {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The disk.
    pub disk: String,
    /// What it was asked for.
    pub operation: String,
    /// When, in nanoseconds after the recording's start.
    pub start_ns: i64,
    /// How long it waited to be given to the device.
    pub queue_ns: u64,
    /// How long that took.
    pub device_ns: u64,
    /// The first of its sectors.
    pub sector: u64,
    /// How much.
    pub bytes: u64,
    /// Whether it failed.
    pub failed: bool,
}

impl Block {
    /// A figure of all requests of this operation for a file, whoever asked for them.
    #[must_use]
    pub fn sum_of(&self, operation: &str, file: &Path, figure: impl Fn(&FileRequests) -> u64) -> u64 {
        let of_file = |row: &&FileRequests| row.operation == operation && Path::new(&row.file) == file;
        self.files.iter().filter(of_file).map(figure).sum()
    }

    /// What the only process that did so asked this disk for.
    ///
    /// # Panics
    /// If none did, or several.
    #[must_use]
    pub fn of(&self, operation: &str, disk: &str) -> &BlockKind {
        let mut found = self.kinds.iter().filter(|kind| kind.operation == operation && kind.disk == disk);
        let kind = found.next().unwrap_or_else(|| panic!("no {operation} {disk} in {:#?}", self.kinds));
        assert!(found.next().is_none(), "several processes asked {disk} for {operation}");
        kind
    }
}
