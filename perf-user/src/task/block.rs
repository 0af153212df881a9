//! Requests to devices with what only their moment knows: the names of processes and of disks.

use std::collections::HashMap;

use perf_ebpf::block::{BlockSum, FileKey, FileRequests, OpenRequest, SlowRequest};

use super::Tasks;
use crate::{
    drain::{RawBlock, RawWindow, Tally},
    host::block::disk_name,
};

/// Requests that are not complete that are told one by one: the oldest.
const OPEN: usize = 64;

/// Requests to devices on their way to be stored.
#[derive(Debug, Default)]
pub struct LocatedBlock {
    /// By process, disk and operation.
    pub sums: Vec<((u32, u32, u32), BlockSum)>,
    /// By the same and file.
    pub files: Vec<((u32, u32, u32), FileKey, FileRequests)>,
    /// Those that took longest, the longest first.
    pub slowest: Vec<SlowRequest>,
    /// Those that were not complete when the recording ended, the oldest first.
    pub open: Vec<OpenRequest>,
    /// The names of the processes in all these.
    pub processes: HashMap<u32, String>,
    /// And of the disks.
    pub disks: HashMap<u32, String>,
    /// What became of all of them.
    pub tally: Tally,
}

impl LocatedBlock {
    /// Those that are counted in `sums`.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.sums.iter().map(|(_, sum)| sum.whole.count).sum()
    }
}

impl Tasks {
    /// Finds out what is known of the requests of a window as long as it can be known.
    pub(super) fn locate_block(&self, block: &RawBlock, window: &RawWindow) -> LocatedBlock {
        let mut open = block.open.clone();
        open.truncate(OPEN);
        let (mut processes, mut disks) = (HashMap::new(), HashMap::new());
        let named = block.sums.keys().map(|(tgid, disk, _)| (*tgid, *disk));
        let named = named.chain(block.slowest.iter().map(|slow| (slow.tgid, slow.device)));
        for (tgid, disk) in named.chain(open.iter().map(|open| (open.key.tgid, open.device))) {
            processes.entry(tgid).or_insert_with(|| self.process_name(tgid, window.end_ns));
            disks.entry(disk).or_insert_with(|| disk_name(disk));
        }
        let mut tally = block.tally.clone();
        tally.facts.push(("open_at_end", block.open.len() as u64));
        LocatedBlock {
            sums: block.sums.iter().map(|(key, sum)| (*key, *sum)).collect(),
            files: block.files.iter().map(|((of, file), sum)| (*of, *file, *sum)).collect(),
            slowest: block.slowest.clone(),
            open,
            processes,
            disks,
            tally,
        }
    }
}
