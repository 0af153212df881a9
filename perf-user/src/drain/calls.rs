//! From the maps of system calls to what a window had of them.

use std::collections::{BTreeMap, HashSet};

use perf_ebpf::{
    calls::{CallKey, CallTime, OTHER_ABI, OpenCall, SlowCall},
    counters::{self, COUNTER_SLOTS, Counter},
    histogram::Lengths,
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, Tally, read_map, read_samples};
use crate::{
    collect::{Did, EventKind, RawSample, session::Session, target::Target},
    host::{
        found_call::{FoundCall, found_call},
        proc,
        sys::Reading,
    },
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
    /// Those that have not returned, by thread; only where the recording ends. Those that began before the recording, nobody knows
    /// when, have its start as theirs.
    pub open: Vec<(u32, OpenCall)>,
    /// What became of all of them.
    pub tally: Tally,
}

impl RawCalls {
    /// Those that are counted in `sums`.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.sums.values().map(|sum| sum.count).sum()
    }
}

/// The calls that threads were in before anybody listened to them. The kernel half hears of a call when it begins, and takes note of
/// every thread whose call returns; of one that does not return for as long as the recording lasts it hears nothing.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// When the recording began.
    pub(super) start_ns: u64,
    calls: Vec<(u32, u32, FoundCall)>,
}

impl Before {
    /// Looks at the threads of a target. To be asked for when programs listen: no call is missed then.
    pub(super) fn look(target: &Target) -> Self {
        let processes = match target {
            // It waits to be released, which is no call of the program's.
            Target::Command { .. } => Vec::new(),
            _ => target.processes(),
        };
        let threads = processes.into_iter().flat_map(|tgid| proc::tids(tgid).into_iter().map(move |tid| (tgid, tid)));
        let calls = threads.filter_map(|(tgid, tid)| Some((tgid, tid, found_call(tgid, tid)?)));
        Self { start_ns: 0, calls: calls.collect() }
    }

    /// Those that go on still, of threads that are not `heard` of, as if they had begun with the recording.
    fn still_open(&self, heard: &HashSet<u32>) -> impl Iterator<Item = (u32, OpenCall)> {
        let silent = self.calls.iter().filter(|(_, tid, _)| !heard.contains(tid));
        let same = silent.filter(|(tgid, tid, call)| found_call(*tgid, *tid) == Some(*call));
        let open = |tgid, call| OpenCall { start_ns: self.start_ns, call, tgid, ..OpenCall::default() };
        same.map(move |(tgid, tid, call)| (*tid, open(*tgid, call.call)))
    }
}

/// Reads the calls of a window, which ended at `last_ns` if it is the last one, and the time in them by stack.
pub(super) fn read(
    session: &mut Session,
    generation: u32,
    counted: &[u64; COUNTER_SLOTS],
    last_ns: Option<u64>,
    before: &mut Before,
) -> Result<(RawCalls, RawKind), DrainError> {
    let slot = generation as usize;
    let mut calls = RawCalls { tally: Tally::of(counters::CALLS, counted), ..RawCalls::default() };
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
    let tally = Tally::of(counters::CALL_TIME, counted);
    let mut kind = RawKind { undecodable, tally, ..RawKind::new(EventKind::Syscalls) };
    read_samples(session, TIMES[slot], &mut kind, |key, time: CallTime| {
        RawSample::of(key, Some(Did::Called(key.why)), time.ns, time.first_ns)
    })?;
    calls.slowest = session.take_slow_calls(generation)?;
    calls.slowest.sort_by_key(|call| (std::cmp::Reverse(call.length_ns), call.start_ns, call.tid));
    calls.slowest.truncate(SLOWEST);
    if counted[Counter::CallsLostThreads as usize] > 0 {
        // Of threads for which there was no room it is not known whether they returned.
        before.calls.clear();
    }
    if let Some(last_ns) = last_ns {
        let bytes = (size_of::<u32>(), size_of::<OpenCall>());
        let mut heard = HashSet::new();
        read_map(session, OPEN, Reading::Look, bytes, BATCH, |tid, open| {
            let (Ok(tid), Ok(open)) = (u32::read_from_bytes(tid), OpenCall::read_from_bytes(open)) else { return };
            heard.insert(tid);
            if open.start_ns != OTHER_ABI && (1..last_ns).contains(&open.start_ns) {
                calls.open.push((tid, open));
            }
        })?;
        calls.open.extend(before.still_open(&heard));
        calls.open.sort_by_key(|(tid, open)| (open.start_ns, *tid));
    }
    Ok((calls, kind))
}

/// Adds what another CPU counted.
pub fn add(sum: &mut Lengths, other: &Lengths) {
    sum.count += other.count;
    sum.total_ns += other.total_ns;
    sum.max_ns = sum.max_ns.max(other.max_ns);
    for (length, more) in sum.buckets.iter_mut().zip(&other.buckets) {
        *length = length.saturating_add(*more);
    }
}
