//! From the map of memory that was touched to samples of a window.

use perf_ebpf::{
    counters::{self, COUNTER_SLOTS},
    memory::Touched,
};

use super::{DrainError, RawKind, Tally, read_samples};
use crate::collect::{Did, EventKind, RawSample, session::Session};

const TOUCHED: [&str; 2] = ["TOUCHED_0", "TOUCHED_1"];

/// Reads what was touched in a window.
pub(super) fn read(session: &Session, generation: u32, counted: &[u64; COUNTER_SLOTS]) -> Result<RawKind, DrainError> {
    let tally = Tally::of(counters::MEMORY, counted);
    let mut kind = RawKind { tally, ..RawKind::new(EventKind::Memory) };
    read_samples(session, TOUCHED[generation as usize], &mut kind, |key, sum: Touched| {
        RawSample::of(key, Some(Did::Touched(key.why)), sum.bytes, sum.first_ns)
    })?;
    Ok(kind)
}
