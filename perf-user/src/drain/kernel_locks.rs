//! From the maps of waits for the kernel's own locks to what a window had of them.

use std::collections::BTreeMap;

use perf_ebpf::{
    calls::CallTime,
    counters::{self, COUNTER_SLOTS},
    histogram::Lengths,
    kernel_lock::KernelLockKey,
};
use zerocopy::FromBytes as _;

use super::{DrainError, RawKind, Tally, calls::add, read_map, read_samples};
use crate::{
    collect::{Did, EventKind, RawSample, session::Session},
    host::sys::Reading,
};

/// Entries asked for in one system call.
const BATCH: usize = 512;

const SUMS: [&str; 2] = ["KERNEL_LOCKS_0", "KERNEL_LOCKS_1"];
const TIMES: [&str; 2] = ["KERNEL_LOCK_TIMES_0", "KERNEL_LOCK_TIMES_1"];

/// Waits for locks of the kernel that ended in a window.
#[derive(Debug, Default)]
pub struct RawKernelLocks {
    /// By process, how they were waited for, and the lock's address, if that has a name; else 0.
    pub sums: BTreeMap<(u32, u32, u64), Lengths>,
    /// What became of all of them.
    pub tally: Tally,
}

/// Reads the waits of a window, and the time in them by stack.
pub(super) fn read(
    session: &Session,
    generation: u32,
    counted: &[u64; COUNTER_SLOTS],
) -> Result<(RawKernelLocks, RawKind), DrainError> {
    let slot = generation as usize;
    let mut tally = Tally::of(counters::KERNEL_LOCKS, counted);
    tally.lose(&counters::KERNEL_LOCKS_LOST, counted);
    let mut locks = RawKernelLocks { tally, ..RawKernelLocks::default() };
    let tally = Tally::of(counters::KERNEL_LOCK_TIME, counted);
    let mut kind = RawKind { tally, ..RawKind::new(EventKind::KernelLocks) };
    let bytes = (size_of::<KernelLockKey>(), size_of::<Lengths>());
    read_map(session, SUMS[slot], Reading::Drain, bytes, BATCH, |key, value| {
        match (KernelLockKey::read_from_bytes(key), Lengths::read_from_bytes(value)) {
            (Ok(key), Ok(sum)) => {
                add(locks.sums.entry((key.tgid, key.how, key.lock)).or_insert(Lengths::NONE), &sum);
            }
            _ => kind.undecodable += 1,
        }
    })?;
    read_samples(session, TIMES[slot], &mut kind, |key, time: CallTime| {
        RawSample::of(key, Some(Did::AwaitedLock(key.why)), time.ns, time.first_ns)
    })?;
    Ok((locks, kind))
}
