//! How long things took, over time.

use std::collections::{BTreeMap, HashMap};

use super::Lengths;

/// How long things took in each part of the time covered, by event and by what it was.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// The parts, in order: from when to when they are, in nanoseconds after the recording's start.
    pub parts: Vec<(u64, u64)>,
    /// Whether a thread was asked for, of which they are not known.
    pub of_thread: bool,
    /// By event and what it was: `io`, `read nvme0n1`.
    pub maps: BTreeMap<(&'static str, String), Latency>,
}

/// How long things of one kind took.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// All of them.
    pub all: Lengths,
    /// How often, by the part's place in [`Latencies::parts`] and by bucket ([`perf_ebpf::histogram::bucket`]).
    pub cells: HashMap<(u32, u8), u64>,
}
