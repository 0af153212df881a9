//! How near memory is to what limits it, and who waited for some.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Class, ProcessMemoryReport};
use crate::{
    host::memory_limits::{
        AVAILABLE, FULL, GROUP, HIGH, LIMIT, LIMIT_HITS, MACHINE, OOM_KILLS, PROCESS, RECLAIMABLE, SOME, SWAP_FREE,
        SWAPPED_IN, SWAPPED_OUT, USED,
    },
    profile::{GaugePoints, Memory},
};

/// Something that limits memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LimitedReport {
    /// What: `machine`, `cgroup /a/b`, or `process 1234`.
    pub subject: String,
    /// The limit in bytes; of the machine what is to be had without swapping, and what may be swapped out.
    pub limit_bytes: u64,
    /// What is used of it, without what the kernel would take back; 0 for the machine.
    pub used_bytes: u64,
    /// What is left.
    pub left_bytes: u64,
    /// The most that was used at any time that was looked at, with what the kernel would take back; 0 for the machine.
    pub most_used_bytes: u64,
    /// In how many nanoseconds nothing is left if the processes that grow go on to: about, at the soonest and at the latest. Absent if
    /// none grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_in_ns: Option<[u64; 3]>,
}

/// Who waited for memory, and what came of it, in the time of the report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PressureReport {
    /// Where: `machine`, or `cgroup /a/b`.
    pub subject: String,
    /// The part of the time in which some thread waited for memory, 0 to 1; absent where the kernel does not tell (PSI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub some: Option<f64>,
    /// The part in which all did that were not idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<f64>,
    /// Processes that were killed for want of memory.
    pub oom_kills: u64,
    /// How often the limit was met.
    pub limit_hits: u64,
    /// Pages that were swapped in.
    pub swapped_in_pages: u64,
    /// And out.
    pub swapped_out_pages: u64,
}

/// The figures of a subject by name.
struct Figures<'a> {
    memory: &'a Memory,
    subject: &'a str,
}

impl Figures<'_> {
    fn points(&self, name: &str) -> Option<&GaugePoints> {
        self.memory.gauges.get(&(self.subject.to_owned(), name.to_owned()))
    }

    fn last(&self, name: &str) -> Option<u64> {
        self.points(name).map(|gauge| gauge.last.1)
    }

    /// By how much it is more than at first.
    fn since(&self, name: &str) -> Option<u64> {
        let GaugePoints { first, last, .. } = self.points(name)?;
        Some(last.1.saturating_sub(first.1))
    }

    /// The part of the time between these.
    fn share(&self, name: &str) -> Option<f64> {
        let GaugePoints { first, last, .. } = self.points(name)?;
        let passed_ns = last.0.saturating_sub(first.0);
        (passed_ns > 0).then(|| (last.1.saturating_sub(first.1) as f64 * 1e3 / passed_ns as f64).min(1.0))
    }
}

/// A process whose memory was read within this time before the end is taken to live.
const LIVES_NS: u64 = 3_000_000_000;

fn subjects(memory: &Memory) -> BTreeSet<&str> {
    memory.gauges.keys().map(|(subject, _)| subject.as_str()).collect()
}

/// What limits the memory of these processes, that which will be full first before the others.
pub(super) fn limits(memory: &Memory, processes: &[ProcessMemoryReport]) -> Vec<LimitedReport> {
    let lives = |tgid: u32| {
        let last = memory.processes.get(&tgid).and_then(|process| process.points.last());
        last.is_some_and(|(at_ns, _)| at_ns.saturating_add(LIVES_NS) >= memory.last_ns())
    };
    let growing = || processes.iter().filter(|process| process.trend.class == Class::Growing && lives(process.tgid));
    let mut limits = Vec::new();
    for subject in subjects(memory) {
        let of = Figures { memory, subject };
        let (limit_bytes, used_bytes) = if subject == MACHINE {
            let Some(available) = of.last(AVAILABLE) else { continue };
            (available.saturating_add(of.last(SWAP_FREE).unwrap_or(0)), 0)
        } else {
            let Some(limit) = [LIMIT, HIGH].iter().filter_map(|name| of.last(name)).min() else { continue };
            let used = of.last(USED).unwrap_or(0);
            (limit, used.saturating_sub(of.last(RECLAIMABLE).unwrap_or(0)))
        };
        let left_bytes = limit_bytes.saturating_sub(used_bytes);
        let own = subject.strip_prefix(PROCESS).and_then(|tgid| tgid.parse::<u32>().ok());
        let members = memory.members.get(subject);
        let is_of = |tgid: u32| match own {
            Some(own) => own == tgid,
            None => subject == MACHINE || members.is_some_and(|members| members.contains(&tgid)),
        };
        let concerned = growing().filter(|process| is_of(process.tgid));
        let rates = concerned.fold([0.0; 3], |[sum, low, high], process| {
            let [least, most] = process.trend.interval;
            [sum + process.trend.bytes_per_second, low + least.max(0.0), high + most]
        });
        let full_in = |rate: f64| if rate > 0.0 { (left_bytes as f64 / rate * 1e9) as u64 } else { u64::MAX };
        let [rate, low, high] = rates;
        let full_in_ns = (rate > 0.0).then(|| [full_in(rate), full_in(high), full_in(low)]);
        let most_used_bytes = of.points(USED).map_or(0, |gauge| gauge.most);
        let subject = subject.to_owned();
        limits.push(LimitedReport { subject, limit_bytes, used_bytes, left_bytes, most_used_bytes, full_in_ns });
    }
    limits.sort_by_key(|limit| (limit.full_in_ns.map_or(u64::MAX, |[about, ..]| about), limit.left_bytes));
    limits
}

/// Who waited for memory, where anything happened.
pub(super) fn pressure(memory: &Memory) -> Vec<PressureReport> {
    let of_subject = |subject: &str| {
        let of = Figures { memory, subject };
        let since = |name| of.since(name).unwrap_or(0);
        PressureReport {
            subject: subject.to_owned(),
            some: of.share(SOME),
            full: of.share(FULL),
            oom_kills: since(OOM_KILLS),
            limit_hits: since(LIMIT_HITS),
            swapped_in_pages: since(SWAPPED_IN),
            swapped_out_pages: since(SWAPPED_OUT),
        }
    };
    let told = |subject: &&str| *subject == MACHINE || subject.starts_with(GROUP);
    subjects(memory).into_iter().filter(told).map(of_subject).collect()
}
