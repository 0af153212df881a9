//! How long threads waited for a CPU, and who ran meanwhile.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt::{self, Formatter},
};

use perf_ebpf::counters::{Counter, SCHED_FACTS};
use serde::Serialize;

use super::{
    ReportOptions,
    human::{duration, shorten, thousands},
};
use crate::{
    collect::EventKind,
    profile::{Lengths, Profile},
};

/// Waiting for a CPU.
#[derive(Clone, Debug, Serialize)]
pub struct RunQueueReport {
    /// By the CPU that was waited for, as far as it is known: the one that the thread came to run on.
    pub cpus: Vec<QueueReport>,
    /// By process, the longest time first.
    pub processes: Vec<QueueReport>,
    /// How many more processes there are.
    pub processes_omitted: usize,
    /// By thread, the longest time first.
    pub threads: Vec<QueueReport>,
    /// How many more threads there are.
    pub threads_omitted: usize,
    /// Who ran while others waited, the longest time first.
    pub takers: Vec<TakerReport>,
    /// How many more there are.
    pub takers_omitted: usize,
    /// What is missing here because there were too many threads at once, by name.
    pub counters: BTreeMap<String, u64>,
}

/// How often and how long one of them waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueReport {
    /// The CPU, the process, or the thread.
    pub id: u32,
    /// The name of the process or thread; empty for a CPU.
    pub name: String,
    /// How often.
    pub count: u64,
    /// In all.
    pub total_ns: u64,
    /// What half of these did not exceed, within 12 %.
    pub p50_ns: u64,
    /// And 90 of 100.
    pub p90_ns: u64,
    /// And 99 of 100.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// For how long one thread ran while another waited for the same CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakerReport {
    /// The process of the one that waited.
    pub tgid: u32,
    /// The thread that waited.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// The process of the one that ran.
    pub taker_tgid: u32,
    /// The thread that ran.
    pub taker_tid: u32,
    /// Its name.
    pub taker_comm: String,
    /// For how long.
    pub taken_ns: u64,
}

/// `None` if it was not recorded.
pub(super) fn run_queue(profile: &Profile, options: &ReportOptions) -> Option<RunQueueReport> {
    let queues = &profile.run_queues;
    if queues.waits.is_empty() {
        return None;
    }
    let sched = profile.series(EventKind::Sched.name());
    let mut names: HashMap<u32, &str> = HashMap::new();
    let mut processes: HashMap<u32, &str> = HashMap::new();
    for thread in &profile.threads {
        names.insert(thread.tid, profile.strings.get(thread.comm));
        processes.insert(thread.tgid, profile.strings.get(thread.process));
    }
    // A thread that has had several names is called by the last one.
    for sample in sched.map_or(&[][..], |series| &series.samples) {
        if let Some(thread) = profile.threads.get(sample.thread.0 as usize) {
            names.insert(thread.tid, profile.strings.get(thread.comm));
        }
    }
    let (mut by_cpu, mut by_process, mut by_thread) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for ((tgid, tid, cpu), lengths) in &queues.waits {
        for (sums, id) in [(&mut by_cpu, cpu), (&mut by_process, tgid), (&mut by_thread, tid)] {
            sums.entry(*id).or_insert_with(Lengths::default).add(lengths);
        }
    }
    let most = options.top.unwrap_or(usize::MAX);
    let cpus = by_cpu.iter().map(|(cpu, lengths)| of(*cpu, "", lengths)).collect();
    let (processes, processes_omitted) = longest(&by_process, &processes, most);
    let (threads, threads_omitted) = longest(&by_thread, &names, most);
    let mut takers: Vec<TakerReport> = Vec::new();
    for ((tgid, tid), ran) in &queues.takers {
        takers.extend(ran.iter().map(|((taker_tgid, taker_tid, taker_comm), taken_ns)| TakerReport {
            tgid: *tgid,
            tid: *tid,
            comm: names.get(tid).copied().unwrap_or_default().to_owned(),
            taker_tgid: *taker_tgid,
            taker_tid: *taker_tid,
            taker_comm: taker_comm.clone(),
            taken_ns: *taken_ns,
        }));
    }
    takers.sort_by_key(|taker| (Reverse(taker.taken_ns), taker.tid, taker.taker_tid));
    let takers_omitted = takers.len().saturating_sub(most);
    takers.truncate(most);
    let counters = SCHED_FACTS.iter().map(|counter| {
        let count = sched.and_then(|series| series.counters.get(counter.name())).copied();
        (counter.name().to_owned(), count.unwrap_or(0))
    });
    let counters = counters.collect();
    Some(RunQueueReport {
        cpus,
        processes,
        processes_omitted,
        threads,
        threads_omitted,
        takers,
        takers_omitted,
        counters,
    })
}

fn longest(sums: &BTreeMap<u32, Lengths>, names: &HashMap<u32, &str>, most: usize) -> (Vec<QueueReport>, usize) {
    let mut all: Vec<QueueReport> =
        sums.iter().map(|(id, lengths)| of(*id, names.get(id).copied().unwrap_or_default(), lengths)).collect();
    all.sort_by_key(|queue| (Reverse(queue.total_ns), queue.id));
    let omitted = all.len().saturating_sub(most);
    all.truncate(most);
    (all, omitted)
}

