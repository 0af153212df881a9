//! From the maps of system calls on files and sockets, and of page faults, to what a window had of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use perf_ebpf::{
    block::FileKey,
    calls::CallTime,
    counters::{self, COUNTER_SLOTS},
    file_calls::{Connections, FAULT_CALLS, FileCallKey, FileCalls, FileTimeKey, OpenFault, OpenOperation, PeerKey},
    histogram::Lengths,
    sample::Key,
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, Tally, calls::add, found::stacks_of, kept::Kept, read_map};
use crate::{
    collect::{Did, EventKind, RawSample, session::Session},
    host::sys::Reading,
};

/// Entries asked for in one system call.
const BATCH: usize = 256;

const CALLS: [&str; 2] = ["FILE_CALLS_0", "FILE_CALLS_1"];
const REST: [&str; 2] = ["FILE_REST_0", "FILE_REST_1"];
const TIMES: [&str; 2] = ["FILE_TIMES_0", "FILE_TIMES_1"];
const ANSWERS: [&str; 2] = ["ANSWERS_0", "ANSWERS_1"];
const OPEN: &str = "OPEN_URING";
const OPEN_FAULTS: &str = "OPEN_FAULTS";
const CONNECTIONS: [&str; 2] = ["CONNECTIONS_0", "CONNECTIONS_1"];

/// System calls on files and sockets, and page faults, that ended in a window.
#[derive(Debug, Default)]
pub struct RawFileCalls {
    /// By process, number and file.
    pub sums: BTreeMap<(u32, u32, FileKey), FileCalls>,
    /// How long it took until peers answered, by process and socket.
    pub answers: BTreeMap<(u32, FileKey), Lengths>,
    /// What became of connections, by process and socket.
    pub connections: BTreeMap<(u32, FileKey), Connections>,
    /// What became of all of them but faults.
    pub tally: Tally,
    /// What became of page faults.
    pub faults: Tally,
}

/// What is known of operations of io_uring from the windows before: what is complete in one may have been asked for in another.
#[derive(Debug, Default)]
pub(super) struct Operations {
    stacks: Kept<u64, Arc<[u64]>>,
}

impl Operations {
    /// Reads the calls and operations of a window, which ended at `last_ns` if it is the last one, and the time in them by stack. Adds
    /// to `stacks`, the window's, those that are older.
    pub(super) fn read(
        &mut self,
        session: &Session,
        generation: u32,
        counted: &[u64; COUNTER_SLOTS],
        last_ns: Option<u64>,
        stacks: &mut HashMap<u64, Arc<[u64]>>,
    ) -> Result<(RawFileCalls, Vec<RawKind>), DrainError> {
        let (mut calls, kinds) = read(session, generation, counted)?;
        let records = |kind| session.options().records(kind);
        let mut open = Vec::new();
        if records(EventKind::Files) {
            let bytes = (size_of::<u64>(), size_of::<OpenOperation>());
            read_map(session, OPEN, Reading::Look, bytes, BATCH, |_, value| {
                open.extend(OpenOperation::read_from_bytes(value));
            })?;
        }
        if let Some(last_ns) = last_ns {
            let count = open.iter().filter(|open| open.start_ns < last_ns).count();
            calls.tally.facts.push(("open_at_end", count as u64));
        }
        if records(EventKind::Faults) {
            let bytes = (size_of::<u32>(), size_of::<OpenFault>());
            read_map(session, OPEN_FAULTS, Reading::Look, bytes, BATCH, |_, value| {
                let fault = OpenFault::read_from_bytes(value).ok().map(|fault| fault.operation);
                open.extend(fault.filter(|fault| fault.start_ns != 0));
            })?;
        }
        let samples = kinds.iter().flat_map(|kind| &kind.samples);
        let needed = samples.flat_map(|sample| [sample.user_stack, sample.python_stack]);
        let needed: Vec<u64> = needed.filter(|id| *id != 0).collect();
        self.stacks.turn(stacks, needed, open.iter().flat_map(|open| stacks_of(&open.key)).collect());
        Ok((calls, kinds))
    }
}

