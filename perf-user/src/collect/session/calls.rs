//! The part of a session by which the slowest system calls are read back.

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use perf_ebpf::{
    calls::{SLOWEST, SlowCall, SlowLengths},
    sched::WaitFilter,
};

use super::{Session, SessionOptions, Sides, Unwind};
use crate::{
    collect::{
        AttachError, EventKind,
        calls::CallsCollector,
        cpu::{Clock, CpuCollector},
        object::load,
        target::Target,
    },
    host::Host,
};

/// Records as words, which any memory may be read as.
type Slow = [u64; size_of::<SlowCall>() / 8];
type Lengths = [u64; size_of::<SlowLengths>() / 8];

const CALLS: &str = "SLOW_CALLS";
const LENGTHS: &str = "SLOW_LENGTHS";

impl Session {
    /// The slowest calls of a generation, of each CPU, which are forgotten then. Only for a generation that no program writes to.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_slow_calls(&mut self, generation: u32) -> Result<Vec<SlowCall>, AttachError> {
        let wrong = |source| AttachError::Map { map: LENGTHS, source };
        let map = self.bpf.map_mut(LENGTHS).ok_or(AttachError::Missing(LENGTHS))?;
        let mut array: PerCpuArray<&mut MapData, Lengths> = map.try_into().map_err(wrong)?;
        let values = array.get(&generation, 0).map_err(wrong)?;
        let lengths: Vec<SlowLengths> = values.iter().map(|words| zerocopy::transmute!(*words)).collect();
        let zeros = PerCpuValues::try_from(vec![[0; size_of::<SlowLengths>() / 8]; lengths.len()]);
        array.set(generation, zeros.map_err(|error| wrong(error.into()))?, 0).map_err(wrong)?;
        let wrong = |source| AttachError::Map { map: CALLS, source };
        let map = self.bpf.map(CALLS).ok_or(AttachError::Missing(CALLS))?;
        let array: PerCpuArray<&MapData, Slow> = map.try_into().map_err(wrong)?;
        let mut slow = Vec::new();
        for at in (0..SLOWEST).filter(|at| lengths.iter().any(|lengths| lengths.ns[*at] > 0)) {
            let values = array.get(&(generation * SLOWEST as u32 + at as u32), 0).map_err(wrong)?;
            let kept = values.iter().zip(&lengths).filter(|(_, lengths)| lengths.ns[at] > 0);
            slow.extend(kept.map(|(words, _)| -> SlowCall { zerocopy::transmute!(*words) }));
        }
        Ok(slow)
    }
}

/// Listens to the system calls of nobody for a moment.
///
/// # Errors
/// What the kernel lacks, or refused.
pub fn try_calls(host: &Host) -> Result<(), AttachError> {
    let options = SessionOptions {
        kinds: vec![EventKind::Syscalls],
        target: Target::Processes(Vec::new()),
        inherit: false,
        waits: WaitFilter::ALL,
        timeline_min_ns: None,
        sides: Sides::Both,
        unwind: Unwind::FramePointers,
        python: false,
        entries: 1,
    };
    let (mut bpf, _) = load(host, &options, &CpuCollector::new(1, Clock::CpuClock, 1))?;
    CallsCollector::load(&mut bpf, options.unwind, false)?.attach(&mut bpf)
}
