//! Whether a quantity grows: a verdict on its floor, with error bars.
//!
//! What a program uses goes up and down; what it never gives back is what it falls to between its peaks. So the judged points are the
//! least ones of equal spans. Whether these rise is tested by Mann and Kendall's test, and how fast by Theil and Sen's slope with its
//! interval (P. K. Sen, 1968, doi:10.1080/01621459.1968.10480934; R. O. Gilbert, Statistical Methods for Environmental Pollution
//! Monitoring, 1987, chapters 16 and 17), neither of which outliers move.

use serde::Serialize;

/// What is said of a quantity over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It rises in each of three spans: a leak, or a cache that is not full yet.
    Growing,
    /// It rose at first, and then no more.
    StartUp,
    /// It does neither rise nor fall, but for peaks.
    Steady,
    /// It falls.
    Shrinking,
    /// There are too few points, or too much else happens.
    #[default]
    TooShort,
}

impl Class {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Growing => "growing",
            Self::StartUp => "start-up",
            Self::Steady => "steady",
            Self::Shrinking => "shrinking",
            Self::TooShort => "too short to say",
        }
    }
}

/// A verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Trend {
    /// What it does.
    pub class: Class,
    /// Bytes a second, of the last two thirds of what is judged; 0 if there is no verdict.
    pub bytes_per_second: f64,
    /// Between which values that lies with a probability of 95 %, as far as points are independent.
    pub interval: [f64; 2],
    /// For how long it takes to be recorded for a verdict, about; only where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs_ns: Option<u64>,
}

/// Of the points, the last part of this size is not judged: what is in use at the end is not lost.
const TAIL: usize = 10;
/// Floors, at least: each of three spans has to have some.
const FLOORS: usize = 12;
/// And at most: the test looks at all pairs.
const MOST_FLOORS: usize = 48;
/// Points that make a floor, as far as there are so many.
const OF_FLOOR: usize = 4;
/// What is less than this part of the quantity is no change, as its reciprocal.
const NOTABLE: f64 = 200.0;
/// Nor what is less than so many bytes.
const LEAST_BYTES: f64 = 262_144.0;
/// By so many standard deviations the test's sum is no chance: 1 of 100.
const SURE: f64 = 2.576;
/// The standard deviations of an interval of 95 %.
const WITHIN: f64 = 1.96;

/// The verdict on points: when, in nanoseconds, and how much, in bytes; one behind another.
#[must_use]
pub(super) fn trend(points: &[(u64, u64)]) -> Trend {
    let judged = &points[..points.len() - points.len() / TAIL];
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Trend::default() };
    let lasted_ns = last.0.saturating_sub(first.0);
    if judged.len() < FLOORS {
        let all = FLOORS + FLOORS / (TAIL - 1) + 1;
        let step_ns = lasted_ns / (points.len() as u64 - 1).max(1);
        let needs_ns = (step_ns.max(1_000_000_000)).saturating_mul(all as u64);
        return Trend { needs_ns: Some(needs_ns), ..Trend::default() };
    }
    let floors = floors(judged);
    if floors.len() < FLOORS * 3 / 4 {
        // Most of the time nothing was asked.
        return Trend { needs_ns: Some(lasted_ns.saturating_mul(2)), ..Trend::default() };
    }
    let third = floors.len() / 3;
    let lowest = |part: &[(f64, f64)]| part.iter().map(|(_, bytes)| *bytes).fold(f64::INFINITY, f64::min);
    let spans = [lowest(&floors[..third]), lowest(&floors[third..2 * third]), lowest(&floors[2 * third..])];
    let [early, late] = [spans[1] - spans[0], spans[2] - spans[1]];
    let level = floors[floors.len() / 2].1;
    let least = LEAST_BYTES.max(level / NOTABLE);
    // How it goes on is what the later part says.
    let later = &floors[third..];
    let (slopes, (sum, deviation)) = (Slopes::of(later), mann_kendall(later));
    let slope = slopes.median();
    let deviation = deviation * likeness(later, slope);
    let interval = slopes.interval(deviation);
    let score = if deviation > 0.0 { (sum - sum.signum()) / deviation } else { 0.0 };
    let moved = slope * (later[later.len() - 1].0 - later[0].0);
    let verdict = |class| Trend { class, bytes_per_second: slope, interval, needs_ns: None };
    let [is_early, is_late] = [early, late].map(|rise| rise > least / 4.0);
    let rises = score > SURE && interval[0] > 0.0 && moved > least / 2.0;
    let is_start = early > least.max(SURE * unrest(later));
    let (middle, end) = (Slopes::of(&floors[third..2 * third]).median(), &floors[2 * third..]);
    let [_, at_most] = Slopes::of(end).interval(mann_kendall(end).1);
    // What fills up rises ever more slowly.
    let slows_down = middle > 0.0 && at_most < middle / 2.0 && late < early / 4.0;
    let highest = |part: &[(f64, f64)]| part.iter().map(|(_, bytes)| *bytes).fold(f64::NEG_INFINITY, f64::max);
    let begins = later[later.len() - 1].1 > highest(&floors[..2 * third]) + least;
    match () {
        () if rises && is_early && is_late && early + late > least && !slows_down => verdict(Class::Growing),
        () if is_start && slows_down => verdict(Class::StartUp),
        // It began to grow of late: whether it goes on, as much time again will show.
        () if (rises && is_late) || (begins && !rises) => {
            Trend { needs_ns: Some(lasted_ns.saturating_mul(2)), ..Trend::default() }
        }
        () if score < -SURE && moved < -least / 2.0 => verdict(Class::Shrinking),
        () if !rises && score > 1.0 && moved > least / 4.0 => {
            // The score of a line among noise grows with the power 3/2 of the time.
            let longer = (SURE / score).max(1.3).powf(2.0 / 3.0) * 1.2;
            Trend { needs_ns: Some((lasted_ns as f64 * longer) as u64), ..Trend::default() }
        }
        () if is_start && late < early / 4.0 => verdict(Class::StartUp),
        () => verdict(Class::Steady),
    }
}

