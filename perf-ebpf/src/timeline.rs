//! The record of the timeline: that a thread was sampled, or has waited, and when.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::sample::Key;

/// Something that happened to a thread. A sample took no time; a wait took some of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// When it began, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// How long the thread was blocked, from then on.
    pub blocked_ns: u64,
    /// And then how long it waited for a CPU.
    pub runnable_ns: u64,
    /// Who, and where. Its stacks are in the maps of the generation, or of an earlier one if the wait began then.
    pub key: Key,
    /// [`SAMPLE`] or [`WAIT`].
    pub kind: u32,
    /// Which generation of maps the same was counted in.
    pub generation: u32,
}

/// An [`Event`] that is a CPU sample.
pub const SAMPLE: u32 = 0;

/// An [`Event`] that is time off the CPU.
pub const WAIT: u32 = 1;
