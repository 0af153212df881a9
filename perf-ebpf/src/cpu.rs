//! The records of CPU sampling: how often a thread ran somewhere within a window.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How often, and when first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuValue {
    /// Samples.
    pub count: u64,
    /// `CLOCK_MONOTONIC` time of the first of them: the mappings of that moment give its addresses their meaning.
    pub first_ns: u64,
}
