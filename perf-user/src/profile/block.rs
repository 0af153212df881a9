//! Requests to devices as a recording has them: sums of all, and the slowest one by one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Accounting, Lengths};

/// Requests to block devices, over the windows of the profile.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// What became of all requests that were completed, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
    /// By process, disk and operation; empty if the profile is of one thread.
    pub sums: BTreeMap<(u32, String, String), BlockKind>,
    /// By the same and the path of the file, which is empty where no file is known; empty if the profile is of one thread.
    pub files: BTreeMap<(u32, String, String, String), FileIo>,
    /// The last names of processes.
    pub processes: BTreeMap<u32, String>,
    /// The slowest of each window, and those that were not complete, in the order of the recording.
    pub slowest: Vec<SingleRequest>,
}

/// What a process asked a disk for, of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockKind {
    /// How much.
    pub bytes: u64,
    /// How many failed.
    pub failed: u64,
    /// How often the device sent one back.
    pub requeues: u64,
    /// How many, and how long from when they were asked for until they were complete.
    pub whole: Lengths,
    /// How long until they were given to the device.
    pub queue: Lengths,
    /// How long from then on.
    pub device: Lengths,
}

/// What a process asked a disk for, for one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileIo {
    /// How many requests.
    pub count: u64,
    /// How much.
    pub bytes: u64,
    /// For how long, from when they were asked for until they were complete.
    pub ns: u64,
    /// The longest of these times.
    pub max_ns: u64,
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SingleRequest {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// The disk.
    pub disk: String,
    /// What it was asked for.
    pub operation: String,
    /// The path of the file that it was for; empty if that is not known.
    pub file: String,
    /// When, in nanoseconds after the recording's start; negative for before.
    pub start_ns: i64,
    /// How long it waited to be given to the device.
    pub queue_ns: u64,
    /// How long that took, or has taken.
    pub device_ns: u64,
    /// The first of its sectors, of 512 bytes each, counted from the beginning of the disk.
    pub sector: u64,
    /// How much.
    pub bytes: u64,
    /// How often the device sent it back.
    pub requeues: u32,
    /// Whether it, or part of it, failed.
    pub failed: bool,
    /// Whether it was complete when the recording ended.
    #[serde(skip)]
    pub complete: bool,
}
