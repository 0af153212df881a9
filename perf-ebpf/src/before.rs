//! Threads as they are before the recording.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::stack::{Frames, MAX_FRAMES};

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Before {
    /// The thread.
    pub tid: u32,
    /// Zero.
    pub reserved: u32,
    /// The instruction pointer with which its user code came into the kernel; 0 if that is not known.
    pub ip: u64,
    /// The stack pointer of then.
    pub sp: u64,
    /// The frame pointer of then.
    pub fp: u64,
    /// Its stack in the kernel. A thread that runs has none that is true.
    pub kernel: Frames,
}

impl Before {
    /// Nothing is known.
    pub const NONE: Self = Self { tid: 0, reserved: 0, ip: 0, sp: 0, fp: 0, kernel: [0; MAX_FRAMES] };
}
