//! Waits for the kernel's own locks: for which, for how long, and where.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt::{self, Formatter},
};

use serde::Serialize;

use super::{
    LengthsReport, PlaceReport, ReportOptions, SeriesReport, ThreadReport,
    human::{duration, line, shorten, shorten_function, thousands},
    places::{Places, places},
    series,
    text::{labelled, write_account, write_by_process, write_more},
};
use crate::{
    collect::EventKind,
    profile::{Accounting, FrameKind, Profile, StackId},
};

/// Waits for locks of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KernelLocksReport {
    /// What became of all waits that ended, of all threads.
    pub accounting: Accounting,
    /// By process and lock, the longest time in all first. Empty if the report is of one thread.
    pub locks: Vec<KernelLockReport>,
    /// How many more there are.
    pub locks_omitted: usize,
    /// Where threads waited, the longest time first: an estimate, from all waits of 100 us or longer and of shorter ones some by
    /// chance.
    pub places: Vec<KernelPlaceReport>,
    /// How many more there are.
    pub places_omitted: usize,
    /// By thread, `samples` being nanoseconds: an estimate as the places are.
    pub threads: Vec<ThreadReport>,
    /// How many more there are.
    pub threads_omitted: usize,
}

/// A process's waits for one lock, or for all of one kind that have no names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KernelLockReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// Its kind, and how it was asked for, behind its name if it has one: `mmap_lock, reading`, `tasklist_lock (rwlock, writing)`.
    pub lock: String,
    /// How many.
    pub waits: u64,
    /// For how long: percentiles within 12 %.
    #[serde(flatten)]
    pub lengths: LengthsReport,
}

/// Where threads waited for a lock of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KernelPlaceReport {
    /// The function of the kernel that took it; empty if none is known.
    pub kernel: String,
    /// The innermost function of the program's own, what that called, the kind of lock (`why`), and the time.
    #[serde(flatten)]
    pub place: PlaceReport,
}

/// Of the waits of a profile; `None` if it has none recorded.
pub(super) fn kernel_locks(
    profile: &Profile,
    options: &ReportOptions,
    known: &mut Places,
) -> Option<KernelLocksReport> {
    let of = profile.kernel_locks.as_ref()?;
    let locks = of.sums.iter().map(|((tgid, lock), sum)| KernelLockReport {
        tgid: *tgid,
        process: of.processes.get(tgid).cloned().unwrap_or_default(),
        lock: lock.clone(),
        waits: sum.count,
        lengths: LengthsReport::of(sum),
    });
    let mut locks: Vec<KernelLockReport> = locks.collect();
    locks.sort_by(|a, b| {
        let key = |row: &KernelLockReport| (Reverse(row.lengths.total_ns), row.tgid);
        (key(a), &a.lock).cmp(&(key(b), &b.lock))
    });
    let series = profile.series(EventKind::KernelLocks.name());
    let (stacks, threads) = series.map(series::sums).unwrap_or_default();
    let mut places = located(profile, &stacks, known);
    let mut figures = SeriesReport::default();
    series::count_threads(profile, &threads, &mut figures);
    let mut threads = figures.threads;
    let most = options.top.unwrap_or(usize::MAX);
    let locks_omitted = series::cut(&mut locks, most);
    let places_omitted = series::cut(&mut places, most);
    let threads_omitted = series::cut(&mut threads, most);
    Some(KernelLocksReport {
        accounting: of.accounting.clone(),
        locks,
        locks_omitted,
        places,
        places_omitted,
        threads,
        threads_omitted,
    })
}

/// The places by the kernel's function, the longest time first. What has no frame of a program has a place by that alone.
fn located(profile: &Profile, stacks: &HashMap<StackId, u64>, known: &mut Places) -> Vec<KernelPlaceReport> {
    let mut by_kernel: BTreeMap<&str, HashMap<StackId, u64>> = BTreeMap::new();
    for (stack, value) in stacks {
        let kernel = profile.locked_by(*stack).unwrap_or_default();
        by_kernel.entry(kernel).or_default().insert(*stack, *value);
    }
    let mut located = Vec::new();
    for (kernel, stacks) in by_kernel {
        let mut add = |place| located.push(KernelPlaceReport { kernel: kernel.to_owned(), place });
        let placed = places(profile, &stacks, known);
        let placed_ns: u64 = placed.iter().map(|place| place.value).sum();
        let rest_ns = stacks.values().sum::<u64>().saturating_sub(placed_ns);
        placed.into_iter().for_each(&mut add);
        if rest_ns > 0 {
            add(PlaceReport { value: rest_ns, ..PlaceReport::default() });
        }
    }
    located.sort_by(|a, b| {
        (Reverse(a.place.value), &a.kernel, &a.place).cmp(&(Reverse(b.place.value), &b.kernel, &b.place))
    });
    located
}

/// The width of the kernel's function and of the program's.
const KERNEL: usize = 26;
const PLACE: usize = 40;
/// The text leaves out locks of less than such a part of the time: whoever starts a program waits some nanoseconds for one.
const NOTABLE: u64 = 1_000;
/// Threads that the text tells.
const THREADS: usize = 2;
/// Of the kind of a lock, which ends lines.
const KIND: usize = 21;

