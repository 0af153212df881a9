//! The kernel's own history of tasks: fork, exec, exit, rename and executable mappings, from one perf event ring a CPU.
//!
//! These records come from `include/uapi/linux/perf_event.h`; every one ends in its `CLOCK_MONOTONIC` time.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use super::sys::{
    self, PERF_FORMAT_ENABLED, PERF_FORMAT_LOST, PerfEventAttr, PerfEventState, PerfMapping, perf_event_open,
};

/// Something that happened to a task. `tgid` names the process, `tid` the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named in the kernel's terms")]
pub enum TaskEvent {
    /// A thread was renamed; by an exec if `exec`, which also emptied the process's address space.
    Comm { tgid: u32, tid: u32, comm: String, exec: bool },
    /// A thread (`tid != tgid`) or process was created.
    Fork { tgid: u32, parent_tgid: u32, tid: u32 },
    /// A thread ended.
    Exit { tgid: u32, tid: u32 },
    /// An executable mapping was made.
    Map { tgid: u32, mapping: MapEvent },
    /// The ring was full: so many events are missing; 0 when some may be, and how many is not told yet.
    Lost { count: u64 },
}

/// A mapping as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEvent {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Offset in the file.
    pub offset: u64,
    /// The file system's device number, major in the upper half.
    pub device: u64,
    /// The file's inode; 0 for none.
    pub inode: u64,
    /// The path as the target sees it; `//anon`, `[vdso]` and the like for what is no file.
    pub path: String,
}

/// A ring of one CPU.
#[derive(Debug)]
pub struct TaskRing {
    mapping: PerfMapping,
    event: OwnedFd,
    /// Whether the event itself counts what was lost.
    counts_lost: bool,
    /// What the event said when it was last checked.
    state: PerfEventState,
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_DUMMY: u64 = 9;
const PERF_SAMPLE_TIME: u64 = 1 << 2;
/// `mmap`, `comm`, `task`, `watermark`, `sample_id_all`, `mmap2`, `comm_exec`, `use_clockid`.
const FLAGS: u64 = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 23 | 1 << 24 | 1 << 25;

/// No record is larger: a mapping with a path of `PATH_MAX` bytes, and the fields before and behind it.
const LARGEST_RECORD: usize = 4096 + 256;

const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
const MISC_COMM_EXEC: u16 = 1 << 13;

impl TaskRing {
    /// Starts listening on `cpu`, with a ring of `data_bytes` (a power of two); `wakes` makes every event wake who polls
    /// [`Self::event`], else only a full ring does.
    ///
    /// # Errors
    /// What the kernel says: `EACCES` without `CAP_PERFMON`.
    pub fn open(cpu: u32, data_bytes: usize, wakes: bool) -> io::Result<Self> {
        let attr = PerfEventAttr {
            kind: PERF_TYPE_SOFTWARE,
            config: PERF_COUNT_SW_DUMMY,
            sample_type: PERF_SAMPLE_TIME,
            flags: FLAGS,
            // Bytes.
            wakeup: if wakes { 1 } else { u32::MAX },
            clock: libc::CLOCK_MONOTONIC,
            read_format: PERF_FORMAT_ENABLED | PERF_FORMAT_LOST,
            ..PerfEventAttr::default()
        };
        let (event, counts_lost) = match perf_event_open(attr, cpu) {
            // Before Linux 6.0.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                (perf_event_open(PerfEventAttr { read_format: PERF_FORMAT_ENABLED, ..attr }, cpu)?, false)
            }
            event => (event?, true),
        };
        let mapping = PerfMapping::new(event.as_fd(), data_bytes)?;
        Ok(Self { mapping, event, counts_lost, state: PerfEventState::default() })
    }

