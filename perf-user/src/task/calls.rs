//! System calls of a window with what only its moment knows: the names of processes, and which files descriptors meant.

use std::collections::HashMap;

use perf_ebpf::{
    calls::{OpenCall, SlowCall, TEXT_BYTES, Text},
    comm::COMM_BYTES,
    histogram::Lengths,
};

use super::{Tasks, files};
use crate::{
    collect::{calls::text_of, target::comm_text},
    drain::{RawCalls, RawWindow, Tally},
    host::{found_call::found_call, memory::Memory, proc},
};

/// Calls that have not returned that are told one by one: those that have lasted longest.
const OPEN: usize = 64;

/// System calls on their way to be named and stored.
#[derive(Debug, Default)]
pub struct LocatedCalls {
    /// By process and number.
    pub sums: Vec<((u32, u32), Lengths)>,
    /// How many had which error, by process, number and error.
    pub errors: Vec<((u32, u32, u32), u64)>,
    /// Those that took longest, the longest first.
    pub slowest: Vec<LocatedCall>,
    /// Those that had not returned when the recording ended, by thread.
    pub open: Vec<LocatedOpen>,
    /// The names of the processes in all these.
    pub processes: HashMap<u32, String>,
    /// What became of all of them.
    pub tally: Tally,
}

/// One call that took long.
#[derive(Debug)]
pub struct LocatedCall {
    /// The call.
    pub call: SlowCall,
    /// The thread's name.
    pub comm: String,
    /// What the descriptor in its arguments meant, if it has one and that could be told.
    pub file: Option<File>,
}

/// What a descriptor means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// A path, or what is no file: `socket:[12345]`.
    pub name: String,
    /// Whether it may have meant something else when the call was made.
    pub may_have_changed: bool,
}

/// A call that has not returned.
#[derive(Debug)]
pub struct LocatedOpen {
    /// The thread.
    pub tid: u32,
    /// The call.
    pub call: OpenCall,
    /// The thread's name.
    pub comm: String,
    /// With its arguments, if the thread was still in it when it was asked for them.
    pub told: Option<LocatedCall>,
}

impl LocatedCalls {
    /// Those that are counted in `sums`.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.sums.iter().map(|(_, sum)| sum.count).sum()
    }
}

impl Tasks {
    /// Finds out what is known of the calls of a window as long as it can be known.
    pub(super) fn locate_calls(&mut self, calls: &RawCalls, window: &RawWindow) -> LocatedCalls {
        self.files.take_note(calls, window.end_ns);
        let mut sockets = files::Sockets::default();
        let slowest = calls.slowest.iter().map(|call| LocatedCall {
            call: *call,
            comm: comm_text(&call.comm),
            file: self.files.find(call, &mut sockets),
        });
        let slowest: Vec<LocatedCall> = slowest.collect();
        let mut open: Vec<(u32, OpenCall)> = calls.open.clone();
        open.sort_by_key(|(tid, call)| (call.start_ns, *tid));
        open.truncate(OPEN);
        let open: Vec<LocatedOpen> =
            open.into_iter().map(|(tid, call)| self.locate_open(tid, call, &mut sockets)).collect();
        let tgids = calls.sums.keys().map(|(tgid, _)| *tgid);
        let tgids =
            tgids.chain(calls.slowest.iter().map(|call| call.tgid)).chain(open.iter().map(|open| open.call.tgid));
        let mut processes = HashMap::new();
        for tgid in tgids {
            processes.entry(tgid).or_insert_with(|| self.process_name(tgid, window.end_ns));
        }
        let mut tally = calls.tally.clone();
        tally.facts.push(("open_at_end", calls.open.len() as u64));
        LocatedCalls {
            sums: calls.sums.iter().map(|(key, sum)| (*key, *sum)).collect(),
            errors: calls.errors.iter().map(|(key, count)| (*key, *count)).collect(),
            slowest,
            open,
            processes,
            tally,
        }
    }

    fn locate_open(&self, tid: u32, call: OpenCall, sockets: &mut files::Sockets) -> LocatedOpen {
        let comm = proc::thread_comm(call.tgid, tid).unwrap_or_default();
        let found = found_call(call.tgid, tid).filter(|found| found.call == call.call);
        let told = found.map(|found| {
            let [a, b, c, d, e, f] = found.arguments;
            let arguments = [a, b, c, d, e, f, 0, 0];
            let mut told =
                SlowCall { start_ns: call.start_ns, tgid: call.tgid, tid, call: call.call, arguments, ..NO_CALL };
            read_text(&mut told);
            // It is what the call was told if the thread has been in it all the time.
            if found_call(call.tgid, tid) != Some(found) {
                told.text_bytes = 0;
            }
            LocatedCall { file: self.files.find(&told, sockets), call: told, comm: comm.clone() }
        });
        LocatedOpen { tid, call, comm, told }
    }
}

/// Reads what an argument of a call that has not returned leads to, as the kernel half does of those that have; nothing where the
/// process may not be read.
fn read_text(call: &mut SlowCall) {
    let Some(text) = text_of(call.call) else { return };
    let (argument, wanted) = match text {
        Text::Path { argument } => (argument, TEXT_BYTES),
        Text::Bytes { argument, length } => (argument, (call.arguments[length as usize] as usize).min(TEXT_BYTES)),
        Text::Time { argument } => (argument, 16),
    };
    let from = call.arguments[argument as usize];
    let read = Memory::of(call.tgid, call.tid).and_then(|memory| memory.at_most(from, wanted)).unwrap_or_default();
    let bytes = match text {
        Text::Path { .. } => read.iter().position(|byte| *byte == 0).map_or(read.len(), |end| end + 1),
        _ if read.len() == wanted => wanted,
        _ => 0,
    };
    call.text[..bytes].copy_from_slice(&read[..bytes]);
    call.text_bytes = bytes as u32;
}

const NO_CALL: SlowCall = SlowCall {
    start_ns: 0,
    length_ns: 0,
    result: 0,
    tgid: 0,
    tid: 0,
    comm: [0; COMM_BYTES],
    call: 0,
    text_bytes: 0,
    arguments: [0; 8],
    text: [0; TEXT_BYTES],
};
