//! How far a recording has come, and what it costs.

use std::time::Duration;

use super::Progress;
use crate::{collect::session::Session, host::sys};

/// How often progress is told.
const PROGRESS_NS: u64 = 900_000_000;

/// CPU samples so far.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) reported: u64,
    pub(super) lost: u64,
}

/// Measures what the recording costs between two looks.
pub(super) struct Meter {
    start_ns: u64,
    looked_ns: u64,
    recorder_ns: u64,
}

impl Meter {
    pub(super) fn start(start_ns: u64) -> Self {
        Self { start_ns, looked_ns: start_ns, recorder_ns: sys::own_usage().0 }
    }

    /// The progress since the last look, if that was long enough ago.
    pub(super) fn step(&mut self, session: &mut Session, totals: &Totals) -> Option<Progress> {
        let now_ns = sys::monotonic_ns();
        let passed_ns = now_ns - self.looked_ns;
        if passed_ns < PROGRESS_NS {
            return None;
        }
        session.time(now_ns);
        let recorder_ns = sys::own_usage().0;
        let progress = Progress {
            elapsed: Duration::from_nanos(now_ns - self.start_ns),
            reported: totals.reported,
            lost: totals.lost,
            recorder_share: (recorder_ns - self.recorder_ns) as f64 / passed_ns as f64,
            bpf_share: session.cost(now_ns).map_or(0.0, |cost| cost.share()),
        };
        (self.looked_ns, self.recorder_ns) = (now_ns, recorder_ns);
        Some(progress)
    }
}
