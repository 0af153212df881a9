//! From the maps of system calls to what a window had of them.

use std::collections::BTreeMap;

use perf_ebpf::{
    calls::{CallKey, CallTime, OTHER_ABI, OpenCall, SlowCall},
    counters::{self, COUNTER_SLOTS},
    histogram::Lengths,
    sample::Key,
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, read_map};
use crate::{
    collect::{Did, EventKind, RawSample, session::Session},
    host::sys::Reading,
};

/// Slowest calls kept of a window.
const SLOWEST: usize = perf_ebpf::calls::SLOWEST;

/// Entries asked for in one system call.
const BATCH: usize = 512;

const CALLS: [&str; 2] = ["CALLS_0", "CALLS_1"];
const ERRORS: [&str; 2] = ["CALL_ERRORS_0", "CALL_ERRORS_1"];
const TIMES: [&str; 2] = ["CALL_TIMES_0", "CALL_TIMES_1"];
const OPEN: &str = "OPEN_CALLS";

/// System calls that returned in a window.
#[derive(Debug, Default)]
pub struct RawCalls {
    /// By process and number.
    pub sums: BTreeMap<(u32, u32), Lengths>,
    /// How many had which error, by process, number and error.
    pub errors: BTreeMap<(u32, u32, u32), u64>,
    /// Those that took longest, the longest first.
    pub slowest: Vec<SlowCall>,
    /// Those that have not returned, by thread; only where the recording ends.
    pub open: Vec<(u32, OpenCall)>,
    /// All that returned.
    pub taken: u64,
    /// Of those, what was lost, by cause.
    pub lost: Vec<(&'static str, u64)>,
    /// Facts about quality.
    pub facts: Vec<(&'static str, u64)>,
}

impl RawCalls {
    /// Those that are counted in `sums`.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.sums.values().map(|sum| sum.count).sum()
    }
}

/// Reads the calls of a window, which ended at `last_ns` if it is the last one, and the time in them by stack.
pub(super) fn read(
    session: &mut Session,
    generation: u32,
    counted: &[u64; COUNTER_SLOTS],
    last_ns: Option<u64>,
) -> Result<(RawCalls, RawKind), DrainError> {
    let slot = generation as usize;
    let of = |counter: &counters::Counter| (counter.name(), counted[*counter as usize]);
    let mut calls = RawCalls {
        taken: counted[counters::CALLS.taken as usize],
        lost: counters::CALLS.lost.iter().map(of).collect(),
        facts: counters::CALLS.facts.iter().map(of).collect(),
        ..RawCalls::default()
    };
    let mut undecodable = 0;
    let bytes = (size_of::<CallKey>(), size_of::<Lengths>());
    read_map(session, CALLS[slot], Reading::Drain, bytes, BATCH, |key, value| {
        match (CallKey::read_from_bytes(key), Lengths::read_from_bytes(value)) {
            (Ok(key), Ok(sum)) => add(calls.sums.entry((key.tgid, key.call)).or_insert(Lengths::NONE), &sum),
            _ => undecodable += 1,
        }
    })?;
    let bytes = (size_of::<CallKey>(), size_of::<u64>());
    read_map(session, ERRORS[slot], Reading::Drain, bytes, BATCH, |key, value| {
        if let (Ok(key), Ok(count)) = (CallKey::read_from_bytes(key), u64::read_from_bytes(value)) {
            *calls.errors.entry((key.tgid, key.call, key.error)).or_default() += count;
        }
    })?;
    let mut kind = RawKind { undecodable, ..RawKind::new(EventKind::Syscalls) };
    kind.count(counters::CALL_TIME, counted);
    let bytes = (size_of::<Key>(), size_of::<CallTime>());
    read_map(session, TIMES[slot], Reading::Drain, bytes, BATCH, |key, value| {
        match (Key::read_from_bytes(key), CallTime::read_from_bytes(value)) {
            (Ok(key), Ok(time)) => {
                kind.samples.push(RawSample::of(&key, Some(Did::Called(key.why)), time.ns, time.first_ns));
            }
            _ => kind.undecodable += 1,
        }
    })?;
    calls.slowest = session.take_slow_calls(generation)?;
    calls.slowest.sort_by_key(|call| (std::cmp::Reverse(call.length_ns), call.start_ns, call.tid));
    calls.slowest.truncate(SLOWEST);
    if let Some(last_ns) = last_ns {
        let bytes = (size_of::<u32>(), size_of::<OpenCall>());
        read_map(session, OPEN, Reading::Look, bytes, BATCH, |tid, open| {
            if let (Ok(tid), Ok(open)) = (u32::read_from_bytes(tid), OpenCall::read_from_bytes(open))
                && open.start_ns != OTHER_ABI
                && (1..last_ns).contains(&open.start_ns)
            {
                calls.open.push((tid, open));
            }
        })?;
        calls.open.sort_by_key(|(tid, open)| (open.start_ns, *tid));
    }
    Ok((calls, kind))
}

/// Adds what another CPU counted.
fn add(sum: &mut Lengths, other: &Lengths) {
    sum.count += other.count;
    sum.total_ns += other.total_ns;
    sum.max_ns = sum.max_ns.max(other.max_ns);
    for (length, more) in sum.buckets.iter_mut().zip(&other.buckets) {
        *length = length.saturating_add(*more);
    }
}
