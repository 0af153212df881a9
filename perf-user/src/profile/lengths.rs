//! How long things took that are not kept one by one.

use perf_ebpf::histogram::{self, BUCKETS, bucket_limits};

/// How often something happened, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// How often.
    pub count: u64,
    /// In all.
    pub total_ns: u64,
    /// At most.
    pub max_ns: u64,
    /// How often for how long: [`perf_ebpf::histogram::bucket`].
    pub buckets: [u64; BUCKETS],
}

impl Default for Lengths {
    fn default() -> Self {
        Self { count: 0, total_ns: 0, max_ns: 0, buckets: [0; BUCKETS] }
    }
}

impl From<&histogram::Lengths> for Lengths {
    fn from(kernel: &histogram::Lengths) -> Self {
        let histogram::Lengths { count, total_ns, max_ns, buckets } = *kernel;
        Self { count, total_ns, max_ns, buckets: buckets.map(u64::from) }
    }
}

impl Lengths {
    /// Adds what another counts.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum = sum.saturating_add(count);
        }
    }

    /// The length that this share of them does not exceed, within 12 %: the geometric middle of its bucket.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let all = self.buckets.iter().fold(0_u64, |all, count| all.saturating_add(*count));
        let rank = ((all as f64 * share).ceil() as u64).clamp(1, all.max(1));
        let mut seen = 0_u64;
        let found = self.buckets.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        let Some(bucket) = found else { return 0 };
        let [low, high] = bucket_limits(bucket).map(|ns| ns as f64);
        let middle = if bucket == 0 { high / 2.0 } else { (low * high).sqrt() } as u64;
        // The last bucket has no end; and of the longest one the length is known.
        if bucket == BUCKETS - 1 || seen - self.buckets[bucket] + 1 == all {
            self.max_ns
        } else {
            middle.min(self.max_ns)
        }
    }
}

#[cfg(test)]
mod tests {
    use perf_ebpf::histogram::bucket;

    use super::*;

    fn of(lengths: impl Iterator<Item = u64>) -> Lengths {
        let mut sum = Lengths::default();
        for ns in lengths {
            sum.count += 1;
            sum.total_ns += ns;
            sum.max_ns = sum.max_ns.max(ns);
            sum.buckets[bucket(ns)] += 1;
        }
        sum
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        for scale in [1, 7, 130, 9_999] {
            let sum = of((1..=10_000).map(|at| at * scale));
            for share in [0.5, 0.9, 0.99] {
                let (found, known) = (sum.quantile_ns(share) as f64, 10_000.0 * share * scale as f64);
                assert!((found / known - 1.0).abs() <= 0.12, "{share}: {found}, not {known}");
            }
        }
    }

    #[test]
    fn the_ends_are_known() {
        assert_eq!(of(std::iter::empty()).quantile_ns(0.5), 0);
        assert_eq!([0.5, 0.99].map(|share| of([1234].into_iter()).quantile_ns(share)), [1234; 2]);
        assert_eq!(of([5, 300_000_000_000].into_iter()).quantile_ns(0.99), 300_000_000_000);
        assert_eq!(of([100, 100, 101].into_iter()).quantile_ns(0.99), 101, "never above the longest");
    }

    #[test]
    fn sums_count_all() {
        let mut sum = of([10].into_iter());
        sum.add(&of([1_000_000, 1_000_000].into_iter()));
        assert_eq!((sum.count, sum.total_ns, sum.max_ns), (3, 2_000_010, 1_000_000));
        assert_eq!(sum.buckets.iter().sum::<u64>(), 3);
    }
}
