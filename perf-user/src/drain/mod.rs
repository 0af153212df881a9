//! From kernel maps to raw samples: windows are rotated so that nothing is written to what is being read.

mod again;
mod block;
mod calls;
mod file_calls;
mod file_names;
mod found;
mod kept;
mod kernel_locks;
mod locks;
mod memory;
mod run_queue;
mod tally;
mod timeline;
mod waits;

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use perf_ebpf::{
    block::{FileKey, FileName},
    counters::{self, Counter},
    cpu::CpuValue,
    sample::Key,
    stack::{DeepFrames, FRAMES_BYTES, Frames, used},
};
use zerocopy::FromBytes;

use crate::{
    collect::{
        AttachError, Collector as _, EventKind, RawSample,
        session::{Session, Unwind},
        target::Target,
    },
    host::sys::{self, Reading},
};
pub use again::{WalkWaiting, Walked};
pub use block::RawBlock;
use block::Requests;
use calls::Before;
pub use calls::{RawCalls, add as add_lengths};
use file_calls::Operations;
pub use file_calls::RawFileCalls;
use file_names::FileNames;
pub use found::SHARED_NS;
pub use kernel_locks::RawKernelLocks;
use locks::Locks;

pub use locks::{HeldUp, LockPlace, OF_PROCESS, RawLocks};
pub use run_queue::RawQueues;
pub use tally::Tally;
use timeline::Timeline;
pub use timeline::{Moment, RawTimeline};
use waits::Threads;

/// All that the kernel half collected in one window.
#[derive(Debug, Default)]
pub struct RawWindow {
    /// `CLOCK_MONOTONIC` time at which programs began to write to it.
    pub start_ns: u64,
    /// And at which they stopped.
    pub end_ns: u64,
    /// What was recorded, by kind.
    pub kinds: Vec<RawKind>,
    /// The stacks that samples name, leaf first.
    pub stacks: HashMap<u64, Arc<[u64]>>,
    /// Who ended waits, as samples name them.
    pub wakers: Vec<Key>,
    /// The locks that samples name.
    pub lock_places: Vec<LockPlace>,
    /// What happened at locks, if that is recorded.
    pub locks: Option<RawLocks>,
    /// How long threads waited for a CPU.
    pub queues: RawQueues,
    /// System calls, if they are recorded.
    pub calls: Option<RawCalls>,
    /// Requests to devices, if they are recorded.
    pub block: Option<RawBlock>,
    /// System calls on files and sockets, if they are recorded.
    pub file_calls: Option<RawFileCalls>,
    /// Waits for locks of the kernel, if they are recorded.
    pub kernel_locks: Option<RawKernelLocks>,
    /// The names of the files in all these, as far as they are known.
    pub file_names: HashMap<FileKey, FileName>,
    /// Single events, if they are kept.
    pub timeline: Option<RawTimeline>,
}

/// All of one kind in one window.
#[derive(Debug)]
pub struct RawKind {
    /// Which.
    pub kind: EventKind,
    /// The samples.
    pub samples: Vec<RawSample>,
    /// Entries that could not be decoded: object and user half do not belong together.
    pub undecodable: u64,
    /// What became of all of them.
    pub tally: Tally,
}

impl RawKind {
    /// Nothing yet.
    #[must_use]
    pub fn new(kind: EventKind) -> Self {
        Self { kind, samples: Vec::new(), undecodable: 0, tally: Tally::default() }
    }
}

