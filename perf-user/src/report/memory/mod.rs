//! Memory: which processes have how much and whether it grows, who touched it first, and how near the limits are.

mod limits;
#[cfg(test)]
mod tests;
mod text;
mod trend;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use perf_ebpf::counters::Counter;
use serde::Serialize;

use super::{
    PlaceReport, ReportOptions, SeriesReport, ThreadReport, WaitReport,
    places::{Places, places},
    series,
};
use crate::{
    collect::EventKind,
    host::memory_use::{MappingUse, MemoryUse},
    profile::{Accounting, Mappings, Memory, OTHER_MAPPINGS, ProcessMemory, Profile, Series},
    symbolize::HUGE_PAGES,
};
pub use limits::{LimitedReport, PressureReport};
pub use trend::{Class, Trend};

/// How memory was looked at.
const GROWTH: &str = "growth";

/// Memory: of processes, of the functions that touched it first, and its limits. Sizes are bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryReport {
    /// How it was looked at: `growth`, which is by page faults and by what the kernel counts.
    pub mode: &'static str,
    /// Processes, those that grew most first.
    pub processes: Vec<ProcessMemoryReport>,
    /// How many more there are.
    pub processes_omitted: usize,
    /// What changed between the first and the last look at mappings, the largest changes first.
    pub mappings: Vec<MappingReport>,
    /// How many more there are.
    pub mappings_omitted: usize,
    /// What was touched for the first time, and what became of that account.
    pub accounting: Accounting,
    /// The bytes of that which this report is about.
    pub touched_bytes: u64,
    /// Between which values these are with a probability of 95 %: they are an estimate from the faults that were looked at.
    pub touched_interval: [u64; 2],
    /// Huge pages that came to be in the mappings, in bytes, if none is among the faults that were looked at: they are few, and seldom
    /// chosen, or the kernel put them together later.
    pub huge_missed_bytes: u64,
    /// Page faults that needed no disk, by the kernel's count.
    pub faults: u64,
    /// Of those, the ones that were looked at, and stand for all.
    pub faults_sampled: u64,
    /// What was touched, by kind.
    pub kinds: Vec<WaitReport>,
    /// Who touched it, the most first.
    pub places: Vec<TouchReport>,
    /// How many more there are.
    pub places_omitted: usize,
    /// By thread; `samples` are bytes.
    pub threads: Vec<ThreadReport>,
    /// How many more there are.
    pub threads_omitted: usize,
    /// What limits memory, the nearest first.
    pub limits: Vec<LimitedReport>,
    /// How many more there are.
    pub limits_omitted: usize,
    /// Who waited for memory, on the machine and in control groups with a limit.
    pub pressure: Vec<PressureReport>,
}

/// The memory of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProcessMemoryReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// In memory at last.
    pub resident_bytes: u64,
    /// Of that, its own pages.
    pub anonymous_bytes: u64,
    /// Pages of files.
    pub file_bytes: u64,
    /// Pages of shared memory.
    pub shared_bytes: u64,
    /// Swapped out.
    pub swapped_bytes: u64,
    /// What it does not share with files (its own, shared and swapped pages): the most at any time.
    pub peak_bytes: u64,
    /// How much more of that it has than at first.
    pub change_bytes: i64,
    /// Whether that grows.
    #[serde(flatten)]
    pub trend: Trend,
}

/// Mappings of one name, in a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MappingReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The name: a path, `[heap]`, `[anonymous memory]`.
    pub name: String,
    /// In memory or swapped out when they were looked at first.
    pub first_bytes: u64,
    /// And last.
    pub last_bytes: u64,
    /// In huge pages, last.
    pub huge_bytes: u64,
}

impl MappingReport {
    /// How much more or less it is at last.
    #[must_use]
    pub fn change(&self) -> u64 {
        self.last_bytes.abs_diff(self.first_bytes)
    }
}

/// A function of the program that touched memory first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TouchReport {
    /// The innermost function of the program's own, what that called, the kind of memory (`why`), and the bytes (`value`).
    #[serde(flatten)]
    pub place: PlaceReport,
    /// Between which values the bytes are with a probability of 95 %: they are an estimate from the faults that were looked at.
    pub interval: [u64; 2],
}

