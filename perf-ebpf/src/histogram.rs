//! Histograms of lengths: four buckets for each doubling, so that the middle of a bucket is within an eighth of all it holds.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How often something happened, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Lengths {
    /// How often.
    pub count: u64,
    /// In all.
    pub total_ns: u64,
    /// At most.
    pub max_ns: u64,
    /// How often for how long: see [`bucket`].
    pub buckets: [u32; BUCKETS],
}

impl Lengths {
    /// Nothing yet.
    pub const NONE: Self = Self { count: 0, total_ns: 0, max_ns: 0, buckets: [0; BUCKETS] };
}

/// How many buckets there are.
pub const BUCKETS: usize = 128;

/// Lengths below 2 to this power are in the first bucket.
const FIRST_POWER: u32 = 5;

/// The bucket of a length in nanoseconds. The last one holds all that took two minutes or more.
#[inline(always)]
#[must_use]
pub const fn bucket(ns: u64) -> usize {
    let ns = if ns < 1 << FIRST_POWER { 1 << FIRST_POWER } else { ns };
    let power = 63 - ns.leading_zeros();
    let quarter = ns >> (power - 2) & 3;
    let bucket = (power - FIRST_POWER) as usize * 4 + quarter as usize;
    if bucket < BUCKETS { bucket } else { BUCKETS - 1 }
}

/// The shortest length in a bucket, and the shortest in the next.
#[must_use]
pub const fn bucket_limits(bucket: usize) -> [u64; 2] {
    const fn lowest(bucket: usize) -> u64 {
        (4 + bucket as u64 % 4) << (FIRST_POWER as usize + bucket / 4 - 2)
    }
    [if bucket == 0 { 0 } else { lowest(bucket) }, lowest(bucket + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_hold_what_is_put_into_them() {
        for at in 0..BUCKETS {
            let [low, high] = bucket_limits(at);
            assert_eq!([bucket(low), bucket(high - 1)], [at, at], "{low}..{high}");
            assert!(at == BUCKETS - 1 || bucket(high) == at + 1, "{high}");
        }
        assert_eq!([bucket(0), bucket(u64::MAX)], [0, BUCKETS - 1]);
        assert!(bucket_limits(BUCKETS - 1)[1] > 120 * 1_000_000_000);
    }

    #[test]
    fn the_middle_of_a_bucket_is_within_an_eighth_of_all_that_it_holds() {
        for at in 1..BUCKETS {
            let [low, high] = bucket_limits(at).map(|ns| ns as f64);
            // Squared, as there is no root without the standard library: (middle / low)^2 = high / low.
            assert!(high / low <= 1.12 * 1.12, "{low}..{high}");
        }
    }
}