    /// The event, to be polled.
    #[must_use]
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Takes all events out of the ring, each with its time; `scratch` is working space.
    ///
    /// The kernel tells what it had no room for in front of the next event, which may never come: a ring that is found full
    /// counts as one that lost something.
    pub fn read(&mut self, scratch: &mut Vec<u8>, events: &mut Vec<(u64, TaskEvent)>) {
        scratch.clear();
        let (left, before) = (self.mapping.read_all(scratch), events.len());
        parse_records(scratch, events);
        for (_, event) in &mut events[before..] {
            if let TaskEvent::Lost { count } = event
                && self.counts_lost
            {
                *count = 0;
            }
        }
        if left < LARGEST_RECORD {
            events.push((sys::monotonic_ns(), TaskEvent::Lost { count: 0 }));
        }
    }

    /// Whether the ring was listening since this was last asked: it is not any more once its CPU has been offline. Also
    /// tells how many events were lost since then, where the kernel counts them (Linux 6.0).
    pub fn check(&mut self, events: &mut Vec<(u64, TaskEvent)>) -> bool {
        let Ok(state) = sys::read_perf_event(self.event.as_fd()) else { return false };
        let before = std::mem::replace(&mut self.state, state);
        if state.lost > before.lost {
            events.push((sys::monotonic_ns(), TaskEvent::Lost { count: state.lost - before.lost }));
        }
        state.enabled_ns > before.enabled_ns
    }
}

/// Parses records as they lie in a ring, up to the first that is cut short; kinds that tell nothing here are left out.
pub fn parse_records(mut rest: &[u8], events: &mut Vec<(u64, TaskEvent)>) {
    while let Some(size) = u16_at(rest, 6).map(usize::from).filter(|size| *size >= 8 && *size <= rest.len()) {
        let (record, after) = rest.split_at(size);
        events.extend(parse(record));
        rest = after;
    }
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(data.get(at..at + 8)?.try_into().ok()?))
}

/// The text up to the first zero byte.
fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

fn parse(record: &[u8]) -> Option<(u64, TaskEvent)> {
    let time = u64_at(record, record.len().checked_sub(8)?)?;
    let body = record.get(8..record.len() - 8)?;
    let event = match u32_at(record, 0)? {
        RECORD_COMM => TaskEvent::Comm {
            tgid: u32_at(body, 0)?,
            tid: u32_at(body, 4)?,
            comm: text(body.get(8..)?),
            exec: u16_at(record, 4)? & MISC_COMM_EXEC != 0,
        },
        RECORD_FORK => TaskEvent::Fork { tgid: u32_at(body, 0)?, parent_tgid: u32_at(body, 4)?, tid: u32_at(body, 8)? },
        RECORD_EXIT => TaskEvent::Exit { tgid: u32_at(body, 0)?, tid: u32_at(body, 8)? },
        RECORD_MMAP2 => TaskEvent::Map {
            tgid: u32_at(body, 0)?,
            mapping: MapEvent {
                start: u64_at(body, 8)?,
                bytes: u64_at(body, 16)?,
                offset: u64_at(body, 24)?,
                device: u64::from(u32_at(body, 32)?) << 32 | u64::from(u32_at(body, 36)?),
                inode: u64_at(body, 40)?,
                path: text(body.get(64..)?),
            },
        },
        RECORD_LOST => TaskEvent::Lost { count: u64_at(body, 8)? },
        _ => return None,
    };
    Some((time, event))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn parses_an_exec_and_refuses_short_records() {
        let mut record = Vec::new();
        record.extend(RECORD_COMM.to_ne_bytes());
        record.extend(MISC_COMM_EXEC.to_ne_bytes());
        record.extend(40_u16.to_ne_bytes());
        record.extend(7_u32.to_ne_bytes());
        record.extend(9_u32.to_ne_bytes());
        record.extend(b"worker\0\0\0\0\0\0\0\0\0\0");
        record.extend(123_u64.to_ne_bytes());
        let event = TaskEvent::Comm { tgid: 7, tid: 9, comm: "worker".into(), exec: true };
        assert_eq!(parse(&record), Some((123, event)));
        for len in 0..24 {
            assert_eq!(parse(&record[..len]), None);
        }
    }
}
