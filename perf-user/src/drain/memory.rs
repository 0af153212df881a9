//! From the map of memory that was touched to samples of a window.

use perf_ebpf::{
    counters::{self, COUNTER_SLOTS},
    memory::Touched,
    sample::Key,
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, Tally, read_map};
use crate::{
    collect::{Did, EventKind, RawSample, session::Session},
    host::sys::Reading,
};

/// Entries asked for in one system call.
const BATCH: usize = 512;

const TOUCHED: [&str; 2] = ["TOUCHED_0", "TOUCHED_1"];

/// Reads what was touched in a window.
pub(super) fn read(session: &Session, generation: u32, counted: &[u64; COUNTER_SLOTS]) -> Result<RawKind, DrainError> {
    let tally = Tally::of(counters::MEMORY, counted);
    let mut kind = RawKind { tally, ..RawKind::new(EventKind::Memory) };
    let bytes = (size_of::<Key>(), size_of::<Touched>());
    read_map(session, TOUCHED[generation as usize], Reading::Drain, bytes, BATCH, |key, value| {
        match (Key::read_from_bytes(key), Touched::read_from_bytes(value)) {
            (Ok(key), Ok(sum)) => {
                kind.samples.push(RawSample::of(&key, Some(Did::Touched(key.why)), sum.bytes, sum.first_ns));
            }
            _ => kind.undecodable += 1,
        }
    })?;
    Ok(kind)
}
