//! From the maps of requests to devices to what a window had of them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use perf_ebpf::{
    block::{
        BlockKey, BlockStackKey, BlockSum, BlockTime, Dirtier, DirtyKey, FileKey, FileRequests, FileRequestsKey,
        OpenRequest, SlowRequest,
    },
    counters::{self, COUNTER_SLOTS},
    histogram::Lengths,
    sample::Key,
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, Tally, calls::add, found::stacks_of, kept::Kept, read_map};
use crate::{
    collect::{Did, EventKind, RawSample, session::Session},
    host::sys::Reading,
};

/// Slowest requests kept of a window.
const SLOWEST: usize = perf_ebpf::calls::SLOWEST;

/// Entries asked for in one system call.
const BATCH: usize = 256;

const SUMS: [&str; 2] = ["IO_0", "IO_1"];
const TIMES: [&str; 2] = ["IO_TIMES_0", "IO_TIMES_1"];
const FILES: [&str; 2] = ["IO_FILES_0", "IO_FILES_1"];
const OPEN: &str = "OPEN_IO";
const DIRTY: &str = "DIRTIERS";

/// Requests that were completed in a window.
#[derive(Debug, Default)]
pub struct RawBlock {
    /// By process, disk and operation.
    pub sums: BTreeMap<(u32, u32, u32), BlockSum>,
    /// By the same and file.
    pub files: BTreeMap<((u32, u32, u32), FileKey), FileRequests>,
    /// Those that took longest, the longest first.
    pub slowest: Vec<SlowRequest>,
    /// Those that were not complete, the oldest first; only where the recording ends.
    pub open: Vec<OpenRequest>,
    /// Processes that have changed pages which may be written later, or have requests under way.
    pub dirtiers: HashSet<u32>,
    /// What became of all of them.
    pub tally: Tally,
}

/// Requests, their time and their bytes by stack, and the files of those that are under way.
pub(super) type ReadBlock = (RawBlock, [RawKind; 2], HashSet<FileKey>);

impl RawBlock {
    /// Those that are counted in `sums`.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.sums.values().map(|sum| sum.whole.count).sum()
    }
}

/// What is known of requests from the windows before.
#[derive(Debug, Default)]
pub(super) struct Requests {
    stacks: Kept<u64, Arc<[u64]>>,
}