impl TouchReport {
    /// Half of the interval.
    #[must_use]
    pub fn half(&self) -> u64 {
        self.interval[1].saturating_sub(self.interval[0]) / 2
    }
}

/// Of the memory of a profile; `None` if it has none recorded.
pub(super) fn memory(profile: &Profile, options: &ReportOptions, known: &mut Places) -> Option<MemoryReport> {
    let of = profile.memory.as_ref()?;
    let mut report = MemoryReport { mode: GROWTH, ..MemoryReport::default() };
    report.processes = processes(of);
    report.mappings = mappings(of);
    report.limits = limits::limits(of, &report.processes);
    report.pressure = limits::pressure(of);
    if let Some(series) = profile.series(EventKind::Memory.name()) {
        touched(profile, series, known, &mut report);
    }
    if !report.kinds.iter().any(|kind| kind.why.ends_with(HUGE_PAGES)) {
        report.huge_missed_bytes = huge_came(of);
    }
    let most = options.top.unwrap_or(usize::MAX);
    report.limits_omitted = series::cut(&mut report.limits, most);
    report.processes_omitted = series::cut(&mut report.processes, most);
    report.mappings_omitted = series::cut(&mut report.mappings, most);
    report.places_omitted = series::cut(&mut report.places, most);
    report.threads_omitted = series::cut(&mut report.threads, most);
    Some(report)
}

fn processes(of: &Memory) -> Vec<ProcessMemoryReport> {
    let of_process = |(tgid, process): (&u32, &ProcessMemory)| {
        let own = process.points.iter().map(|(at_ns, told)| (*at_ns, told.own()));
        let own: Vec<(u64, u64)> = own.collect();
        let ((_, first), (_, last)) = (own.first()?, own.last()?);
        let (_, MemoryUse { anonymous, file, shared, swapped }) = *process.points.last()?;
        // A command that ended before it was asked.
        if process.points.len() == 1 && process.points[0].1 == MemoryUse::default() {
            return None;
        }
        Some(ProcessMemoryReport {
            tgid: *tgid,
            process: process.process.clone(),
            resident_bytes: anonymous.saturating_add(file).saturating_add(shared),
            anonymous_bytes: anonymous,
            file_bytes: file,
            shared_bytes: shared,
            swapped_bytes: swapped,
            peak_bytes: own.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0),
            change_bytes: last.cast_signed().saturating_sub(first.cast_signed()),
            trend: trend::trend(&own),
        })
    };
    let mut processes: Vec<ProcessMemoryReport> = of.processes.iter().filter_map(of_process).collect();
    processes.sort_by_key(|row| {
        let is_growing = row.trend.class == Class::Growing;
        (Reverse(is_growing), Reverse(row.change_bytes.unsigned_abs()), Reverse(row.resident_bytes), row.tgid)
    });
    processes
}

/// What came to be in huge pages between the looks at mappings.
fn huge_came(of: &Memory) -> u64 {
    let sum = |mappings: &Mappings| mappings.sums.values().fold(0, |sum: u64, told| sum.saturating_add(told.huge));
    let came = of.processes.values().filter_map(|process| {
        let [first, last] = &process.mappings;
        Some(sum(last.as_ref()?).saturating_sub(sum(first.as_ref()?)))
    });
    came.fold(0, u64::saturating_add)
}

/// What lay in mappings at both looks.
fn mappings(of: &Memory) -> Vec<MappingReport> {
    let mut rows = Vec::new();
    for (tgid, process) in &of.processes {
        let [Some(first), last] = &process.mappings else { continue };
        let last = last.as_ref().unwrap_or(first);
        let names: BTreeSet<&String> = first.sums.keys().chain(last.sums.keys()).collect();
        let size = |told: Option<&MappingUse>| told.map_or(0, |told| told.resident.saturating_add(told.swapped));
        // What is not there where the smallest were put together may be among these.
        let is_told = |name: &&String| {
            [first, last].iter().all(|look| look.sums.contains_key(*name) || !look.sums.contains_key(OTHER_MAPPINGS))
        };
        rows.extend(names.into_iter().filter(is_told).map(|name| MappingReport {
            tgid: *tgid,
            process: process.process.clone(),
            name: name.clone(),
            first_bytes: size(first.sums.get(name)),
            last_bytes: size(last.sums.get(name)),
            huge_bytes: last.sums.get(name).map_or(0, |told| told.huge),
        }));
    }
    rows.sort_by(|a, b| {
        let key = |row: &MappingReport| (Reverse(row.change()), Reverse(row.last_bytes), row.tgid);
        (key(a), &a.name).cmp(&(key(b), &b.name))
    });
    rows
}

