//! The part of a session by which the slowest requests to devices are read back.

use perf_ebpf::block::SlowRequest;

use super::{Session, SessionOptions};
use crate::{
    collect::{
        AttachError, EventKind,
        block::BlockCollector,
        cpu::{Clock, CpuCollector},
        object::load,
    },
    host::Host,
};

impl Session {
    /// The slowest requests of a generation, of each CPU, which are forgotten then. Only for a generation that no program writes to.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_slow_requests(&mut self, generation: u32) -> Result<Vec<SlowRequest>, AttachError> {
        let slow = self.take_slowest::<{ size_of::<SlowRequest>() / 8 }>(["SLOW_IO", "SLOW_IO_LENGTHS"], generation)?;
        Ok(slow.into_iter().map(|words| -> SlowRequest { zerocopy::transmute!(words) }).collect())
    }
}

/// Listens to the requests of nobody for a moment.
///
/// # Errors
/// What the kernel lacks, or refused.
pub fn try_block(host: &Host) -> Result<(), AttachError> {
    let options = SessionOptions::of_trial(vec![EventKind::Io, EventKind::IoBytes]);
    let (mut bpf, _) = load(host, &options, &CpuCollector::new(1, Clock::CpuClock, 1))?;
    BlockCollector::load(&mut bpf, options.unwind, false)?.attach(&mut bpf)
}
