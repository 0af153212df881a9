//! Requests to block devices: how many, how long they wait and take, and from where.

use aya::{Ebpf, EbpfLoader};

use super::{
    AttachError, EventKind,
    links::{Links, load_raw},
    maps::{size, tell},
    session::{SessionOptions, Unwind},
};
use crate::host::{
    Unsupported,
    block::{BlockOffsets, Offset, block_offsets},
};

/// Requests that can be under way at once: more than devices take.
const OPEN: u32 = 16_384;
/// Processes, disks and operations that are told apart in a window, on one CPU.
const SUMS: u32 = 512;
/// At most, on all CPUs.
const ALL_SUMS: u32 = 8_192;
/// Files that requests are for, in a window.
const FILES: u32 = 4_096;
/// Names of files, where those of calls are among them.
const NAMES: u32 = 8_192;
/// Pages that are changed and not written yet, [`perf_ebpf::block::DIRTY_PAGES`] each: of 4 GB.
const DIRTY: u32 = 16_384;
/// Requests by stack, in a window.
const TIMES: u32 = 8_192;

/// The programs and their tracepoints, of kernels that tell when requests are asked for. What comes last in a request's life
/// first: of no request is the beginning seen and not the end.
const EXACT: [(&str, &str); 5] = [
    ("io_done", "block_io_done"),
    ("io_error", "block_rq_error"),
    ("io_merge", "block_rq_merge"),
    ("io_requeue", "block_rq_requeue"),
    ("io_issue", "block_rq_issue"),
];
/// Of older ones.
const OLDER: [(&str, &str); 3] =
    [("io_complete", "block_rq_complete"), ("io_merge", "block_rq_merge"), ("io_requeue", "block_rq_requeue")];

/// What asks for requests, and what changes the pages that the kernel writes later; and the same with stacks walked by tables.
const STACKS: [&str; 2] = ["io_start", "page_changes"];
const WALKING: [&str; 2] = ["io_start_walk", "page_changes_walk"];

/// What programs are told of the running kernel.
#[derive(Debug, Default)]
pub(super) struct Globals {
    offsets: Vec<Offset>,
    tells_start: u32,
    request_argument: u32,
    files_told: u32,
}

impl Globals {
    /// Of the running kernel, if `options` have requests recorded.
    pub(super) fn of(options: &SessionOptions) -> Result<Self, Unsupported> {
        if !options.records(EventKind::Io) {
            return Ok(Self::default());
        }
        let BlockOffsets { requests, files, writeback, request_argument, tells_start, .. } = block_offsets()?;
        Ok(Self {
            offsets: requests.iter().chain(files).chain(writeback).copied().collect(),
            tells_start: u32::from(*tells_start),
            request_argument: *request_argument,
            files_told: u32::from(!files.is_empty()),
        })
    }
}

/// Requests to block devices.
#[derive(Debug)]
pub struct BlockCollector {
    start: &'static str,
    changes: Option<&'static str>,
    links: Links,
}

impl BlockCollector {
    /// Sets globals and map sizes, before the object is loaded.
    pub(super) fn configure<'globals>(
        loader: &mut EbpfLoader<'globals>,
        globals: &'globals Globals,
        cpus: usize,
        options: &SessionOptions,
    ) {
        let Globals { offsets, tells_start, request_argument, files_told } = globals;
        tell(loader, offsets);
        loader
            .override_global("TELLS_START", tells_start, true)
            .override_global("FILES_TOLD", files_told, true)
            .override_global("REQUEST_ARGUMENT", request_argument, true);
        if !options.records(EventKind::Io) {
            return;
        }
        let names = if options.tells_files() { NAMES } else { FILES };
        let sums = SUMS.saturating_mul(cpus as u32).min(ALL_SUMS);
        let maps = [
            ("OPEN_IO", OPEN),
            ("DIRTIERS", DIRTY),
            ("IO_0", sums),
            ("IO_1", sums),
            ("IO_TIMES_0", TIMES),
            ("IO_TIMES_1", TIMES),
            ("IO_FILES_0", FILES),
            ("IO_FILES_1", FILES),
            ("FILE_NAMES_0", names),
            ("FILE_NAMES_1", names),
        ];
        size(loader, maps);
    }

    /// Loads its programs; `python` says that they read Python frames too.
    pub(super) fn load(bpf: &mut Ebpf, unwind: Unwind, python: bool) -> Result<Self, AttachError> {
        let [start, changes] = if unwind.walks(python) { WALKING } else { STACKS };
        let others = programs()?.iter().map(|(program, _)| *program);
        let offsets = block_offsets()?;
        let issue = (!offsets.tells_start).then_some("io_issue");
        let changes = (!offsets.writeback.is_empty()).then_some(changes);
        others.chain(issue).chain([start]).chain(changes).try_for_each(|program| load_raw(bpf, program))?;
        Ok(Self { start, changes, links: Links::default() })
    }

    /// Attaches its programs.
    pub(super) fn attach(&mut self, bpf: &mut Ebpf) -> Result<(), AttachError> {
        self.links.attach(bpf, programs()?.iter().copied())?;
        let offsets = block_offsets()?;
        self.links.attach(bpf, self.changes.map(|program| (program, offsets.page_changes)))?;
        if offsets.tells_start {
            return self.links.attach(bpf, [(self.start, "block_io_start")]);
        }
        // One that was not put into a queue is first heard of when it is given to the device: in this order.
        let starts = [(self.start, "block_rq_issue"), ("io_issue", "block_rq_issue"), (self.start, "block_rq_insert")];
        self.links.attach(bpf, starts)
    }

    /// Detaches its programs, in the other order.
    pub(super) fn detach(&mut self) {
        self.links.detach();
    }
}

fn programs() -> Result<&'static [(&'static str, &'static str)], Unsupported> {
    Ok(if block_offsets()?.tells_start { &EXACT } else { &OLDER })
}
