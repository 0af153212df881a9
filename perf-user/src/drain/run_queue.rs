//! How long threads waited for a CPU in a window, and who ran meanwhile.

use perf_ebpf::{
    histogram::Lengths,
    run_queue::{QueueKey, TakerKey},
};
use zerocopy::FromBytes as _;

use super::{DrainError, read_map};
use crate::{collect::session::Session, host::sys::Reading};

const QUEUES: [&str; 2] = ["QUEUES_0", "QUEUES_1"];
const TAKERS: [&str; 2] = ["TAKERS_0", "TAKERS_1"];

/// Entries asked for in one system call.
const BATCH: usize = 256;

/// All that was counted of waiting for a CPU.
#[derive(Debug, Default)]
pub struct RawQueues {
    /// Threads, on each CPU.
    pub queues: Vec<(QueueKey, Lengths)>,
    /// Who ran while others waited, and for how long, in nanoseconds.
    pub takers: Vec<(TakerKey, u64)>,
}

/// Takes what a generation of maps holds.
pub(super) fn read(session: &Session, generation: u32) -> Result<RawQueues, DrainError> {
    let (mut found, slot) = (RawQueues::default(), generation as usize);
    let bytes = (size_of::<QueueKey>(), size_of::<Lengths>());
    read_map(session, QUEUES[slot], Reading::Drain, bytes, BATCH, |key, value| {
        if let (Ok(key), Ok(times)) = (QueueKey::read_from_bytes(key), Lengths::read_from_bytes(value)) {
            found.queues.push((key, times));
        }
    })?;
    let bytes = (size_of::<TakerKey>(), size_of::<u64>());
    read_map(session, TAKERS[slot], Reading::Drain, bytes, BATCH, |key, value| {
        if let (Ok(key), Ok(ns)) = (TakerKey::read_from_bytes(key), u64::read_from_bytes(value)) {
            found.takers.push((key, ns));
        }
    })?;
    Ok(found)
}
