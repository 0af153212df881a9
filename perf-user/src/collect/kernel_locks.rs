//! The kernel's own locks: who waits for them tells of it by an event of its own.

use aya::{Ebpf, EbpfLoader};

use super::{
    AttachError, EventKind,
    links::{Links, load_raw},
    maps::{size, tell},
    session::{SessionOptions, Unwind},
};
use crate::host::{
    Host, Unsupported,
    block::{Offset, block_offsets},
};

/// Processes, and locks that are told apart in a window, on one CPU.
const SUMS: u32 = 2_048;
/// At most, on all CPUs.
const ALL_SUMS: u32 = 65_536;
/// Waits with their stacks.
const TIMES: u32 = 8_192;

const BEGINS: (&str, &str) = ("kernel_lock_begins", "contention_begin");
const ENDS: &str = "kernel_lock_ends";
const WALKING: &str = "kernel_lock_ends_walk";

/// Whether the running kernel tells of waits for its locks, and it is safe to listen: the lock that was waited for may be one of a BPF
/// map's own, whose holder then changes maps. Since 6.15 such locks find that out instead of waiting for themselves.
#[must_use]
pub fn are_told(host: &Host) -> bool {
    !host.is_before(6, 15) && block_offsets().is_ok_and(|offsets| offsets.tells_kernel_locks)
}

/// What programs are told of the running kernel.
#[derive(Debug, Default)]
pub(super) struct Globals {
    offsets: Vec<Offset>,
}

impl Globals {
    /// Of the running kernel, if `options` have its locks recorded.
    pub(super) fn of(host: &Host, options: &SessionOptions) -> Result<Self, Unsupported> {
        if !options.records(EventKind::KernelLocks) {
            return Ok(Self::default());
        }
        if !are_told(host) {
            let why = "it takes Linux 6.15 with BTF, before which locks of BPF maps could wait for themselves";
            return Err(Unsupported::new("recording locks of the kernel", why, "use a newer one, or record others"));
        }
        Ok(Self { offsets: block_offsets()?.mappings_lock.clone() })
    }
}

/// The kernel's own locks.
#[derive(Debug)]
pub struct KernelLocksCollector {
    ends: &'static str,
    links: Links,
}

impl KernelLocksCollector {
    /// Sets globals and map sizes, before the object is loaded.
    pub(super) fn configure<'globals>(
        loader: &mut EbpfLoader<'globals>,
        globals: &'globals Globals,
        cpus: usize,
        options: &SessionOptions,
    ) {
        tell(loader, &globals.offsets);
        if options.records(EventKind::KernelLocks) {
            let sums = SUMS.saturating_mul(cpus as u32).min(ALL_SUMS);
            let maps = [
                ("KERNEL_LOCKS_0", sums),
                ("KERNEL_LOCKS_1", sums),
                ("KERNEL_LOCK_TIMES_0", TIMES),
                ("KERNEL_LOCK_TIMES_1", TIMES),
            ];
            size(loader, maps);
        }
    }

    /// Loads its programs; `python` says that they read Python frames too.
    pub(super) fn load(bpf: &mut Ebpf, unwind: Unwind, python: bool) -> Result<Self, AttachError> {
        let ends = if unwind.walks(python) { WALKING } else { ENDS };
        [BEGINS.0, ends].into_iter().try_for_each(|program| load_raw(bpf, program))?;
        Ok(Self { ends, links: Links::default() })
    }

    /// Attaches its programs. What tells the end first: of no wait is the beginning seen and not the end.
    pub(super) fn attach(&mut self, bpf: &mut Ebpf) -> Result<(), AttachError> {
        self.links.attach(bpf, [(self.ends, "contention_end"), BEGINS])
    }

    /// Detaches its programs, in the other order.
    pub(super) fn detach(&mut self) {
        self.links.detach();
    }
}
