//! Which waits to keep.

use std::time::Duration;

use perf_ebpf::sched::{STATES, WaitFilter};

use super::super::{Failure, select::duration};
use crate::collect::EventKind;

/// Which waits to keep.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// Of waits, keep only those at least so long (1ms, 50us); what threads did with their time is told whole
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub(super) min_wait: Option<Duration>,

    /// Of waits, keep only those that begin in these states, a comma between: R (waits for a CPU), S (sleeps), D (signals do
    /// not wake it: disk, page fault, kernel lock), T (stopped), I (idle, of the kernel's threads)
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = state)]
    state: Vec<usize>,
}

/// Parses a state of [`STATES`], as its place there.
fn state(text: &str) -> Result<usize, String> {
    STATES.iter().position(|(letter, _)| text.len() == 1 && text.starts_with(*letter)).ok_or_else(|| {
        let known: Vec<_> = STATES.iter().map(|(letter, meaning)| format!("{letter} ({meaning})")).collect();
        format!("there is no state `{text}`; known: {}", known.join("; "))
    })
}

impl WaitArgs {
    /// The filter that was asked for.
    pub(super) fn filter(&self, kinds: &[EventKind]) -> Result<WaitFilter, Failure> {
        let of_waits = [EventKind::OffCpu, EventKind::OffWake, EventKind::Locks];
        let asked = self.min_wait.is_some() || !self.state.is_empty();
        if asked && !kinds.iter().any(|kind| of_waits.contains(kind)) {
            return Err(Failure::Usage("--min-wait and --state are about waits: record with -e offcpu as well".into()));
        }
        let states = self.state.iter().fold(0, |bits, at| bits | 1 << at);
        let states = if self.state.is_empty() { WaitFilter::ALL.states } else { states };
        let min_ns = self.min_wait.map_or(0, |min| u64::try_from(min.as_nanos()).unwrap_or(u64::MAX));
        Ok(WaitFilter { min_ns, states })
    }

    /// The letters of the states that were asked for; none for all.
    pub(super) fn states(&self) -> String {
        self.state.iter().filter_map(|at| STATES.get(*at)).map(|(letter, _)| *letter).collect()
    }
}
