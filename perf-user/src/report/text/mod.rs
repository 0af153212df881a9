//! The report as text, for one screen of 100 columns.

mod quality;
mod tables;
mod threads;

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use perf_ebpf::counters::Counter;

use super::human::{bytes, counted, duration, line, percent, shorten, thousands, utc};
use super::warnings::reason;
use super::{MemoryReport, Report, SeriesReport, places};
use crate::{
    collect::{BYTES, EventKind, NANOSECONDS},
    profile::Accounting,
};

/// The event whose time is that in system calls.
const CALLS: &str = EventKind::Syscalls.name();

/// The event whose time is that of requests to disks.
const IO: &str = EventKind::Io.name();

/// The event whose time is that in calls on files and sockets.
const FILES: &str = EventKind::Files.name();
/// The event whose time is that in page faults.
const FAULTS: &str = EventKind::Faults.name();

/// The width of the names that start lines.
pub(super) const LABEL: usize = 11;
/// The width of function names.
const NAME: usize = 46;
/// The width of module names, which end lines.
const MODULE: usize = 17;
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let recording = &self.recording;
        writeln!(f, "{}", shorten(&recording.target_label, 100))?;
        writeln!(f, "{}", line(&self.header()))?;
        if let Some(limit) = &self.limit {
            for (at, told) in limit.told().iter().enumerate() {
                labelled(f, if at == 0 { "Limit" } else { "" }, &shorten(told, 100 - LABEL))?;
            }
        }
        if let Some(growth) = self.memory.as_ref().and_then(MemoryReport::told_growth) {
            labelled(f, "Grows", &shorten(&growth, 100 - LABEL))?;
        }
        self.locks.iter().try_for_each(|locks| locks.write_deadlocks(f))?;
        for warning in &self.warnings {
            labelled(f, "WARNING", warning)?;
        }
        for (at, (why, hidden)) in self.hidden.iter().enumerate() {
            let threads = counted(hidden.threads, "thread");
            let text = format!("{} of {threads} in waits for `{why}`, left out as asked", duration(hidden.ns));
            labelled(f, if at == 0 { "Hidden" } else { "" }, &text)?;
        }
        for (event, series) in &self.series {
            let accounting = self.accounting.get(event).cloned().unwrap_or_default();
            writeln!(f)?;
            self.write_series(f, event, series, &accounting)?;
        }
        if !self.threads.is_empty() {
            self.write_times(f)?;
        }
        if let Some(queues) = &self.run_queue {
            queues.write(f)?;
        }
        if !self.wakes.is_empty() {
            self.write_wakes(f)?;
        }
        self.locks.iter().try_for_each(|locks| locks.write(f, self.covered_ns))?;
        self.kernel_locks.iter().try_for_each(|locks| locks.write(f))?;
        if let Some(block) = &self.block {
            block.write(f)?;
        }
        if let Some(calls) = &self.file_calls {
            calls.write(f)?;
        }
        if let Some(faults) = &self.page_faults {
            faults.write(f)?;
        }
        if let Some(calls) = &self.calls {
            calls.write(f)?;
        }
        self.memory.iter().try_for_each(|memory| memory.write(f))?;
        let has_others = self.locks.is_some() || self.kernel_locks.is_some() || self.memory.is_some();
        if self.series.is_empty() && self.threads.is_empty() && self.wakes.is_empty() && !has_others {
            writeln!(f, "\nThe recording holds no events.")?;
        }
        writeln!(f)?;
        self.write_timeline(f)?;
        for (at, line) in self.overhead_lines().iter().enumerate() {
            labelled(f, if at == 0 { "Overhead" } else { "" }, line)?;
        }
        Ok(())
    }
}

impl Report {
    /// Host, kernel, when and how long, in one line.
    #[must_use]
    pub fn header(&self) -> String {
        let recording = &self.recording;
        let cpus = counted(recording.cpus as usize, "CPU");
        format!(
            "{}, Linux {}, {cpus}, {}, {}",
            recording.host,
            recording.kernel,
            utc(recording.started_unix_ns),
            if self.covered_ns == recording.duration_ns {
                duration(recording.duration_ns)
            } else {
                format!("{} of {}", duration(self.covered_ns), duration(recording.duration_ns))
            }
        )
    }

