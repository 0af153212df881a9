//! The records of waiting for a CPU: how long, on which, and who ran there meanwhile.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::comm::Comm;

/// A thread that waited for a CPU, and the CPU it came to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QueueKey {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The CPU.
    pub cpu: u32,
    /// Zero.
    pub reserved: u32,
}

/// Who ran while another waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TakerKey {
    /// The process of the one that waited.
    pub tgid: u32,
    /// The thread that waited.
    pub tid: u32,
    /// The process of the one that ran.
    pub taker_tgid: u32,
    /// The thread that ran.
    pub taker_tid: u32,
    /// Its name.
    pub taker_comm: Comm,
}

/// Shorter waits for a CPU are nobody's doing: it takes a while to come to run, also on an idle one.
pub const TAKEN_NS: u64 = 50_000;

/// Threads that ran on a CPU, one after another, that are remembered.
pub const SLICES: usize = 8;

/// A time for which a thread ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Slice {
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub until_ns: u64,
    /// Its process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: Comm,
}

/// The last threads that ran on a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Slices {
    /// How many there have been; the next one's place is this modulo [`SLICES`].
    pub count: u64,
    /// Each.
    pub slices: [Slice; SLICES],
}
