//! The kernel's own locks: who waits for them tells of it by an event of its own (5.19).

use aya::{Ebpf, EbpfLoader};

use super::{
    AttachError, EventKind,
    links::{Links, load_raw},
    maps::{size, tell},
    session::{SessionOptions, Unwind},
};
use crate::host::{
    Unsupported,
    block::{Offset, block_offsets},
};

/// Processes, and locks that are told apart, on a CPU in a window.
const SUMS: u32 = 4_096;
/// Waits with their stacks.
const TIMES: u32 = 8_192;

const BEGINS: (&str, &str) = ("kernel_lock_begins", "contention_begin");
const ENDS: &str = "kernel_lock_ends";
const WALKING: &str = "kernel_lock_ends_walk";

/// Whether the running kernel tells of waits for its locks.
#[must_use]
pub fn are_told() -> bool {
    block_offsets().is_ok_and(|offsets| offsets.tells_kernel_locks)
}

/// What programs are told of the running kernel.
#[derive(Debug, Default)]
pub(super) struct Globals {
    offsets: Vec<Offset>,
}

impl Globals {
    /// Of the running kernel, if `options` have its locks recorded.
    pub(super) fn of(options: &SessionOptions) -> Result<Self, Unsupported> {
        if !options.records(EventKind::KernelLocks) {
            return Ok(Self::default());
        }
        if !are_told() {
            let why = "it does not tell of waits for its locks, as Linux does since 5.19";
            return Err(Unsupported::new("recording locks of the kernel", why, "use a newer one, or record -e locks"));
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
        options: &SessionOptions,
    ) {
        tell(loader, &globals.offsets);
        if options.records(EventKind::KernelLocks) {
            let maps = [
                ("KERNEL_LOCKS_0", SUMS),
                ("KERNEL_LOCKS_1", SUMS),
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
