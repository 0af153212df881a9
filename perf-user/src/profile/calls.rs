//! System calls as a recording has them: counts and lengths of all, and the slowest one by one.

use std::collections::BTreeMap;

use perf_ebpf::calls::{BUCKETS, bucket_limits};

use super::Accounting;

/// System calls, over the windows of the profile.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// What became of all calls that returned, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
    /// By process and name; empty if the profile is of one thread.
    pub kinds: BTreeMap<(u32, String), CallKind>,
    /// The last names of processes.
    pub processes: BTreeMap<u32, String>,
    /// The slowest calls of each window, and those that did not return, in the order of the recording.
    pub slowest: Vec<SingleCall>,
}

/// The calls of one name that a process made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallKind {
    /// How many.
    pub count: u64,
    /// How long all of them took.
    pub total_ns: u64,
    /// How long the longest took.
    pub max_ns: u64,
    /// How many took how long: [`perf_ebpf::calls::bucket`].
    pub lengths: [u64; BUCKETS],
    /// How many had an error, by its name.
    pub errors: BTreeMap<String, u64>,
}

impl Default for CallKind {
    fn default() -> Self {
        Self { count: 0, total_ns: 0, max_ns: 0, lengths: [0; BUCKETS], errors: BTreeMap::new() }
    }
}

impl CallKind {
    /// The length that this share of the calls does not exceed, within 12 %: the geometric middle of its bucket.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let all: u64 = self.lengths.iter().sum();
        let rank = ((all as f64 * share).ceil() as u64).clamp(1, all.max(1));
        let mut seen = 0_u64;
        let found = self.lengths.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        let Some(bucket) = found else { return 0 };
        let [low, high] = bucket_limits(bucket).map(|ns| ns as f64);
        let middle = if bucket == 0 { high / 2.0 } else { (low * high).sqrt() } as u64;
        // The last bucket has no end; and of a single call the length is known.
        if bucket == BUCKETS - 1 || seen - self.lengths[bucket] + 1 == all {
            self.max_ns
        } else {
            middle.min(self.max_ns)
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleCall {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// The call's name.
    pub name: String,
    /// The call with its arguments, in words.
    pub arguments: String,
    /// When it began, in nanoseconds after the recording's start; negative for before.
    pub start_ns: i64,
    /// How long it took, or has lasted.
    pub length_ns: u64,
    /// What it returned; `None` if it had not when the recording ended.
    pub result: Option<i64>,
}

#[cfg(test)]
mod tests {
    use perf_ebpf::calls::bucket;

    use super::*;

    fn kind(lengths: impl Iterator<Item = u64>) -> CallKind {
        let mut kind = CallKind::default();
        for ns in lengths {
            kind.count += 1;
            kind.max_ns = kind.max_ns.max(ns);
            kind.lengths[bucket(ns)] += 1;
        }
        kind
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        for scale in [1, 7, 130, 9_999] {
            let kind = kind((1..=10_000).map(|at| at * scale));
            for share in [0.5, 0.9, 0.99] {
                let (found, known) = (kind.quantile_ns(share) as f64, 10_000.0 * share * scale as f64);
                assert!((found / known - 1.0).abs() <= 0.12, "{share}: {found}, not {known}");
            }
        }
    }

    #[test]
    fn the_ends_are_known() {
        assert_eq!(kind(std::iter::empty()).quantile_ns(0.5), 0);
        assert_eq!([0.5, 0.99].map(|share| kind([1234].into_iter()).quantile_ns(share)), [1234; 2]);
        assert_eq!(kind([5, 300_000_000_000].into_iter()).quantile_ns(0.99), 300_000_000_000);
        assert_eq!(kind([100, 100, 101].into_iter()).quantile_ns(0.99), 101, "never above the longest");
    }
}
