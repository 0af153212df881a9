//! The tables that `perfprobe io` and `perfprobe locks` show while they record: what was done in the last second.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
};

use perf_ebpf::histogram;

use crate::{
    drain::HeldUp,
    profile::Lengths,
    report::human::{bytes, counted, duration, line, percent, shorten, shorten_path, thousands},
    symbolize::{call_label, operation_label},
    task::{LocatedLocks, LocatedWindow},
};

/// Calls that are shown.
const CALLS: usize = 20;
/// Requests to disks.
const REQUESTS: usize = 5;
/// Locks at which threads have waited for a while.
const STUCK: usize = 10;
/// The width of a call with its file, which ends lines.
const CALL: usize = 40;

/// The table, if one is wanted.
#[derive(Debug)]
pub(super) struct LiveTable {
    /// Whom it is about; `None`: none is wanted.
    label: Option<String>,
    clears: bool,
}

impl LiveTable {
    /// Of the target of this name, if one is wanted.
    pub(super) fn new(label: Option<String>) -> Self {
        Self { label, clears: std::io::stderr().is_terminal() }
    }

    /// Whether there is one.
    pub(super) fn is_wanted(&self) -> bool {
        self.label.is_some()
    }

    /// Shows what a window had, in the place of the last one.
    pub(super) fn show(&self, window: &LocatedWindow) {
        let Some(label) = &self.label else { return };
        let clear = if self.clears { "\x1b[H\x1b[2J" } else { "" };
        let head = format!("{}; Ctrl-C ends it, and leaves the report", line(label));
        let _ = write!(std::io::stderr(), "{clear}{}\n{}\n", shorten(&head, 100), table(window));
    }
}

/// As text of 100 columns.
fn table(window: &LocatedWindow) -> String {
    match &window.locks {
        Some(locks) if window.file_calls.is_none() => table_of_locks(window, locks),
        _ => table_of_io(window),
    }
}

/// Futexes, without what their stacks tell of them, which have no names yet.
fn table_of_locks<'a>(window: &'a LocatedWindow, locks: &'a LocatedLocks) -> String {
    let seconds = window.end_ns.saturating_sub(window.start_ns).max(1) as f64 / 1e9;
    let process = |processes: &'a HashMap<u32, String>, tgid: &u32| processes.get(tgid).map_or("", String::as_str);
    let own = locks.sums.iter().map(|((tgid, _), name, sum)| {
        (Lengths::from(&sum.waits), thousands(sum.most_waiting), process(&locks.processes, tgid), name.clone())
    });
    let of_kernel = window.kernel_locks.iter().flat_map(|kernel| {
        let told = |((tgid, name), sum): &'a ((u32, String), histogram::Lengths)| {
            (Lengths::from(sum), "-".to_owned(), process(&kernel.processes, tgid), format!("kernel: {name}"))
        };
        kernel.sums.iter().map(told)
    });
    let mut rows: Vec<_> = own.chain(of_kernel).collect();
    rows.sort_by_key(|(of, ..)| Reverse(of.total_ns));
    let mut out = String::from(
        "   waited   waits/s      p50      max  at once  process      lock, or what else is waited for so\n",
    );
    for (of, at_once, process, name) in rows.iter().take(CALLS) {
        let _ = writeln!(
            out,
            "{:>9} {:>9} {:>8} {:>8} {at_once:>8}  {:<12} {}",
            duration(of.total_ns),
            thousands((of.count as f64 / seconds).round() as u64),
            duration(of.quantile_ns(0.5)),
            duration(of.max_ns),
            shorten(&line(process), 12),
            shorten(&line(name), 37),
        );
    }
    if rows.len() > CALLS {
        let _ = writeln!(out, "          and {} more", rows.len() - CALLS);
    }
    let mut stuck: Vec<(&HeldUp, &str, usize)> = Vec::new();
    for (thread, _, lock) in &locks.held_up {
        match stuck.iter_mut().find(|(first, ..)| (first.tgid, first.lock) == (thread.tgid, thread.lock)) {
            Some((.., count)) => *count += 1,
            None => stuck.push((thread, lock, 1)),
        }
    }
    for (first, lock, count) in stuck.iter().take(STUCK) {
        let (waits, since) = (if *count == 1 { "waits" } else { "wait" }, window.end_ns.saturating_sub(first.since_ns));
        let whose = locks.processes.get(&first.tgid).map_or(String::new(), |process| format!(" of {process}"));
        let threads = counted(*count, "thread");
        let told = format!("{:>9}  {threads}{whose} ({}) still {waits} at {lock}", duration(since), first.tgid);
        let _ = writeln!(out, "{}", shorten(&line(&told), 100));
    }
    // Of one alone, only its stack tells that it is one.
    for cycle in locks.deadlocks.iter().filter(|cycle| cycle.len() > 1) {
        let threads: Vec<String> = cycle.iter().map(|(thread, comm, _)| format!("{comm} ({})", thread.tid)).collect();
        let _ = writeln!(out, "{}", shorten(&line(&format!("in a deadlock: {}", threads.join(", "))), 100));
    }
    out
}

