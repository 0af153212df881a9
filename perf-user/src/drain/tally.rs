//! What became of events in a window.

use perf_ebpf::counters::{Balance, COUNTER_SLOTS, Counter};

/// An account of events of one kind: what was taken is what is reported and the sum of what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All that was taken, in the unit of the kind.
    pub taken: u64,
    /// Of that, what was lost, by cause.
    pub lost: Vec<(&'static str, u64)>,
    /// Facts about quality.
    pub facts: Vec<(&'static str, u64)>,
}

impl Tally {
    /// What the kernel half counted.
    pub(super) fn of(balance: Balance, counted: &[u64; COUNTER_SLOTS]) -> Self {
        let mut tally = Self::default();
        tally.count(balance, counted);
        tally
    }

    /// Adds what the kernel half counted.
    pub(super) fn count(&mut self, balance: Balance, counted: &[u64; COUNTER_SLOTS]) {
        self.taken += counted[balance.taken as usize];
        self.lost.extend(balance.lost.iter().map(|counter| named(*counter, counted)));
        self.note(balance.facts, counted);
    }

    /// Adds losses that the kernel half does not count among what was taken.
    pub(super) fn lose(&mut self, counters: &[Counter], counted: &[u64; COUNTER_SLOTS]) {
        self.lost.extend(counters.iter().map(|counter| named(*counter, counted)));
        self.taken += counters.iter().map(|counter| counted[*counter as usize]).sum::<u64>();
    }

    /// Adds facts.
    pub(super) fn note<'a>(&mut self, counters: impl IntoIterator<Item = &'a Counter>, counted: &[u64; COUNTER_SLOTS]) {
        self.facts.extend(counters.into_iter().map(|counter| named(*counter, counted)));
    }

    /// Takes over the account of a window that cannot be kept, which reported so much.
    pub fn absorb(&mut self, dropped: &Self, reported: u64, cause: &'static str) {
        self.taken += dropped.taken;
        self.lost.push((cause, reported));
        self.lost.extend(&dropped.lost);
        self.facts.extend(&dropped.facts);
    }
}

fn named(counter: Counter, counted: &[u64; COUNTER_SLOTS]) -> (&'static str, u64) {
    (counter.name(), counted[counter as usize])
}
