//! System calls on files and sockets as text of 100 columns.

use std::fmt::{self, Formatter};

use super::{FaultsReport, FileCallReport, FileCallsReport, PeerReport};
use crate::report::{
    human::{bytes, duration, line, shorten, shorten_path, thousands},
    text::{labelled, write_account, write_by_process, write_more},
};

/// What is said of counters that are no losses.
const FACTS: &[(&str, &str)] = &[
    ("peers_full", "answers or connections are not told: too many peers at once"),
    ("open_at_end", "more operations of io_uring were not complete when the recording ended"),
];

/// The width of a call with its file and what is to be said of it, which ends lines.
const CALL: usize = 45;
/// The same of a fault.
const FAULT: usize = 55;
/// Of a peer.
const PEER: usize = 35;
/// Of the shortest part of a path that says anything.
const PATH: usize = 12;

impl FileCallsReport {
    /// As text of 100 columns.
    pub(in crate::report) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_account(f, ("Files", "calls"), &self.accounting, &self.counters, FACTS)?;
        if self.calls.is_empty() && self.accounting.reported > 0 {
            labelled(f, "", "these are of all threads; which of them made a call on a file is not known")?;
        }
        if !self.calls.is_empty() {
            writeln!(f, "\n     time     calls     bytes     p50     p99     max  call on what")?;
            write_by_process(f, &named(&self.calls), |(call, name)| (call.tgid, name), |f, (call, _)| call.write(f))?;
            write_more(f, self.calls_omitted, "calls on files")?;
        }
        if !self.peers.is_empty() {
            writeln!(
                f,
                "\n     time    answers     p50     p99     max  connected     max  peer, until its first byte"
            )?;
            write_by_process(f, &self.peers, |peer| (peer.tgid, &peer.process), |f, peer| peer.write(f))?;
            write_more(f, self.peers_omitted, "peers")?;
        }
        Ok(())
    }
}

impl FaultsReport {
    /// As text of 100 columns.
    pub(in crate::report) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_account(f, ("Faults", "page faults"), &self.accounting, &self.counters, &[])?;
        if self.faults.is_empty() && self.accounting.reported > 0 {
            return labelled(f, "", "these are of all threads; which of them had one is not known");
        }
        if !self.faults.is_empty() {
            writeln!(f, "\n     time    faults     p50     p99     max  fault on what")?;
            let faults = named(&self.faults);
            write_by_process(f, &faults, |(fault, name)| (fault.tgid, name), |f, (fault, _)| fault.write_fault(f))?;
            write_more(f, self.faults_omitted, "lines of faults")?;
        }
        Ok(())
    }
}

/// With what their processes are called.
fn named(rows: &[FileCallReport]) -> Vec<(&FileCallReport, String)> {
    rows.iter().map(|row| (row, row.told_process())).collect()
}

/// Nothing for none.
fn some(count: u64) -> String {
    if count == 0 { "-".into() } else { thousands(count) }
}

impl FileCallReport {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let moved = if self.bytes == 0 { "-".into() } else { bytes(self.bytes) };
        self.write_line(f, &format!("{moved:>9} "), &self.notes(), CALL)
    }

    fn write_fault(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // All that are major ask a disk, or wait for who did.
        let notes = if self.from_disk == self.count { String::new() } else { self.notes() };
        self.write_line(f, "", &notes, FAULT)
    }

    fn write_line(&self, f: &mut Formatter<'_>, moved: &str, notes: &str, width: usize) -> fmt::Result {
        let room = width.saturating_sub((self.call.chars().count() + 1) + notes.chars().count()).max(PATH);
        writeln!(
            f,
            "{:>9} {:>9} {moved}{:>7} {:>7} {:>7}  {} {}{notes}",
            duration(self.lengths.total_ns),
            thousands(self.count),
            duration(self.lengths.p50_ns),
            duration(self.lengths.p99_ns),
            duration(self.lengths.max_ns),
            self.call,
            shorten_path(&line(self.told()), room),
        )
    }

    /// How many failed, and how many asked a disk.
    fn notes(&self) -> String {
        let told = |count: u64, what: &str| match count {
            0 => String::new(),
            all if all == self.count => format!(", {what}"),
            count => format!(", {} {what}", thousands(count)),
        };
        told(self.errors, "failed") + &told(self.from_disk, "with disk I/O")
    }
}

impl PeerReport {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let of = &self.responses.lengths;
        let times = [of.p50_ns, of.p99_ns, of.max_ns];
        let times = match self.responses.count {
            0 => times.map(|_| format!("{:>7}", "-")),
            _ => times.map(|ns| format!("{:>7}", duration(ns))),
        };
        let longest = if self.connects.count == 0 { "-".into() } else { duration(self.connects.max_ns) };
        writeln!(
            f,
            "{:>9} {:>10} {} {:>10} {longest:>7}  {}",
            duration(of.total_ns),
            thousands(self.responses.count),
            times.join(" "),
            some(self.connects.count),
            shorten(&line(&self.peer), PEER),
        )?;
        match self.told_failures() {
            failures if failures.is_empty() => Ok(()),
            failures => writeln!(f, "{:>35} {failures}", "its connections:"),
        }
    }
}