    /// What the recording cost, in words.
    #[must_use]
    pub fn overhead_lines(&self) -> Vec<String> {
        let (overhead, elapsed) = (&self.overhead, self.recording.duration_ns);
        let of_one_cpu = |ns: u64| format!("{} = {} of one CPU", duration(ns), percent(ns, elapsed));
        let bpf = match (overhead.bpf_ns, overhead.bpf_runs) {
            (Some(ns), Some(runs)) if runs > 0 => {
                format!(
                    "BPF programs: {} runs of {} each on all CPUs, {}",
                    thousands(runs),
                    duration(ns / runs),
                    of_one_cpu(ns)
                )
            }
            (Some(_), Some(_)) => "BPF programs: never ran".into(),
            (Some(ns), None) => format!("BPF programs: {}", of_one_cpu(ns)),
            (None, Some(runs)) => format!("BPF programs: {} runs; the kernel did not time them", thousands(runs)),
            (None, None) => "BPF programs: the kernel did not time them".into(),
        };
        let mut recorder = format!(
            "recorder: {}, at most {} of memory",
            of_one_cpu(overhead.recorder_cpu_ns),
            bytes(overhead.recorder_peak_rss_bytes)
        );
        if overhead.startup_ns > 0 {
            recorder += &format!(", ready after {}", duration(overhead.startup_ns));
        }
        let timed = overhead.bpf_timed_ns.filter(|timed_ns| *timed_ns < elapsed);
        let timed = timed.map(|timed_ns| format!("  as in the {} in which the kernel timed them", duration(timed_ns)));
        [Some(bpf), timed, Some(recorder)].into_iter().flatten().collect()
    }

    fn write_series(
        &self,
        f: &mut Formatter<'_>,
        event: &str,
        series: &SeriesReport,
        accounting: &Accounting,
    ) -> fmt::Result {
        let label = match event {
            CALLS => "In calls".into(),
            IO => "In I/O".into(),
            FILES => "On files".into(),
            FAULTS => "In faults".into(),
            _ if is_time(series) => "Waits".into(),
            _ => capitalized(&series.unit),
        };
        labelled(f, &label, &(accounting_line(accounting, &series.unit) + &sampling(series)))?;
        for (cause, lost) in accounting.lost.iter().filter(|(_, lost)| **lost > 0) {
            labelled(f, "", &format!("lost {:>9}  {}", amount(*lost, &series.unit), cause.replace('_', " ")))?;
        }
        if series.is_slice(accounting) {
            let share = percent(series.selected, accounting.reported);
            let selected = amount(series.selected, &series.unit);
            labelled(f, "Slice", &format!("all below is about {selected} of them, {share} of what was reported"))?;
        }
        if let Some(ns) = series.counters.get(Counter::OffLeftOut.name()).filter(|ns| **ns > 0) {
            labelled(f, "Left out", &format!("{} of waits that --min-wait or --state does not keep", duration(*ns)))?;
        }
        if let Some(side @ ("user" | "kernel")) = self.recording.options["frames"].as_str() {
            labelled(f, "Frames", &format!("{side} frames only, as asked; self is the innermost of them"))?;
        }
        if series.selected == 0 {
            writeln!(f)?;
            let why = reason(self.covered_ns, event, &series.unit, accounting);
            // A sentence a line: two of them are wider than a screen.
            return why.split_inclusive(". ").try_for_each(|sentence| writeln!(f, "{}", line(sentence.trim_end())));
        }
        if let Some(line) = self.use_line(event, series, accounting) {
            labelled(f, "CPU use", &line)?;
        }
        if event == FILES {
            labelled(f, "", "an estimate: from all calls of 100 us or longer, and of shorter ones some by chance")?;
        } else if event == CALLS {
            let sampled = thousands(series.counters.get("calls_sampled").copied().unwrap_or(0));
            let line =
                format!("an estimate from {sampled} calls: all of 100 us or longer, of shorter ones some by chance");
            labelled(f, "", &line)?;
        } else {
            tables::write_waits(f, series)?;
        }
        if series.places.is_empty() {
            tables::write_functions(f, series)?;
        } else {
            places::write(f, event, series)?;
        }
        tables::write_processes(f, series)?;
        tables::write_threads(f, series)?;
        quality::write(f, series)
    }