/// Reads the calls of a window, and the time in them by stack.
fn read(
    session: &Session,
    generation: u32,
    counted: &[u64; COUNTER_SLOTS],
) -> Result<(RawFileCalls, Vec<RawKind>), DrainError> {
    let slot = generation as usize;
    let [tally, faults] = [counters::FILE_CALLS, counters::FAULTS].map(|balance| Tally::of(balance, counted));
    let mut calls = RawFileCalls { tally, faults, ..RawFileCalls::default() };
    let mut undecodable = 0;
    let bytes = (size_of::<FileCallKey>(), size_of::<FileCalls>());
    for map in [CALLS[slot], REST[slot]] {
        read_map(session, map, Reading::Drain, bytes, BATCH, |key, value| {
            match (FileCallKey::read_from_bytes(key), FileCalls::read_from_bytes(value)) {
                (Ok(key), Ok(more)) => {
                    let sum = calls.sums.entry((key.tgid, key.call, key.file)).or_insert(FileCalls::NONE);
                    (sum.bytes, sum.errors) = (sum.bytes + more.bytes, sum.errors + more.errors);
                    sum.from_disk += more.from_disk;
                    add(&mut sum.lengths, &more.lengths);
                }
                _ => undecodable += 1,
            }
        })?;
    }
    let bytes = (size_of::<PeerKey>(), size_of::<Lengths>());
    read_map(session, ANSWERS[slot], Reading::Drain, bytes, BATCH, |key, value| {
        if let (Ok(key), Ok(more)) = (PeerKey::read_from_bytes(key), Lengths::read_from_bytes(value)) {
            add(calls.answers.entry((key.tgid, key.socket)).or_insert(Lengths::NONE), &more);
        }
    })?;
    let bytes = (size_of::<PeerKey>(), size_of::<Connections>());
    read_map(session, CONNECTIONS[slot], Reading::Drain, bytes, BATCH, |key, value| {
        if let (Ok(key), Ok(more)) = (PeerKey::read_from_bytes(key), Connections::read_from_bytes(value)) {
            let sum = calls.connections.entry((key.tgid, key.socket)).or_default();
            sum.retransmits += more.retransmits;
            sum.resets_sent += more.resets_sent;
            sum.resets_received += more.resets_received;
            sum.connects += more.connects;
            sum.connect_ns += more.connect_ns;
            sum.connect_max_ns = sum.connect_max_ns.max(more.connect_max_ns);
            sum.connects_failed += more.connects_failed;
        }
    })?;
    let of = |kind, balance| RawKind { tally: Tally::of(balance, counted), ..RawKind::new(kind) };
    let mut files = RawKind { undecodable, ..of(EventKind::Files, counters::FILE_TIME) };
    let mut faults = of(EventKind::Faults, counters::FAULT_TIME);
    let bytes = (size_of::<FileTimeKey>(), size_of::<CallTime>());
    // Over the CPUs that they returned on.
    let mut sums: HashMap<(Key, FileKey), CallTime> = HashMap::new();
    read_map(session, TIMES[slot], Reading::Drain, bytes, BATCH, |key, value| {
        match (FileTimeKey::read_from_bytes(key), CallTime::read_from_bytes(value)) {
            (Ok(FileTimeKey { key, file, .. }), Ok(more)) => {
                let sum = sums.entry((key, file)).or_insert(CallTime { ns: 0, first_ns: more.first_ns });
                (sum.ns, sum.first_ns) = (sum.ns + more.ns, sum.first_ns.min(more.first_ns));
            }
            _ => files.undecodable += 1,
        }
    })?;
    for ((key, file), time) in sums {
        let sample = RawSample::of(&key, Some(Did::Called(key.why)), time.ns, time.first_ns);
        let kind = if key.why >= FAULT_CALLS { &mut faults } else { &mut files };
        kind.samples.push(RawSample { file: Some(file), ..sample });
    }
    let kinds = [files, faults].into_iter().filter(|kind| session.options().records(kind.kind)).collect();
    Ok((calls, kinds))
}
