//! The part of a session by which the slowest system calls are read back.

use aya::{
    Pod,
    maps::{MapData, PerCpuArray, PerCpuValues},
};
use perf_ebpf::calls::{SLOWEST, SlowCall, SlowLengths};

use super::{Session, SessionOptions};
use crate::{
    collect::{
        AttachError, EventKind,
        calls::CallsCollector,
        cpu::{Clock, CpuCollector},
        object::load,
    },
    host::Host,
};

/// As words, which any memory may be read as.
type Lengths = [u64; size_of::<SlowLengths>() / 8];

impl Session {
    /// The slowest calls of a generation, of each CPU, which are forgotten then. Only for a generation that no program writes to.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_slow_calls(&mut self, generation: u32) -> Result<Vec<SlowCall>, AttachError> {
        let slow = self.take_slowest::<{ size_of::<SlowCall>() / 8 }>(["SLOW_CALLS", "SLOW_LENGTHS"], generation)?;
        Ok(slow.into_iter().map(|words| -> SlowCall { zerocopy::transmute!(words) }).collect())
    }

    /// The same of records of so many words, in the first of these maps, whose lengths are in the second.
    pub(super) fn take_slowest<const WORDS: usize>(
        &mut self,
        [records, lengths]: [&'static str; 2],
        generation: u32,
    ) -> Result<Vec<[u64; WORDS]>, AttachError>
    where
        [u64; WORDS]: Pod,
    {
        let wrong = |source| AttachError::Map { map: lengths, source };
        let map = self.bpf.map_mut(lengths).ok_or(AttachError::Missing(lengths))?;
        let mut array: PerCpuArray<&mut MapData, Lengths> = map.try_into().map_err(wrong)?;
        let values = array.get(&generation, 0).map_err(wrong)?;
        let lengths: Vec<SlowLengths> = values.iter().map(|words| zerocopy::transmute!(*words)).collect();
        let zeros = PerCpuValues::try_from(vec![[0; size_of::<SlowLengths>() / 8]; lengths.len()]);
        array.set(generation, zeros.map_err(|error| wrong(error.into()))?, 0).map_err(wrong)?;
        let wrong = |source| AttachError::Map { map: records, source };
        let map = self.bpf.map(records).ok_or(AttachError::Missing(records))?;
        let array: PerCpuArray<&MapData, [u64; WORDS]> = map.try_into().map_err(wrong)?;
        let mut slow = Vec::new();
        for at in (0..SLOWEST).filter(|at| lengths.iter().any(|lengths| lengths.ns[*at] > 0)) {
            let values = array.get(&(generation * SLOWEST as u32 + at as u32), 0).map_err(wrong)?;
            slow.extend(values.iter().zip(&lengths).filter(|(_, lengths)| lengths.ns[at] > 0).map(|(words, _)| *words));
        }
        Ok(slow)
    }
}

/// Listens to the system calls of nobody for a moment.
///
/// # Errors
/// What the kernel lacks, or refused.
pub fn try_calls(host: &Host) -> Result<(), AttachError> {
    let options = SessionOptions::of_trial(vec![EventKind::Syscalls]);
    let (mut bpf, _) = load(host, &options, &CpuCollector::new(1, Clock::CpuClock, 1))?;
    CallsCollector::load(&mut bpf, options.unwind, false)?.attach(&mut bpf)
}
