//! Waits for the kernel's own locks as a recording has them.

use std::collections::BTreeMap;

use super::{Accounting, Frame, FrameKind, Lengths, Profile, StackId};
use crate::symbolize::takes_kernel_lock;

/// Waits for locks of the kernel, over the windows of the profile.
#[derive(Clone, Debug, Default)]
pub struct KernelLocks {
    /// What became of all waits that ended, of all threads.
    pub accounting: Accounting,
    /// By process and lock; empty if the profile is of one thread.
    pub sums: BTreeMap<(u32, String), Lengths>,
    /// The last names of processes.
    pub processes: BTreeMap<u32, String>,
}

impl Profile {
    /// The function of the kernel that took the lock of a stack: the innermost that does more than that.
    #[must_use]
    pub fn locked_by(&self, stack: StackId) -> Option<&str> {
        let frames = self.stacks.leaf_to_root(stack).filter_map(|id| self.frames.get(id.0 as usize));
        let name = |frame: &Frame| self.strings.get(frame.function);
        let kernel = frames.filter(|frame| frame.kind == FrameKind::Kernel && frame.symbolized);
        kernel.map(name).find(|name| !takes_kernel_lock(name))
    }
}