    /// What the values are in seconds of CPU; `None` where they are no CPU time.
    #[must_use]
    pub fn use_line(&self, event: &str, series: &SeriesReport, accounting: &Accounting) -> Option<String> {
        if event != "cpu" || series.period_ns == 0 {
            return None;
        }
        let used = |samples: u64| samples.saturating_mul(series.period_ns);
        let (count, period) = (thousands(series.selected), duration(series.period_ns));
        let unit = if series.selected == 1 { "sample" } else { "samples" };
        let mut line = format!("{} of CPU time ({count} {unit} x {period})", duration(used(series.selected)));
        // Lost samples were CPU time as well; which of them belong to a single thread or process is not known.
        if !series.is_slice(accounting) && self.covered_ns > 0 {
            let taken = accounting.taken.max(series.selected);
            let cpus = used(taken) as f64 / self.covered_ns as f64;
            let lost = if taken > series.selected { ", counting the lost" } else { " on average" };
            line += &format!(" = {cpus:.2} of {} CPUs{lost}", self.recording.cpus);
        }
        Some(line)
    }
}

/// `taken 9,871 = reported 9,871 + lost 0`.
#[must_use]
pub fn accounting_line(accounting: &Accounting, unit: &str) -> String {
    let lost = accounting.lost_total();
    let sign = if accounting.balances() { "=" } else { "!=" };
    let (taken, reported) = (amount(accounting.taken, unit), amount(accounting.reported, unit));
    let share = if lost == 0 { String::new() } else { format!(" ({})", percent(lost, accounting.taken)) };
    format!("taken {taken} {sign} reported {reported} + lost {}{share}", amount(lost, unit))
}

/// How often and by what the samples were taken, where that is known.
fn sampling(series: &SeriesReport) -> String {
    if is_time(series) {
        return String::new();
    }
    match (series.period_ns, series.source.as_str()) {
        (0, "") => String::new(),
        (0, source) => format!("; {source}"),
        (period_ns, source) => format!("; {} Hz {source}", thousands(frequency_hz(period_ns))),
    }
}

/// The whole number of samples a second that a sampling period stands for.
#[must_use]
pub fn frequency_hz(period_ns: u64) -> u64 {
    (1_000_000_000 + period_ns / 2).checked_div(period_ns).unwrap_or(0)
}

/// A value as people read it.
#[must_use]
pub fn amount(value: u64, unit: &str) -> String {
    match unit {
        NANOSECONDS => duration(value),
        BYTES => bytes(value),
        _ => thousands(value),
    }
}

fn is_time(series: &SeriesReport) -> bool {
    series.unit == NANOSECONDS
}

/// What became of things that are counted beside the events, with what is said of counters that are no losses.
pub(super) fn write_account(
    f: &mut Formatter<'_>,
    (label, what): (&str, &str),
    accounting: &Accounting,
    counters: &BTreeMap<String, u64>,
    facts: &[(&str, &str)],
) -> fmt::Result {
    writeln!(f)?;
    labelled(f, label, &format!("{what} {}", accounting_line(accounting, what)))?;
    for (cause, lost) in accounting.lost.iter().filter(|(_, lost)| **lost > 0) {
        labelled(f, "", &format!("lost {:>9}  {}", thousands(*lost), cause.replace('_', " ")))?;
    }
    for (name, what) in facts {
        if let Some(count) = counters.get(*name).filter(|count| **count > 0) {
            labelled(f, "", &format!("{:>14}  {what}", thousands(*count)))?;
        }
    }
    Ok(())
}

/// Writes what is told of processes, each process's together, in the order of their first; under its name, if there are several.
pub(super) fn write_by_process<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    process: impl Fn(&T) -> (u32, &str),
    mut write: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    let mut processes: Vec<(u32, &str)> = Vec::new();
    for item in items {
        if !processes.iter().any(|(tgid, _)| *tgid == process(item).0) {
            processes.push(process(item));
        }
    }
    for (tgid, name) in &processes {
        if processes.len() > 1 {
            writeln!(f, "{} ({tgid})", shorten(&line(name), 40))?;
        }
        items.iter().filter(|item| process(item).0 == *tgid).try_for_each(|item| write(f, item))?;
    }
    Ok(())
}

pub(super) fn write_more(f: &mut Formatter<'_>, omitted: usize, what: &str) -> fmt::Result {
    if omitted == 0 { Ok(()) } else { writeln!(f, "        and {} more {what}", thousands(omitted as u64)) }
}

pub(super) fn labelled(f: &mut Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    writeln!(f, "{:<LABEL$}{}", line(label), line(text))
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