/// Why a window could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// A map is missing or refused.
    #[error(transparent)]
    Map(#[from] AttachError),
    /// The kernel would not hand over a map's entries.
    #[error("reading the BPF map {map} failed")]
    Read {
        /// Which.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Which generation of maps is being written to, since when.
#[derive(Debug)]
pub struct Drain {
    generation: u32,
    start_ns: u64,
    threads: Threads,
    locks: Locks,
    timeline: Option<Timeline>,
    calls_before: Before,
    requests: Requests,
    file_names: FileNames,
    operations: Operations,
}

const COUNTS: [&str; 2] = ["CPU_COUNTS_0", "CPU_COUNTS_1"];
const DEEP_STACKS: [&str; 2] = ["DEEP_STACKS_0", "DEEP_STACKS_1"];
const STACKS: [&str; 2] = ["STACKS_0", "STACKS_1"];

/// Entries asked for in one system call.
const COUNTS_BATCH: usize = 2048;
const SUMS_BATCH: usize = 512;
const STACKS_BATCH: usize = 256;
const DEEP_STACKS_BATCH: usize = 64;

/// How long no BPF program runs, for kernels where membarrier cannot wait for them: programs take microseconds.
const GRACE: Duration = Duration::from_millis(20);

/// Waits until no BPF program runs that runs now.
pub fn wait_for_running_programs() {
    if sys::wait_for_running_programs().is_err() {
        std::thread::sleep(GRACE);
    }
}

impl Drain {
    /// Begins with generation 0, which is what programs start with, and throws away what was counted in it: to attach takes a second
    /// with 20,000 threads, in which some kinds and threads are listened to, and others not. The recording begins with the window
    /// that is being filled then.
    ///
    /// # Errors
    /// When the object has no ring of events, and is to tell them; else as [`Self::rotate`].
    pub fn begin(session: &mut Session, walk: WalkWaiting<'_>) -> Result<Self, DrainError> {
        let ring = session.take_timeline_ring()?;
        let timeline = ring.zip(session.options().timeline_min_ns).map(|(ring, min_ns)| Timeline::new(ring, min_ns));
        let threads = Threads::new(session.take_stacks_before(), session.options().unwind != Unwind::FramePointers);
        let calls_before = match session.options().records(EventKind::Syscalls) {
            true => Before::look(&session.options().target),
            false => Before::default(),
        };
        let (requests, file_names) = (Requests::default(), FileNames::default());
        let operations = Operations::default();
        let mut drain = Self {
            generation: 0,
            start_ns: 0,
            threads,
            locks: Locks::default(),
            timeline,
            calls_before,
            requests,
            file_names,
            operations,
        };
        drain.rotate(session, None, walk)?;
        if let Target::Command { tgid, .. } = &session.options().target {
            let held_back = drain.threads.holds_back(*tgid);
            drain.timeline.iter_mut().for_each(|timeline| timeline.held_back = held_back);
        }
        // What was told until here is thrown away.
        drain.locks = Locks::default();
        drain.calls_before.start_ns = drain.start_ns;
        Ok(drain)
    }

    /// Takes what cannot wait for the end of the window.
    pub fn look(&mut self) {
        if let Some(timeline) = &mut self.timeline {
            timeline.look();
        }
    }

    /// When the window began that is being filled now.
    #[must_use]
    pub fn window_start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Turns programs to the other generation, and takes all that this one holds: the last window, which ended at
    /// `end_ns`, or one that ends now.
    ///
    /// # Errors
    /// When the kernel refuses; the recording cannot go on then.
    pub fn rotate(
        &mut self,
        session: &mut Session,
        end_ns: Option<u64>,
        walk: WalkWaiting<'_>,
    ) -> Result<RawWindow, DrainError> {
        let (full, next) = (self.generation, 1 - self.generation);
        let last_ns = end_ns;
        let end_ns = end_ns.unwrap_or_else(sys::monotonic_ns);
        session.set_generation(next, end_ns)?;
        wait_for_running_programs();
        let mut window = RawWindow { start_ns: self.start_ns, end_ns, ..RawWindow::default() };
        (self.generation, self.start_ns) = (next, end_ns);
        let counted = session.take_counters(full)?;
        let slot = full as usize;
        window.timeline = self.timeline.as_mut().map(|timeline| timeline.take(full));
        let stacks = &mut window.stacks;
        let bytes = (size_of::<u64>(), FRAMES_BYTES);
        read_map(session, STACKS[slot], Reading::Drain, bytes, STACKS_BATCH, |key, value| {
            if let (Ok(id), Ok(frames)) = (u64::read_from_bytes(key), Frames::ref_from_bytes(value)) {
                stacks.insert(id, used(frames).into());
            }
        })?;
        let bytes = (size_of::<u64>(), size_of::<DeepFrames>());
        read_map(session, DEEP_STACKS[slot], Reading::Drain, bytes, DEEP_STACKS_BATCH, |key, value| {
            if let (Ok(id), Ok(frames)) = (u64::read_from_bytes(key), DeepFrames::ref_from_bytes(value)) {
                stacks.insert(id, used(frames).into());
            }
        })?;
        if session.options().records(EventKind::Cpu) {
            let mut cpu = RawKind::new(EventKind::Cpu);
            cpu.tally = Tally::of(counters::CPU, &counted);
            let bytes = (size_of::<Key>(), size_of::<CpuValue>());
            read_map(session, COUNTS[slot], Reading::Drain, bytes, COUNTS_BATCH, |key, value| {
                match session.collector().decode(key, value) {
                    Some(sample) => cpu.samples.push(sample),
                    None => cpu.undecodable += 1,
                }
            })?;
            window.kinds.push(cpu);
        }
        if session.options().schedules() {
            let found = self.threads.read(session, full, end_ns, last_ns.is_some(), stacks, walk)?;
            if let (Some(Timeline { min_ns, .. }), Some(events)) = (&self.timeline, &mut window.timeline)
                && last_ns.is_some()
                && session.options().records(EventKind::OffCpu)
            {
                let long = found.open.iter().filter(|(.., off)| off.iter().sum::<u64>() >= *min_ns);
                long.for_each(|(key, off_ns, off)| events.add_open(key, *off_ns, *off));
            }
            if session.options().records(EventKind::Locks) {
                window.locks = Some(self.locks.read(session, full, &found.at_lock)?);
                let places = &mut window.lock_places;
                window.kinds.push(locks::holders(session, full, end_ns, &found.wakers, places)?);
            }
            let mut kinds = found.into_kinds(session.options(), &mut window.wakers, &mut window.lock_places);
            if let Some(off) = kinds.iter_mut().find(|kind| kind.kind == EventKind::OffCpu) {
                off.tally.count(counters::OFF_CPU, &counted);
            }
            if let Some(locks) = kinds.iter_mut().find(|kind| kind.kind == EventKind::Locks) {
                locks.tally.note(counters::LOCK_FACTS, &counted);
            }
            if let Some(sched) = kinds.iter_mut().find(|kind| kind.kind == EventKind::Sched) {
                // Told with the waits, where there are such.
                let threads = (!session.options().records(EventKind::OffCpu)).then_some(&Counter::ThreadsMissed);
                let facts = counters::SCHED_FACTS.iter().chain(threads);
                sched.tally.note(facts, &counted);
                window.queues = run_queue::read(session, full)?;
            }
            window.kinds.extend(kinds);
        }
        if session.options().records(EventKind::Syscalls) {
            let (calls, kind) = calls::read(session, full, &counted, last_ns, &mut self.calls_before)?;
            window.calls = Some(calls);
            window.kinds.push(kind);
        }
        if session.options().records(EventKind::Io) {
            let (block, kinds, open) = self.requests.read(session, full, &counted, last_ns, &mut window.stacks)?;
            window.file_names = self.file_names.read(session, full, open)?;
            window.block = Some(block);
            window.kinds.extend(kinds);
        }
        if session.options().tells_files() {
            let (calls, kinds) = self.operations.read(session, full, &counted, last_ns, &mut window.stacks)?;
            window.file_calls = Some(calls);
            window.kinds.extend(kinds);
        }
        if session.options().records(EventKind::KernelLocks) {
            let (locks, kind) = kernel_locks::read(session, full, &counted)?;
            window.kernel_locks = Some(locks);
            window.kinds.push(kind);
        }
        if session.options().records(EventKind::Memory) {
            window.kinds.push(memory::read(session, full, &counted)?);
        }
        if let Some(events) = &mut window.timeline {
            events.count(&counted);
        }
        Ok(window)
    }
}

/// Adds what a map has under [`Key`]s to the samples of a kind.
fn read_samples<V: FromBytes>(
    session: &Session,
    map: &'static str,
    kind: &mut RawKind,
    sample: impl Fn(&Key, V) -> RawSample,
) -> Result<(), DrainError> {
    let bytes = (size_of::<Key>(), size_of::<V>());
    read_map(session, map, Reading::Drain, bytes, SUMS_BATCH, |key, value| {
        match (Key::read_from_bytes(key), V::read_from_bytes(value)) {
            (Ok(key), Ok(value)) => kind.samples.push(sample(&key, value)),
            _ => kind.undecodable += 1,
        }
    })
}

fn read_map(
    session: &Session,
    map: &'static str,
    reading: Reading,
    bytes: (usize, usize),
    batch: usize,
    each: impl FnMut(&[u8], &[u8]),
) -> Result<(), DrainError> {
    let fd = session.hash_map_fd(map)?;
    sys::read_hash_map(fd, reading, bytes, batch, each).map_err(|source| DrainError::Read { map, source })
}