impl Requests {
    /// Reads the requests of a window, which ended at `last_ns` if it is the last one. Adds to `stacks`, the window's, those that are older.
    pub(super) fn read(
        &mut self,
        session: &mut Session,
        generation: u32,
        counted: &[u64; COUNTER_SLOTS],
        last_ns: Option<u64>,
        stacks: &mut HashMap<u64, Arc<[u64]>>,
    ) -> Result<ReadBlock, DrainError> {
        let slot = generation as usize;
        let mut block = RawBlock { tally: Tally::of(counters::IO, counted), ..RawBlock::default() };
        block.tally.lose(&counters::IO_LOST, counted);
        let mut undecodable = 0;
        let bytes = (size_of::<BlockKey>(), size_of::<BlockSum>());
        read_map(session, SUMS[slot], Reading::Drain, bytes, BATCH, |key, value| {
            match (BlockKey::read_from_bytes(key), BlockSum::read_from_bytes(value)) {
                (Ok(key), Ok(sum)) => {
                    let sums = block.sums.entry((key.tgid, key.device, key.operation)).or_insert(BlockSum::NONE);
                    (sums.bytes, sums.failed) = (sums.bytes + sum.bytes, sums.failed + sum.failed);
                    sums.requeues += sum.requeues;
                    let pairs: [(&mut Lengths, &Lengths); 3] =
                        [(&mut sums.whole, &sum.whole), (&mut sums.queue, &sum.queue), (&mut sums.device, &sum.device)];
                    pairs.into_iter().for_each(|(sum, more)| add(sum, more));
                }
                _ => undecodable += 1,
            }
        })?;
        let [mut time, mut size] = [EventKind::Io, EventKind::IoBytes].map(RawKind::new);
        time.tally = Tally::of(counters::IO_TIME, counted);
        size.tally = Tally::of(counters::IO_BYTES, counted);
        let bytes = (size_of::<BlockStackKey>(), size_of::<BlockTime>());
        let mut needed = Vec::new();
        // Over the CPUs that completed them.
        let mut sums: HashMap<(Key, u32), BlockTime> = HashMap::new();
        read_map(session, TIMES[slot], Reading::Drain, bytes, BATCH, |key, value| {
            match (BlockStackKey::read_from_bytes(key), BlockTime::read_from_bytes(value)) {
                (Ok(BlockStackKey { key, device, .. }), Ok(more)) => {
                    let none = BlockTime { first_ns: more.first_ns, ..BlockTime::default() };
                    let sum = sums.entry((key, device)).or_insert(none);
                    (sum.ns, sum.bytes) = (sum.ns + more.ns, sum.bytes + more.bytes);
                    sum.first_ns = sum.first_ns.min(more.first_ns);
                }
                _ => undecodable += 1,
            }
        })?;
        time.undecodable = undecodable;
        for ((key, device), BlockTime { ns, bytes, first_ns }) in sums {
            let did = Some(Did::Asked(key.why, device));
            needed.extend(stacks_of(&key));
            time.samples.push(RawSample::of(&key, did, ns, first_ns));
            if bytes > 0 {
                size.samples.push(RawSample::of(&key, did, bytes, first_ns));
            }
        }
        self.read_files(session, slot, &mut block)?;
        block.slowest = session.take_slow_requests(generation)?;
        block.slowest.sort_by_key(|slow| (std::cmp::Reverse(slow.queue_ns + slow.device_ns), slow.start_ns, slow.tid));
        block.slowest.truncate(SLOWEST);
        let mut open = Vec::new();
        read_map(session, OPEN, Reading::Look, (size_of::<u64>(), size_of::<OpenRequest>()), BATCH, |_, value| {
            open.extend(OpenRequest::read_from_bytes(value));
        })?;
        let mut later: HashSet<u64> = open.iter().flat_map(|open| stacks_of(&open.key)).collect();
        read_map(session, DIRTY, Reading::Look, (size_of::<DirtyKey>(), size_of::<Dirtier>()), BATCH, |_, value| {
            if let Ok(Dirtier { key, .. }) = Dirtier::read_from_bytes(value) {
                later.extend(stacks_of(&key));
                block.dirtiers.insert(key.tgid);
            }
        })?;
        // What is under way is of who may have ended, too.
        block.dirtiers.extend(open.iter().map(|open| open.key.tgid));
        self.stacks.turn(stacks, needed, later);
        let open_files = open.iter().map(|open| open.file).collect();
        if let Some(last_ns) = last_ns {
            open.retain(|open| open.start_ns < last_ns);
            open.sort_by_key(|open| (open.start_ns, open.key.tid));
            block.open = open;
        }
        Ok((block, [time, size], open_files))
    }

    fn read_files(&self, session: &Session, slot: usize, block: &mut RawBlock) -> Result<(), DrainError> {
        let bytes = (size_of::<FileRequestsKey>(), size_of::<FileRequests>());
        read_map(session, FILES[slot], Reading::Drain, bytes, BATCH, |key, value| {
            if let (Ok(key), Ok(more)) = (FileRequestsKey::read_from_bytes(key), FileRequests::read_from_bytes(value)) {
                let BlockKey { tgid, device, operation, .. } = key.of;
                let sum = block.files.entry(((tgid, device, operation), key.file)).or_default();
                (sum.count, sum.bytes, sum.ns) = (sum.count + more.count, sum.bytes + more.bytes, sum.ns + more.ns);
                sum.max_ns = sum.max_ns.max(more.max_ns);
            }
        })
    }
}
