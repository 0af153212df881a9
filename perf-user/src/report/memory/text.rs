//! Memory as text of 100 columns.

use std::fmt::{self, Formatter};

use super::{
    Class, LimitedReport, MappingReport, MemoryReport, PressureReport, ProcessMemoryReport, TouchReport, Trend,
};
use crate::report::{
    human::{bytes, bytes_more, duration, file_name, line, percent, shorten, thousands},
    places::label,
    text::{LABEL, labelled, write_more},
};
use crate::{
    collect::BYTES,
    host::memory_limits::{GROUP, MACHINE, PROCESS},
};

/// The width of a process's name and id, which end lines.
const NAME_AND_ID: usize = 21;
/// The width of a place.
const PLACE: usize = 42;
/// Changes of mappings that are told, in bytes, at least.
const NOTABLE: u64 = 65_536;
/// Mappings that are told.
const MAPPINGS: usize = 8;
/// Places with less than such a part of what was touched are not told.
const SMALL: u64 = 200;
/// Limits that are told.
const LIMITS: usize = 4;
/// What ends within this time, some days, is near.
const NEAR_NS: u64 = 7 * 86_400_000_000_000;

impl MemoryReport {
    /// Which process grows most, and how long it may, in a line; `None` if none does.
    #[must_use]
    pub fn told_growth(&self) -> Option<String> {
        let process = self.processes.first().filter(|process| process.trend.class == Class::Growing)?;
        let name = format!("{} ({})", shorten(&line(&process.process), 16), process.tgid);
        let mut told = format!("{name} by {}/s", bytes(process.trend.bytes_per_second.max(0.0) as u64));
        let room = self.limits.iter().find_map(|room| Some((room, room.full_in_ns?[0])));
        if let Some((room, about)) = room.filter(|(_, about)| *about < NEAR_NS) {
            let left = bytes(room.left_bytes);
            told += &format!("; {left} left, full in {}: {}", duration(about), room.place());
        }
        Some(told)
    }

    /// As text.
    pub(in crate::report) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        let account = crate::report::accounting_line(&self.accounting, BYTES);
        labelled(f, "Memory", &format!("touched, by page faults: {account}"))?;
        for (cause, lost) in self.accounting.lost.iter().filter(|(_, lost)| **lost > 0) {
            labelled(f, "", &format!("lost {:>9}  {}", bytes(*lost), cause.replace('_', " ")))?;
        }
        if self.touched_bytes != self.accounting.reported {
            let share = percent(self.touched_bytes, self.accounting.reported);
            labelled(
                f,
                "Slice",
                &format!("what is told of functions is about {}, {share}", bytes(self.touched_bytes)),
            )?;
        }
        if self.faults_sampled > 0 {
            let (all, looked) = (thousands(self.faults), thousands(self.faults_sampled));
            let [low, high] = self.touched_interval.map(bytes);
            let told =
                format!("an estimate ({low} to {high}): {looked} of {all} page faults without disk were looked at");
            labelled(f, "", &told)?;
        }
        if !self.processes.is_empty() {
            writeln!(f, "\n resident       own     change  verdict, of its own memory{:18}process", "")?;
            // Of those that are as they were, the first tells enough.
            let changed = |(at, process): &(usize, &ProcessMemoryReport)| *at == 0 || process.change_bytes != 0;
            let told: Vec<_> = self.processes.iter().enumerate().filter(changed).collect();
            told.iter().try_for_each(|(_, process)| process.write(f))?;
            write_more(f, self.processes.len() - told.len() + self.processes_omitted, "processes")?;
        }
        self.write_touched(f)?;
        let changed = self.mappings.iter().filter(|mapping| mapping.change() >= NOTABLE);
        let changed: Vec<&MappingReport> = changed.take(MAPPINGS).collect();
        if self.huge_missed_bytes > 0 {
            writeln!(f)?;
            let came = bytes(self.huge_missed_bytes);
            labelled(f, "", &format!("and {came} in huge pages: no fault that was looked at, or put together later"))?;
        }
        if !changed.is_empty() {
            writeln!(f, "\n    first      last  mappings, in memory or swapped out, when looked at first and last")?;
            changed.iter().try_for_each(|mapping| mapping.write(f, self.processes.len() > 1))?;
        }
        let limits =
            self.limits.iter().filter(|limit| limit.is_told()).take(LIMITS).map(|limit| ("Room", limit.told()));
        let pressure = self.pressure.iter().filter(|one| one.is_told()).map(|one| ("Pressure", one.told()));
        let told: Vec<_> = limits.chain(pressure).collect();
        if !told.is_empty() {
            writeln!(f)?;
        }
        told.iter().try_for_each(|(label, told)| labelled(f, label, told))
    }

    fn write_touched(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.places.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  share   touched        +-  {:<PLACE$} kind", "touched by (what it called there)")?;
        let is_notable =
            |(at, touch): &(usize, &TouchReport)| *at < 3 || touch.place.value >= self.touched_bytes / SMALL;
        let told: Vec<_> = self.places.iter().enumerate().filter(is_notable).collect();
        for (_, touch) in &told {
            let place = &touch.place;
            let label = label(place, PLACE);
            let row = format!(
                "{:>7} {:>9} {:>9}  {label:<PLACE$} {}",
                percent(place.value, self.touched_bytes),
                bytes(place.value),
                bytes(touch.half()),
                shorten(&line(&place.why), 27),
            );
            writeln!(f, "{}", row.trim_end())?;
        }
        write_more(f, self.places.len() - told.len() + self.places_omitted, "places")?;
        if self.processes.iter().any(|process| process.trend.class == Class::Growing) {
            labelled(f, "", "who touched memory may have freed it, for others to keep: look also at who allocates")?;
        }
        let placed: u64 = self.places.iter().map(|touch| touch.place.value).sum();
        let rest = self.touched_bytes.saturating_sub(placed);
        if rest > 0 && self.places_omitted == 0 {
            let share = percent(rest, self.touched_bytes);
            writeln!(f, "{share:>7} {:>9}            (no stack of a program is known)", bytes(rest))?;
        }
        Ok(())
    }
}

