//! What the programs cost. That the kernel times each of their runs, by two readings of the clock, costs nearly as much as a short
//! program does: so it times them at the start, and then for one second in ten.

use std::os::fd::OwnedFd;

use crate::host::sys;

/// How long the kernel times the programs at the start: short recordings are timed all the time.
const FIRST_NS: u64 = 2_000_000_000;
/// How long it does then, in each [`PERIOD_NS`].
const TIMED_NS: u64 = 1_000_000_000;
const PERIOD_NS: u64 = 10_000_000_000;

/// Time in, and runs of programs, while the kernel timed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// For how long it did.
    pub timed_ns: u64,
    /// Time in all programs, on all CPUs.
    pub ns: u64,
    /// Their runs.
    pub runs: u64,
}

impl Cost {
    /// The share of one CPU that programs took.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.timed_ns == 0 { 0.0 } else { self.ns as f64 / self.timed_ns as f64 }
    }

    /// Time and runs of so long a recording, in which programs ran as they did while they were timed.
    #[must_use]
    pub fn of(&self, recording_ns: u64) -> (u64, u64) {
        if self.timed_ns == 0 || self.timed_ns >= recording_ns {
            return (self.ns, self.runs);
        }
        let scaled = |value: u64| (u128::from(value) * u128::from(recording_ns) / u128::from(self.timed_ns)) as u64;
        (scaled(self.ns), scaled(self.runs))
    }
}

/// Turns the kernel's timing on and off. Others may keep it on, which changes nothing here.
#[derive(Debug)]
pub(super) struct Timing {
    /// `None` if the kernel does not time programs for us.
    on: Option<On>,
    since_ns: u64,
    until_ns: u64,
    cost: Cost,
    is_allowed: bool,
}

#[derive(Debug)]
struct On {
    _timed: OwnedFd,
    /// Time and runs that the kernel had counted before.
    before: (u64, u64),
}

impl Timing {
    /// Begins. Without the privilege the report says that the cost in the kernel is not known.
    pub(super) fn start(counted: impl FnOnce() -> (u64, u64), now_ns: u64) -> Self {
        let mut timing = Self { on: None, since_ns: now_ns, until_ns: 0, cost: Cost::default(), is_allowed: true };
        timing.turn_on(counted, now_ns, FIRST_NS);
        timing
    }

    fn turn_on(&mut self, counted: impl FnOnce() -> (u64, u64), now_ns: u64, for_ns: u64) {
        let timed = sys::enable_bpf_stats().ok();
        self.is_allowed = timed.is_some();
        self.on = timed.map(|timed| On { _timed: timed, before: counted() });
        (self.since_ns, self.until_ns) = (now_ns, now_ns + for_ns);
    }

    /// Looks at the clock.
    pub(super) fn step(&mut self, counted: impl FnOnce() -> (u64, u64), now_ns: u64) {
        if self.on.is_some() {
            if now_ns >= self.until_ns {
                self.turn_off(counted, now_ns);
            }
        } else if self.is_allowed && now_ns >= self.since_ns + PERIOD_NS {
            self.turn_on(counted, now_ns, TIMED_NS);
        }
    }

    /// Ends, if it is on.
    pub(super) fn turn_off(&mut self, counted: impl FnOnce() -> (u64, u64), now_ns: u64) {
        self.cost = self.cost(counted, now_ns).unwrap_or_default();
        self.on = None;
    }

    /// What was measured so far; `None` if the kernel does not time programs for us.
    pub(super) fn cost(&self, counted: impl FnOnce() -> (u64, u64), now_ns: u64) -> Option<Cost> {
        let Cost { timed_ns, ns, runs } = self.cost;
        let Some(on) = &self.on else { return (self.is_allowed || timed_ns > 0).then_some(self.cost) };
        let (ns_now, runs_now) = counted();
        let (before_ns, before_runs) = on.before;
        Some(Cost {
            timed_ns: timed_ns + (now_ns - self.since_ns),
            ns: ns + (ns_now - before_ns),
            runs: runs + (runs_now - before_runs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Cost;

    #[test]
    fn stands_for_the_whole_recording() {
        let cost = Cost { timed_ns: 3_000, ns: 60, runs: 6 };
        assert_eq!(cost.of(30_000), (600, 60));
        assert_eq!(cost.of(3_000), (60, 6));
        // Timed a little longer than it lasted, while programs were attached.
        assert_eq!(cost.of(2_999), (60, 6));
        assert_eq!(Cost::default().of(5), (0, 0));
    }
}
