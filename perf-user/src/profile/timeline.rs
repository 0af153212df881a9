//! Single events in time, beside the sums.

use serde::Serialize;

use super::{Accounting, StackId, ThreadIndex};

/// One sample, or one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When it began, in nanoseconds after the start of the recording. Waits that began before it begin at 0.
    pub start_ns: u64,
    /// How long it took; 0 for samples.
    pub length_ns: u64,
    /// Who.
    pub thread: ThreadIndex,
    /// Where, and why.
    pub stack: StackId,
}

impl Moment {
    /// When it ended.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.length_ns)
    }
}

/// What is known of a recording's timeline as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// How long a wait is at least that is in it.
    pub min_ns: u64,
    /// When the first window begins that has a part in it, in nanoseconds after the recording's start.
    pub from_ns: u64,
    /// When the last such window ends.
    pub to_ns: u64,
    /// What became of all events.
    pub accounting: Accounting,
}