impl KernelLocksReport {
    /// As text of 100 columns.
    pub(super) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_account(f, ("Kernel", "waits for locks"), &self.accounting, &BTreeMap::new(), &[])?;
        if self.locks.is_empty() && self.accounting.reported > 0 {
            labelled(f, "", "these are of all threads; which of them waited is told by place only")?;
        }
        if !self.locks.is_empty() {
            writeln!(f, "\n     time     waits     p50     p99     max  lock of the kernel")?;
            let total: u64 = self.locks.iter().map(|row| row.lengths.total_ns).sum();
            let notable = self.locks.iter().filter(|row| row.lengths.total_ns > total / NOTABLE);
            let notable: Vec<&KernelLockReport> = notable.collect();
            write_by_process(f, &notable, |row| (row.tgid, &row.process), |f, row| row.write(f))?;
            write_more(f, self.locks.len() - notable.len() + self.locks_omitted, "locks")?;
        }
        if !self.places.is_empty() {
            writeln!(f, "\n     time  {:<KERNEL$} {:<PLACE$} kind", "taken in", "for (what it called there)")?;
            self.places.iter().try_for_each(|place| place.write(f))?;
            write_more(f, self.places_omitted, "places")?;
        }
        if self.threads.len() > 1 {
            let told = self.threads.iter().take(THREADS).map(|thread| {
                format!("{} ({}) {}", shorten(&line(&thread.comm), 16), thread.tid, duration(thread.samples))
            });
            let told: Vec<String> = told.collect();
            let more = self.threads.len() - told.len() + self.threads_omitted;
            let more = if more > 0 { format!(", and {} more", thousands(more as u64)) } else { String::new() };
            writeln!(f)?;
            labelled(f, "by thread", &(told.join(", ") + &more))?;
        }
        Ok(())
    }
}

impl KernelLockReport {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>9} {:>9} {:>7} {:>7} {:>7}  {}",
            duration(self.lengths.total_ns),
            thousands(self.waits),
            duration(self.lengths.p50_ns),
            duration(self.lengths.p99_ns),
            duration(self.lengths.max_ns),
            shorten(&line(&self.lock), 55),
        )
    }
}

impl KernelPlaceReport {
    /// The program's function, and what that called; empty if none is known.
    #[must_use]
    pub fn label(&self) -> String {
        if self.place.function.is_empty() { String::new() } else { self.place.label() }
    }

    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kernel = shorten_function(&line(&self.kernel), FrameKind::Kernel, KERNEL);
        let label = shorten_function(&line(&self.label()), FrameKind::User, PLACE);
        let (time, kind) = (duration(self.place.value), shorten(&self.place.why, KIND));
        let row = format!("{time:>9}  {kernel:<KERNEL$} {label:<PLACE$} {kind}");
        writeln!(f, "{}", row.trim_end())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use perf_ebpf::histogram::bucket;

    use super::{
        super::{ReportOptions, fixture::Builder, report},
        *,
    };
    use crate::{
        collect::NANOSECONDS,
        profile::{KernelLocks, Lengths},
    };

    #[test]
    fn a_lock_is_told_by_who_took_it_in_the_kernel_and_for_which_function() {
        let main = (7, 7, "server");
        let slow = ["do_syscall_64_[k]", "__vm_munmap_[k]", "down_write_killable_[k]", "rwsem_down_write_slowpath_[k]"];
        let stack = |outer: &[&'static str], leaf: &'static str| [outer, &slow, &[leaf]].concat();
        let mut profile = Builder::new()
            .sample(main, &stack(&["main", "shrink"], "mmap_lock, writing_[w]"), 700)
            .sample(main, &["do_exit_[k]", "_raw_spin_lock_[k]", "spinlock_[w]"], 200)
            .build();
        let series = &mut profile.series[0];
        (series.event, series.unit, series.period_ns) = ("kernel-locks".into(), NANOSECONDS.into(), 1);
        let mut lengths = Lengths { count: 2, total_ns: 700, max_ns: 600, ..Lengths::default() };
        [100, 600].into_iter().for_each(|ns| lengths.buckets[bucket(ns)] += 1);
        profile.kernel_locks = Some(KernelLocks {
            accounting: Accounting { taken: 2, reported: 2, ..Accounting::default() },
            sums: BTreeMap::from([((7, "mmap_lock, writing".into()), lengths)]),
            processes: BTreeMap::from([(7, "server".into())]),
        });
        let report = report(&profile, &ReportOptions { top: Some(5) });
        let locks = report.kernel_locks.as_ref().unwrap();
        let told: Vec<_> = locks.places.iter().map(|place| (place.kernel.as_str(), place.label())).collect();
        assert_eq!(told, [("__vm_munmap", "shrink".to_owned()), ("do_exit", String::new())]);
        assert_eq!((locks.places[0].place.value, locks.places[1].place.value), (700, 200));
        let text = report.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("600 ns  mmap_lock, writing"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["kernel_locks"]["places"][0]["why"], "mmap_lock, writing");
        assert_eq!(json["kernel_locks"]["locks"][0]["waits"], 2);
    }
}
