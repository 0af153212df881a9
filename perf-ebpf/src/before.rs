//! Threads as they are before the recording.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::stack::Frames;

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Before {
    /// The thread.
    pub tid: u32,
    /// Zero.
    pub reserved: u32,
    /// The frame pointer with which its user code came into the kernel; 0 if that is not known.
    pub fp: u64,
    /// Its stack in the kernel. A thread that runs has none that is true.
    pub kernel: Frames,
}