impl ProcessMemoryReport {
    /// What it does not share with files, at last.
    #[must_use]
    pub fn own_bytes(&self) -> u64 {
        self.anonymous_bytes.saturating_add(self.shared_bytes).saturating_add(self.swapped_bytes)
    }

    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [resident, own] = [self.resident_bytes, self.own_bytes()].map(bytes);
        let (change, verdict, tgid) = (bytes_more(self.change_bytes as f64), self.trend.told(), self.tgid);
        let room = NAME_AND_ID - tgid.to_string().len();
        let name = shorten(&line(&self.process), room);
        writeln!(f, "{resident:>9} {own:>9} {change:>10}  {verdict:<43} {name} ({tgid})")
    }
}

impl Trend {
    /// `growing 1.2 MiB/s (1.1 to 1.3)`.
    #[must_use]
    pub fn told(&self) -> String {
        let name = self.class.name();
        match self.class {
            Class::Growing | Class::Shrinking => {
                let [low, high] = self.interval.map(|rate| bytes_more(rate).trim_start_matches('+').to_owned());
                // One unit for both, where they have the same.
                let low = match (low.split_once(' '), high.split_once(' ')) {
                    (Some((number, unit)), Some((_, other))) if unit == other => number.to_owned(),
                    _ => low,
                };
                format!("{name} {}/s ({low} to {high})", bytes_more(self.bytes_per_second))
            }
            Class::TooShort => match self.needs_ns {
                Some(needs_ns) => format!("{name}; {} may do", duration(needs_ns)),
                None => name.to_owned(),
            },
            Class::StartUp | Class::Steady => name.to_owned(),
        }
    }
}

impl MappingReport {
    fn write(&self, f: &mut Formatter<'_>, several: bool) -> fmt::Result {
        let of = if several { format!(" of {} ({})", self.process, self.tgid) } else { String::new() };
        let huge =
            if self.huge_bytes > 0 { format!(", {} in huge pages", bytes(self.huge_bytes)) } else { String::new() };
        let name = file_name(&self.name);
        let text = shorten(&line(&format!("{name}{of}{huge}")), 79);
        writeln!(f, "{:>9} {:>9}  {text}", bytes(self.first_bytes), bytes(self.last_bytes))
    }
}

impl LimitedReport {
    /// What there is to say of the machine is little, unless it will be full.
    fn is_told(&self) -> bool {
        self.subject != MACHINE || self.full_in_ns.is_some_and(|[about, ..]| about < NEAR_NS)
    }

    /// What is left of it, and for how long.
    #[must_use]
    pub fn told(&self) -> String {
        let left = bytes(self.left_bytes);
        let is_group = self.subject.starts_with(GROUP) && self.full_in_ns.is_none();
        let limit = if self.subject == MACHINE { String::new() } else { format!(" of {}", bytes(self.limit_bytes)) };
        let mut told = format!("{left}{limit} left{}", if is_group { " or reclaimable" } else { "" });
        if let Some([about, soonest, latest]) = self.full_in_ns {
            let latest = if latest == u64::MAX { "never".to_owned() } else { duration(latest) };
            told += &format!(", full in {} ({} to {latest})", duration(about), duration(soonest));
        }
        if self.full_in_ns.is_none() && self.most_used_bytes > 0 {
            told += &format!(", at most {} used", bytes(self.most_used_bytes));
        }
        let room = (100 - LABEL).saturating_sub(told.chars().count() + 2);
        format!("{told}: {}", shorten(&self.place(), room.max(12)))
    }

    /// What it is that has a limit.
    fn place(&self) -> String {
        match self.subject.strip_prefix(PROCESS) {
            Some(tgid) => format!("address space of {tgid} (ulimit -v)"),
            None => self.subject.clone(),
        }
    }
}

impl PressureReport {
    /// Whether anything happened.
    #[must_use]
    pub fn is_told(&self) -> bool {
        let shares = [self.some, self.full].into_iter().flatten();
        let events = [self.oom_kills, self.limit_hits, self.swapped_in_pages, self.swapped_out_pages];
        shares.fold(0.0, f64::max) >= 0.001 || events.iter().any(|count| *count > 0)
    }

    /// In words.
    #[must_use]
    pub fn told(&self) -> String {
        let mut told = Vec::new();
        if let (Some(some), Some(full)) = (self.some, self.full) {
            told.push(format!(
                "some thread waited for memory in {:.1}% of the time, all in {:.1}%",
                some * 100.0,
                full * 100.0
            ));
        }
        if self.oom_kills > 0 {
            let processes = if self.oom_kills == 1 { "process" } else { "processes" };
            told.push(format!("{} {processes} killed for want of memory (OOM)", thousands(self.oom_kills)));
        }
        if self.limit_hits > 0 {
            told.push(format!("the limit was met {} times", thousands(self.limit_hits)));
        }
        if self.swapped_in_pages + self.swapped_out_pages > 0 {
            let [inward, outward] = [self.swapped_in_pages, self.swapped_out_pages].map(thousands);
            told.push(format!("pages swapped in {inward}, out {outward}"));
        }
        format!("{}: {}", self.subject, told.join("; "))
    }
}