fn of(id: u32, name: &str, lengths: &Lengths) -> QueueReport {
    QueueReport {
        id,
        name: name.to_owned(),
        count: lengths.count,
        total_ns: lengths.total_ns,
        p50_ns: lengths.quantile_ns(0.5),
        p90_ns: lengths.quantile_ns(0.9),
        p99_ns: lengths.quantile_ns(0.99),
        max_ns: lengths.max_ns,
    }
}

/// Threads and pairs that the text shows.
const SHOWN: usize = 5;

impl RunQueueReport {
    /// As text.
    pub(super) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n    waits     total       p50       p90       p99       max  for a CPU")?;
        for cpu in &self.cpus {
            write_queue(f, cpu, &format!("CPU {}", cpu.id))?;
        }
        let processes = if self.processes.len() > 1 { &self.processes[..self.processes.len().min(SHOWN)] } else { &[] };
        for process in processes {
            write_queue(f, process, &format!("process {} ({})", shorten(&process.name, 22), process.id))?;
        }
        let is_told = |thread: &QueueReport| processes.iter().any(|process| is_alone(process, thread));
        for thread in self.threads.iter().take(SHOWN).filter(|thread| !is_told(thread)) {
            write_queue(f, thread, &format!("thread {} ({})", shorten(&thread.name, 22), thread.id))?;
        }
        self.write_missing(
            f,
            Counter::QueuesMissed,
            "more waits, for which there was no room: too many threads at once",
        )?;
        if self.takers.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n     time  ran                       while this one waited for the CPU")?;
        for taker in self.takers.iter().take(SHOWN) {
            let ran = format!("{} ({})", shorten(&taker.taker_comm, 16), taker.taker_tid);
            let waited = format!("{} ({})", shorten(&taker.comm, 16), taker.tid);
            writeln!(f, "{:>9}  {ran:<25} {waited}", duration(taker.taken_ns))?;
        }
        self.write_missing(
            f,
            Counter::TakersMissed,
            "more times there was no room for who ran: too many threads at once",
        )
    }

    fn write_missing(&self, f: &mut Formatter<'_>, counter: Counter, what: &str) -> fmt::Result {
        match self.counters.get(counter.name()) {
            Some(count @ 1..) => writeln!(f, "        and {} {what}", thousands(*count)),
            _ => Ok(()),
        }
    }
}

/// Whether a thread is all that a process has.
fn is_alone(process: &QueueReport, thread: &QueueReport) -> bool {
    process.id == thread.id && process.count == thread.count && process.total_ns == thread.total_ns
}

fn write_queue(f: &mut Formatter<'_>, queue: &QueueReport, whose: &str) -> fmt::Result {
    let [total, p50, p90, p99, max] =
        [queue.total_ns, queue.p50_ns, queue.p90_ns, queue.p99_ns, queue.max_ns].map(duration);
    writeln!(f, "{:>9} {total:>9} {p50:>9} {p90:>9} {p99:>9} {max:>9}  {whose}", thousands(queue.count))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use perf_ebpf::histogram::bucket;

    use super::*;
    use crate::profile::Series;

    #[test]
    fn threads_add_up_to_processes_and_cpus() {
        let lengths = |ns: u64, count: u64| {
            let mut lengths = Lengths { count, total_ns: ns * count, max_ns: ns, ..Lengths::default() };
            lengths.buckets[bucket(ns)] = count;
            lengths
        };
        let mut profile = Profile::default();
        profile.run_queues.waits.insert((1, 1, 0), lengths(1_000, 98));
        profile.run_queues.waits.insert((1, 2, 0), lengths(5_000_000, 2));
        profile.run_queues.waits.insert((1, 2, 1), lengths(2_000_000, 1));
        profile.run_queues.takers.insert((1, 2), BTreeMap::from([((7, 7, "hog".to_owned()), 9_000_000)]));
        let counters = BTreeMap::from([("run_queues_full".to_owned(), 1_234)]);
        profile.series.push(Series { event: "sched".into(), counters, ..Series::default() });
        let report = run_queue(&profile, &ReportOptions { top: Some(1) }).unwrap();
        assert_eq!(report.cpus.iter().map(|cpu| (cpu.id, cpu.count)).collect::<Vec<_>>(), [(0, 100), (1, 1)]);
        assert_eq!((report.processes[0].count, report.processes[0].total_ns), (101, 98_000 + 12_000_000));
        assert_eq!((report.threads[0].id, report.threads_omitted), (2, 1), "the longest time first");
        let all = &report.processes[0];
        assert!(all.p50_ns.abs_diff(1_000) < 125 && all.p99_ns.abs_diff(5_000_000) < 700_000, "{all:?}");
        assert_eq!((report.takers[0].taker_comm.as_str(), report.takers[0].taken_ns), ("hog", 9_000_000));
        let text = Text(&report).to_string();
        assert!(text.lines().all(|line| line.len() <= 100) && text.contains("hog (7)"), "{text}");
        assert!(text.contains("and 1,234 more waits") && !text.contains("who ran:"), "{text}");
        assert!(run_queue(&Profile::default(), &ReportOptions { top: None }).is_none());
    }

    struct Text<'a>(&'a RunQueueReport);

    impl fmt::Display for Text<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            self.0.write(f)
        }
    }
}