/// By how much the deviation is larger than that of points which have nothing to do with one another: after K. H. Hamed and A. R. Rao
/// (1998, doi:10.1016/S0022-1694(97)00125-X), by what neighbours have in common beside the trend.
fn likeness(points: &[(f64, f64)], slope: f64) -> f64 {
    let rest: Vec<f64> = points.iter().map(|(seconds, bytes)| bytes - slope * seconds).collect();
    let mean = rest.iter().sum::<f64>() / rest.len() as f64;
    let all: f64 = rest.iter().map(|one| (one - mean).powi(2)).sum();
    let neighbours: f64 = rest.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let common = if all > 0.0 { (neighbours / all).clamp(0.0, 0.9) } else { 0.0 };
    ((1.0 + common) / (1.0 - common)).sqrt()
}

/// By how much neighbours differ: the median.
fn unrest(points: &[(f64, f64)]) -> f64 {
    let mut steps: Vec<f64> = points.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs()).collect();
    steps.sort_by(f64::total_cmp);
    steps.get(steps.len() / 2).copied().unwrap_or(0.0)
}

/// The least point of each of some equal spans of time, of those that have points: seconds and bytes.
fn floors(points: &[(u64, u64)]) -> Vec<(f64, f64)> {
    let count = (points.len() / OF_FLOOR).clamp(FLOORS, MOST_FLOORS).min(points.len());
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return Vec::new() };
    let lasted = u128::from(last.saturating_sub(*first)) + 1;
    let span = |ns: u64| u128::from(ns.saturating_sub(*first)) * count as u128 / lasted;
    let spans = points.chunk_by(|(a, _), (b, _)| span(*a) == span(*b));
    let least = spans.filter_map(|span| span.iter().min_by_key(|(_, bytes)| *bytes));
    least.map(|(ns, bytes)| (*ns as f64 / 1e9, *bytes as f64)).collect()
}

/// The sum of the signs of all later points' differences from earlier ones, and its standard deviation if there is no trend, with
/// ties counted.
fn mann_kendall(points: &[(f64, f64)]) -> (f64, f64) {
    let mut sum = 0.0;
    for (at, (_, earlier)) in points.iter().enumerate() {
        for (_, later) in &points[at + 1..] {
            sum += if later > earlier { 1.0 } else { -f64::from(u8::from(later < earlier)) };
        }
    }
    let mut values: Vec<f64> = points.iter().map(|(_, bytes)| *bytes).collect();
    values.sort_by(f64::total_cmp);
    let of = |count: f64| count * (count - 1.0) * (2.0 * count + 5.0);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|tied| of(tied.len() as f64)).sum();
    (sum, ((of(points.len() as f64) - ties) / 18.0).max(0.0).sqrt())
}

/// The slopes of all pairs of points, sorted.
struct Slopes(Vec<f64>);