/// Who touched memory first, and what.
fn touched(profile: &Profile, series: &Series, known: &mut Places, report: &mut MemoryReport) {
    let (stacks, threads) = series::sums(series);
    let mut figures = SeriesReport::default();
    series::count_threads(profile, &threads, &mut figures);
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, value) in &stacks {
        let leaf = profile.stacks.leaf_to_root(*stack).next();
        let leaf = leaf.and_then(|id| profile.frames.get(id.0 as usize));
        *kinds.entry(leaf.map_or("memory", |leaf| profile.strings.get(leaf.function))).or_default() += value;
    }
    let counter = |counter: Counter| series.counters.get(counter.name()).copied().unwrap_or(0);
    report.accounting = series.accounting.clone();
    report.touched_bytes = series.total();
    (report.faults, report.faults_sampled) = (counter(Counter::MemoryFaults), counter(Counter::MemorySamples));
    report.kinds = kinds.into_iter().map(|(why, value)| WaitReport { why: why.to_owned(), value }).collect();
    report.kinds.sort_by(|a, b| (Reverse(a.value), &a.why).cmp(&(Reverse(b.value), &b.why)));
    let is_huge = |why: &str| why.ends_with(HUGE_PAGES);
    let huge: u64 = report.kinds.iter().filter(|kind| is_huge(&kind.why)).map(|kind| kind.value).sum();
    let small = report.touched_bytes.saturating_sub(huge);
    // What is known of all samples is taken to hold of those that this report is about.
    let share = report.touched_bytes as f64 / series.accounting.reported.max(1) as f64;
    let variance = |of: Counter, page: f64| counter(of) as f64 * share * page * page;
    let of_small = Sampled { bytes: small, variance: variance(Counter::MemorySquares, SMALL_PAGE) };
    let of_huge = Sampled { bytes: huge, variance: variance(Counter::MemoryHugeSquares, HUGE_PAGE) };
    let all = Sampled { bytes: report.touched_bytes, variance: of_small.variance + of_huge.variance };
    report.touched_interval = all.interval(report.touched_bytes);
    report.places = places(profile, &stacks, known)
        .into_iter()
        .map(|place| {
            let of = if is_huge(&place.why) { &of_huge } else { &of_small };
            TouchReport { interval: of.interval(place.value), place }
        })
        .collect();
    report.threads = figures.threads;
}

/// Bytes that samples stand for, and the sum of the squares of what each stands for: the variance of that sum.
struct Sampled {
    bytes: u64,
    variance: f64,
}

impl Sampled {
    /// Between which values a part of the bytes is, with a probability of 95 %, if it has its share of the samples: their number is
    /// counted as Poisson's, by its score (as E. B. Wilson's), which holds for few, too.
    fn interval(&self, part: u64) -> [u64; 2] {
        if self.bytes == 0 || self.variance <= 0.0 {
            return [part; 2];
        }
        // As many samples of one size have this variance.
        let size = self.variance / self.bytes as f64;
        let count = part as f64 / size;
        let (middle, half) = (count + WITHIN * WITHIN / 2.0, WITHIN * (count + WITHIN * WITHIN / 4.0).sqrt());
        [middle - half, middle + half].map(|count| (count * size).max(0.0) as u64)
    }
}

/// The standard deviations of an interval of 95 %.
const WITHIN: f64 = 1.96;
/// The bytes of most machines' smallest pages, and of what is huge beside them.
const SMALL_PAGE: f64 = 4_096.0;
const HUGE_PAGE: f64 = 2_097_152.0;