fn table_of_io(window: &LocatedWindow) -> String {
    let seconds = window.end_ns.saturating_sub(window.start_ns).max(1) as f64 / 1e9;
    let rate = |count: u64| (count as f64 / seconds).round() as u64;
    let mut out = String::new();
    if let Some(calls) = &window.file_calls {
        let mut rows: Vec<_> = calls.sums.iter().collect();
        rows.sort_by_key(|(key, sum)| (Reverse(sum.lengths.total_ns), *key));
        let _ = writeln!(out, "     time   calls/s   bytes/s     p50     max  process      call on what");
        for ((tgid, call, file), sum) in rows.iter().take(CALLS) {
            let text = window.files.get(file).map_or("", |file| &file.text);
            let (process, name) = (calls.processes.get(tgid).map_or("", String::as_str), call_label(*call));
            let moved = if sum.bytes == 0 { "-".into() } else { bytes(rate(sum.bytes)) };
            let of = Lengths::from(&sum.lengths);
            let _ = writeln!(
                out,
                "{:>9} {:>9} {moved:>9} {:>7} {:>7}  {:<12} {name} {}",
                duration(of.total_ns),
                thousands(rate(of.count)),
                duration(of.quantile_ns(0.5)),
                duration(of.max_ns),
                shorten(&line(process), 12),
                shorten_path(&line(text), CALL.saturating_sub(name.chars().count() + 1)),
            );
        }
        if rows.len() > CALLS {
            let _ = writeln!(out, "          and {} more", rows.len() - CALLS);
        }
    }
    let requests = window.block.as_ref().filter(|block| !block.sums.is_empty());
    if let Some(block) = requests {
        let mut rows: Vec<_> = block.sums.iter().collect();
        rows.sort_by_key(|(key, sum)| (Reverse(sum.whole.total_ns), *key));
        let _ = writeln!(out, "\n     time    reqs/s   bytes/s     p50     max  in queue  process      request");
        for ((tgid, disk, operation), sum) in rows.into_iter().take(REQUESTS) {
            let of = Lengths::from(&sum.whole);
            let process = block.processes.get(tgid).map_or("", String::as_str);
            let disk = block.disks.get(disk).map_or("", String::as_str);
            let _ = writeln!(
                out,
                "{:>9} {:>9} {:>9} {:>7} {:>7} {:>9}  {:<12} {}",
                duration(of.total_ns),
                thousands(rate(of.count)),
                bytes(rate(sum.bytes)),
                duration(of.quantile_ns(0.5)),
                duration(of.max_ns),
                percent(sum.queue.total_ns, sum.whole.total_ns),
                shorten(&line(process), 12),
                shorten(&line(&format!("{} {disk}", operation_label(*operation))), 28),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use perf_ebpf::{block::FileKey, file_calls::FileCalls, lock::LockSum};

    use super::*;
    use crate::task::{FileText, LocatedFileCalls, LocatedKernelLocks};

    #[test]
    fn locks_are_told_with_who_is_stuck() {
        let mut waits = histogram::Lengths { count: 4, total_ns: 4_000, max_ns: 1_000, ..histogram::Lengths::NONE };
        waits.buckets[histogram::bucket(1_000)] = 4;
        let sum = LockSum { waits, most_waiting: 3, ..LockSum::NONE };
        let held_up = |tid| HeldUp { tgid: 7, tid, comm: [0; 16], lock: 1, since_ns: 0, owner: 0, how: 0 };
        let stuck = |tid, lock| (HeldUp { lock, ..held_up(tid) }, "a".to_owned(), format!("lock {lock}"));
        let locks = LocatedLocks {
            sums: (0..30).map(|at| ((7, at), format!("a_very_long_name_of_a_lock_{at} in server"), sum)).collect(),
            processes: HashMap::from([(7, "server".to_owned())]),
            held_up: [(8, 2), (9, 2), (10, 3)].map(|(tid, lock)| stuck(tid, lock)).to_vec(),
            deadlocks: vec![[8, 9].map(|tid| (held_up(tid), "a\u{1b}".to_owned(), "lock".to_owned())).to_vec()],
        };
        let kernel = LocatedKernelLocks {
            sums: vec![((7, "mmap_lock, writing".to_owned()), histogram::Lengths { total_ns: 9_000, ..waits })],
            processes: HashMap::from([(7, "server".to_owned())]),
            ..LocatedKernelLocks::default()
        };
        let mut window = LocatedWindow { end_ns: 2_000_000_000, locks: Some(locks), ..LocatedWindow::default() };
        window.kernel_locks = Some(kernel);
        let told = table(&window);
        assert!(
            told.lines().nth(1).is_some_and(|line| line.ends_with("server       kernel: mmap_lock, writing")),
            "{told}"
        );
        assert!(told.contains("   4.0 us         2 ") && told.contains("and 11 more"), "{told}");
        assert!(told.contains("    2.0 s  2 threads of server (7) still wait at lock 2\n"), "{told}");
        assert!(told.contains("in a deadlock: a") && told.contains("(9)"), "{told}");
        for line in told.lines() {
            assert!(line.chars().count() <= 100 && !line.chars().any(char::is_control), "{line}");
        }
    }

    #[test]
    fn the_longest_come_first_and_every_line_fits() {
        let file = |inode| FileKey { inode, system: 1, generation: 0 };
        let of = |ns: u64| {
            let mut lengths = histogram::Lengths { count: 4, total_ns: 4 * ns, max_ns: ns, ..histogram::Lengths::NONE };
            lengths.buckets[histogram::bucket(ns)] = 4;
            FileCalls { bytes: 8_192, lengths, ..FileCalls::NONE }
        };
        let (read, process) = (libc::SYS_pread64 as u32, "a\u{1b}[31m process with a long name");
        let calls = LocatedFileCalls {
            sums: (0..30).map(|at| ((7, read, file(at)), of(1_000 * (at + 1)))).collect(),
            processes: HashMap::from([(7, process.to_owned())]),
            ..LocatedFileCalls::default()
        };
        let long = FileText { text: format!("/srv/{}/last", "long/".repeat(30)), ..FileText::default() };
        let window = LocatedWindow {
            end_ns: 2_000_000_000,
            file_calls: Some(calls),
            files: HashMap::from([(file(29), long)]),
            ..LocatedWindow::default()
        };
        let told = table(&window);
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[1].starts_with("   120 us         2   4.0 KiB"), "{told}");
        assert!(lines[1].contains("pread64 …") && lines[1].ends_with("/long//last"), "{told}");
        assert_eq!(lines.last(), Some(&"          and 10 more"));
        for line in lines {
            assert!(line.chars().count() <= 100 && !line.chars().any(char::is_control), "{line}");
        }
    }
}
