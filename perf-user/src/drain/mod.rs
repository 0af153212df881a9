//! From kernel maps to raw samples: windows are rotated so that nothing is written to what is being read.

use std::{collections::HashMap, io, time::Duration};

use perf_ebpf::{
    counters::COUNTER_SLOTS,
    cpu::{CpuKey, CpuValue},
    stack::{DeepFrames, FRAMES_BYTES, Frames, used},
};
use zerocopy::FromBytes as _;

use crate::{
    collect::{AttachError, Collector as _, RawSample, session::Session},
    host::sys,
};

/// All that the kernel half collected in one window.
#[derive(Debug, Default)]
pub struct RawWindow {
    /// `CLOCK_MONOTONIC` time at which programs began to write to it.
    pub start_ns: u64,
    /// And at which they stopped.
    pub end_ns: u64,
    /// The samples.
    pub samples: Vec<RawSample>,
    /// The stacks they name, leaf first.
    pub stacks: HashMap<u64, Box<[u64]>>,
    /// The kernel half's counters for this window, indexed by `Counter`.
    pub counters: [u64; COUNTER_SLOTS],
    /// Samples in entries that could not be decoded: object and user half do not belong together.
    pub undecodable: u64,
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
}

const COUNTS: [&str; 2] = ["CPU_COUNTS_0", "CPU_COUNTS_1"];
const DEEP_STACKS: [&str; 2] = ["DEEP_STACKS_0", "DEEP_STACKS_1"];
const STACKS: [&str; 2] = ["STACKS_0", "STACKS_1"];

/// Entries asked for in one system call.
const COUNTS_BATCH: usize = 2048;
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
    /// Begins with generation 0, which is what programs start with.
    #[must_use]
    pub fn new(start_ns: u64) -> Self {
        Self { generation: 0, start_ns }
    }

    /// When the window began that is being filled now.
    #[must_use]
    pub fn window_start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Turns programs to the other generation, and takes all that this one holds.
    ///
    /// # Errors
    /// When the kernel refuses; the recording cannot go on then.
    pub fn rotate(&mut self, session: &mut Session) -> Result<RawWindow, DrainError> {
        let (full, next) = (self.generation, 1 - self.generation);
        session.set_generation(next)?;
        let end_ns = sys::monotonic_ns();
        wait_for_running_programs();
        let mut window = RawWindow { start_ns: self.start_ns, end_ns, ..RawWindow::default() };
        (self.generation, self.start_ns) = (next, end_ns);
        let slot = full as usize;
        let RawWindow { samples, stacks, undecodable, .. } = &mut window;
        let read = |map| move |source| DrainError::Read { map, source };
        let fd = session.hash_map_fd(COUNTS[slot])?;
        let collector = session.collector();
        sys::drain_hash_map(
            fd,
            (size_of::<CpuKey>(), size_of::<CpuValue>()),
            COUNTS_BATCH,
            |key, value| match collector.decode(key, value) {
                Some(sample) => samples.push(sample),
                None => *undecodable += 1,
            },
        )
        .map_err(read(COUNTS[slot]))?;
        let fd = session.hash_map_fd(STACKS[slot])?;
        sys::drain_hash_map(fd, (size_of::<u64>(), FRAMES_BYTES), STACKS_BATCH, |key, value| {
            if let (Ok(id), Ok(frames)) = (u64::read_from_bytes(key), Frames::ref_from_bytes(value)) {
                stacks.insert(id, used(frames).into());
            }
        })
        .map_err(read(STACKS[slot]))?;
        let fd = session.hash_map_fd(DEEP_STACKS[slot])?;
        sys::drain_hash_map(fd, (size_of::<u64>(), size_of::<DeepFrames>()), DEEP_STACKS_BATCH, |key, value| {
            if let (Ok(id), Ok(frames)) = (u64::read_from_bytes(key), DeepFrames::ref_from_bytes(value)) {
                stacks.insert(id, used(frames).into());
            }
        })
        .map_err(read(DEEP_STACKS[slot]))?;
        window.counters = session.take_counters(full)?;
        Ok(window)
    }
}