impl Slopes {
    fn of(points: &[(f64, f64)]) -> Self {
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        for (at, (earlier, before)) in points.iter().enumerate() {
            let later = points[at + 1..].iter().filter(|(seconds, _)| seconds > earlier);
            slopes.extend(later.map(|(seconds, bytes)| (bytes - before) / (seconds - earlier)));
        }
        slopes.sort_by(f64::total_cmp);
        Self(slopes)
    }

    fn at(&self, rank: f64) -> f64 {
        self.0.get((rank.max(0.0) as usize).min(self.0.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    fn median(&self) -> f64 {
        self.at((self.0.len() as f64 - 1.0) / 2.0)
    }

    /// That of 95 %, which the deviation of Mann and Kendall's sum gives them.
    fn interval(&self, deviation: f64) -> [f64; 2] {
        let (count, half) = (self.0.len() as f64, WITHIN * deviation);
        [self.at(((count - half) / 2.0).floor() - 1.0), self.at(((count + half) / 2.0).ceil())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MIB: f64 = 1_048_576.0;

    /// A sequence that looks random, and is the same each time.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
        }
    }

    fn points(seconds: u64, mut bytes: impl FnMut(f64) -> f64) -> Vec<(u64, u64)> {
        (0..seconds).map(|second| (second * SECOND, bytes(second as f64) as u64)).collect()
    }

    #[test]
    fn a_leak_under_churn_is_told_with_its_rate() {
        let mut chance = Chance(7);
        let told = trend(&points(120, |second| 100.0 * MIB + second * 0.5 * MIB + chance.next() * 40.0 * MIB));
        assert_eq!(told.class, Class::Growing, "{told:?}");
        assert!(told.interval[0] <= 0.5 * MIB && 0.5 * MIB <= told.interval[1], "{told:?}");
        let clean = trend(&points(30, |second| 10.0 * MIB + second * MIB));
        assert_eq!(clean.class, Class::Growing);
        assert!((clean.bytes_per_second - MIB).abs() < 1.0, "{clean:?}");
    }

    #[test]
    fn what_fills_and_then_holds_is_no_leak() {
        let mut chance = Chance(3);
        let start = trend(&points(60, |second| (second * 20.0).min(200.0) * MIB));
        assert_eq!(start.class, Class::StartUp, "{start:?}");
        let cache = trend(&points(300, |second| (1.0 - (-second / 20.0).exp()) * 500.0 * MIB + chance.next() * MIB));
        assert_ne!(cache.class, Class::Growing, "{cache:?}");
        let steady = trend(&points(60, |_| 300.0 * MIB + chance.next() * 30.0 * MIB));
        assert_eq!(steady.class, Class::Steady, "{steady:?}");
        let saw = trend(&points(100, |second| 100.0 * MIB + (second % 25.0) * 4.0 * MIB));
        assert_ne!(saw.class, Class::Growing, "{saw:?}");
        assert_eq!(trend(&points(60, |second| (500.0 - second) * MIB)).class, Class::Shrinking);
    }

    #[test]
    fn too_little_is_said_to_be_too_little() {
        assert_eq!(trend(&[]), Trend::default());
        let short = trend(&points(5, |second| second * MIB));
        assert_eq!((short.class, short.needs_ns), (Class::TooShort, Some(14 * SECOND)));
        let late = trend(&points(60, |second| 100.0 * MIB + (second - 45.0).max(0.0) * MIB));
        assert_eq!((late.class, late.needs_ns), (Class::TooShort, Some(118 * SECOND)), "{late:?}");
    }

    /// Simulated hours: leaks of 2 % an hour and more are found, and none that is none is told.
    #[test]
    fn most_leaks_are_found_and_few_false_ones() {
        let (mut found, mut false_ones, mut tried) = (0, 0, 0);
        for seed in 0..60 {
            let mut chance = Chance(seed * 977 + 5);
            let heap = (50.0 + 2_000.0 * chance.next()) * MIB;
            let (noise, hourly) = (heap * 0.2 * chance.next(), 0.02 + 0.5 * chance.next());
            let peak = 20.0 + 100.0 * chance.next();
            let mut bytes = |second: f64, leak: f64| {
                let saw = (second % peak) / peak * noise;
                heap * (1.0 + leak * second / 3_600.0) + saw + chance.next() * noise * 0.3
            };
            let leak = points(3_600, |second| bytes(second, hourly));
            let none = points(3_600, |second| bytes(second, 0.0));
            tried += 1;
            found += u32::from(trend(&leak).class == Class::Growing);
            false_ones += u32::from(trend(&none).class == Class::Growing);
        }
        assert!(found * 100 >= tried * 95 && false_ones * 100 <= tried * 5, "{found}, {false_ones} of {tried}");
    }
}
