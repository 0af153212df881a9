//! Memory in a report.

use serde::Deserialize;

use crate::Accounting;

/// Memory: processes, and who touched it first.
#[derive(Debug, Deserialize)]
pub struct Memory {
    /// `growth`.
    pub mode: String,
    /// Processes.
    pub processes: Vec<ProcessMemory>,
    /// What became of the bytes that were touched.
    pub accounting: Accounting,
    /// Page faults.
    pub faults: u64,
    /// Those that stand for all.
    pub faults_sampled: u64,
    /// Bytes by kind.
    pub kinds: Vec<MemoryKind>,
    /// Who touched it.
    pub places: Vec<MemoryPlace>,
    /// What limits it.
    pub limits: Vec<MemoryLimited>,
}

/// The memory of a process.
#[derive(Debug, Deserialize)]
pub struct ProcessMemory {
    /// The process.
    pub tgid: u32,
    /// What it has.
    pub resident_bytes: u64,
    /// What files do not have, more than at first.
    pub change_bytes: i64,
    /// `growing`, `start-up`, `steady`, `shrinking` or `too-short`.
    pub class: String,
    /// How fast.
    pub bytes_per_second: f64,
    /// Within which bounds.
    pub interval: [f64; 2],
}

/// A kind of memory.
#[derive(Debug, Deserialize)]
pub struct MemoryKind {
    /// Which.
    pub why: String,
    /// Bytes.
    pub value: u64,
}

/// A function that touched memory first.
#[derive(Debug, Deserialize)]
pub struct MemoryPlace {
    /// The program's.
    pub function: String,
    /// The kind of memory.
    pub why: String,
    /// Bytes.
    pub value: u64,
    /// Within which bounds, 95 %.
    pub interval: [u64; 2],
}

/// Something that limits memory.
#[derive(Debug, Deserialize)]
pub struct MemoryLimited {
    /// What.
    pub subject: String,
    /// How much there may be.
    pub limit_bytes: u64,
    /// How much is left.
    pub left_bytes: u64,
    /// When nothing is left: about, soonest, latest.
    pub full_in_ns: Option<[u64; 3]>,
}

impl Memory {
    /// The bytes that a function touched first, and half of the interval in which they are said to be.
    #[must_use]
    pub fn touched_by(&self, function: &str) -> (u64, u64) {
        let places: Vec<&MemoryPlace> = self.places.iter().filter(|place| place.function == function).collect();
        let half: u64 = places.iter().map(|place| (place.interval[1] - place.interval[0]) / 2).sum();
        (places.iter().map(|place| place.value).sum(), half)
    }

    /// What is said of a process.
    ///
    /// # Panics
    /// If nothing is.
    #[must_use]
    pub fn of(&self, tgid: u32) -> &ProcessMemory {
        self.processes.iter().find(|process| process.tgid == tgid).unwrap_or_else(|| panic!("no {tgid}: {self:#?}"))
    }
}
