//! Requests to block devices as text of 100 columns.

use std::fmt::{self, Formatter};

use super::{BlockKindReport, BlockReport, LengthsReport};
use crate::{
    profile::SingleRequest,
    report::{
        human::{bytes, duration, line, percent, shorten, thousands},
        text::{labelled, write_account, write_by_process, write_more},
    },
};

/// What is said of counters that are no losses.
const FACTS: &[(&str, &str)] = &[
    ("merged", "more were made part of others before the device got them"),
    ("names_full", "times a file's name found no room: it is told by its number"),
    ("files_full", "are missing in the table of files: too many files at once"),
    ("open_at_end", "more were not complete when the recording ended"),
];

impl BlockReport {
    /// As text of 100 columns.
    pub(in crate::report) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_account(f, ("Disks", "requests"), &self.accounting, &self.counters, FACTS)?;
        if self.kinds.is_empty() && self.accounting.reported > 0 {
            labelled(f, "", "these are of all threads; of one, only those of the slowest are known that it asked for")?;
        }
        self.write_kinds(f)?;
        self.write_files(f)?;
        write_single(f, "slowest requests", &self.slowest)?;
        write_single(f, "requests that are not complete", &self.open)
    }

    fn write_kinds(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.kinds.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n requests   per s     bytes     per s     p50     p90     p99     max  request")?;
        write_by_process(f, &self.kinds, |kind| (kind.tgid, &kind.process), |f, kind| kind.write(f))?;
        write_more(f, self.kinds_omitted, "kinds of requests")
    }

    fn write_files(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.files.is_empty() {
            return Ok(());
        }
        let several = self.files.iter().any(|file| file.tgid != self.files[0].tgid);
        writeln!(f, "\n     time  requests     bytes     max  {:<18} file", "request")?;
        for file in &self.files {
            let process = if several { format!("  of {}", line(&file.process)) } else { String::new() };
            let room = FILE.saturating_sub(process.chars().count());
            writeln!(
                f,
                "{:>9} {:>9} {:>9} {:>7}  {:<18} {}{process}",
                duration(file.total_ns),
                thousands(file.count),
                bytes(file.bytes),
                duration(file.max_ns),
                shorten(&format!("{} {}", file.operation, line(&file.disk)), 18),
                shorten(&line(file.told()), room),
            )?;
        }
        write_more(f, self.files_omitted, "files")
    }
}

/// The width of a file's path, which ends lines.
const FILE: usize = 42;

impl BlockKindReport {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>9} {:>7} {:>9} {:>9} {}  {}",
            thousands(self.count),
            rate(self.per_second),
            bytes(self.bytes),
            bytes(self.bytes_per_second as u64),
            self.whole.columns(),
            shorten(&line(&self.label()), 28),
        )?;
        for (what, part) in [("in the queue", &self.queue), ("at the device", &self.device)] {
            let share = percent(part.total_ns, self.whole.total_ns);
            writeln!(f, "{what:>37} {}  {share} of the time", part.columns())?;
        }
        match self.told_failures() {
            failures if failures.is_empty() => Ok(()),
            failures => writeln!(f, "{:>37} {failures}", "of these"),
        }
    }
}

impl LengthsReport {
    fn columns(&self) -> String {
        let columns = [self.p50_ns, self.p90_ns, self.p99_ns, self.max_ns];
        columns.map(|ns| format!("{:>7}", duration(ns))).join(" ")
    }
}

/// How many a second, to three digits.
fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.2}") } else { thousands(per_second.round() as u64) }
}

/// The width of a request in words.
const TOLD: usize = 45;

fn write_single(f: &mut Formatter<'_>, heading: &str, requests: &[SingleRequest]) -> fmt::Result {
    if requests.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n     time  in queue         at       tid  thread       {heading}")?;
    for request in requests {
        writeln!(
            f,
            "{:>9} {:>9} {:>10} {:>9}  {:<12} {}",
            duration(request.length_ns()),
            duration(request.queue_ns),
            format!("{:.3} s", request.start_ns as f64 / 1e9),
            request.tid,
            shorten(&line(&request.comm), 12),
            shorten(&line(&request.told()), TOLD),
        )?;
    }
    Ok(())
}
