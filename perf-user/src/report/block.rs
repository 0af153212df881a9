//! Requests to block devices: how many, how much, how long they waited and took, and the slowest of them.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::{
    ReportOptions,
    human::{bytes, thousands},
};
use crate::profile::{Accounting, BlockKind, Lengths, Profile, SingleRequest};

mod text;

#[cfg(test)]
mod tests;

/// What the program asked of block devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlockReport {
    /// What became of all requests that were completed, or are known to be lost, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses: how many were asked for, were merged into others, and were not complete at the end.
    pub counters: BTreeMap<String, u64>,
    /// By process, disk and operation, the longest time in all first. Empty if the report is of one thread.
    pub kinds: Vec<BlockKindReport>,
    /// How many more there are.
    pub kinds_omitted: usize,
    /// By process, file, disk and operation, the longest time in all first. Empty if the report is of one thread.
    pub files: Vec<FileReport>,
    /// How many more there are.
    pub files_omitted: usize,
    /// The requests that took longest, the longest first.
    pub slowest: Vec<SingleRequest>,
    /// Those that were not complete when the recording ended, the oldest first.
    pub open: Vec<SingleRequest>,
}

/// What a process asked a disk for, of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlockKindReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The disk.
    pub disk: String,
    /// What it was asked for: read, write, flush, discard or other.
    pub operation: String,
    /// How many requests.
    pub count: u64,
    /// How many a second, over the time of the report.
    pub per_second: f64,
    /// How much.
    pub bytes: u64,
    /// How much a second.
    pub bytes_per_second: f64,
    /// How many failed.
    pub failed: u64,
    /// How often the device sent one back: it was put into the queue again.
    pub requeues: u64,
    /// How long from when they were asked for until they were complete.
    pub whole: LengthsReport,
    /// How long until they were given to the device.
    pub queue: LengthsReport,
    /// How long from then on.
    pub device: LengthsReport,
}

/// What a process asked a disk for, for one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The file's path; empty where none is known: the file system's own, or the disk itself.
    pub file: String,
    /// The disk.
    pub disk: String,
    /// What it was asked for.
    pub operation: String,
    /// How many requests.
    pub count: u64,
    /// How much.
    pub bytes: u64,
    /// For how long, from when they were asked for until they were complete.
    pub total_ns: u64,
    /// The longest of these times.
    pub max_ns: u64,
}

impl FileReport {
    /// The file, or what stands for it.
    #[must_use]
    pub fn told(&self) -> &str {
        if self.file.is_empty() { NO_FILE } else { &self.file }
    }
}

/// What is said where no file is known.
const NO_FILE: &str = "(no file is known)";

/// How long things took: percentiles within 12 %.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LengthsReport {
    /// In all.
    pub total_ns: u64,
    /// What half of them did not exceed.
    pub p50_ns: u64,
    /// What 9 of 10 did not exceed.
    pub p90_ns: u64,
    /// What 99 of 100 did not exceed.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl LengthsReport {
    pub(super) fn of(lengths: &Lengths) -> Self {
        let [p50_ns, p90_ns, p99_ns] = [0.5, 0.9, 0.99].map(|share| lengths.quantile_ns(share));
        Self { total_ns: lengths.total_ns, p50_ns, p90_ns, p99_ns, max_ns: lengths.max_ns }
    }
}

/// The slowest that are told of: as many as each window keeps.
const SLOWEST: usize = perf_ebpf::calls::SLOWEST;

/// Of the requests of a profile; `None` if it has none recorded.
pub(super) fn block(profile: &Profile, options: &ReportOptions) -> Option<BlockReport> {
    let block = profile.block.as_ref()?;
    let seconds = profile.covered_ns() as f64 / 1e9;
    let kinds = block.sums.iter().map(|((tgid, disk, operation), kind)| {
        let process = block.processes.get(tgid).cloned().unwrap_or_default();
        let mut report = of_kind(kind, seconds);
        (report.tgid, report.process) = (*tgid, process);
        (report.disk, report.operation) = (disk.clone(), operation.clone());
        report
    });
    let mut kinds: Vec<BlockKindReport> = kinds.collect();
    kinds.sort_by(|a, b| {
        let key = |kind: &BlockKindReport| (Reverse(kind.whole.total_ns), kind.tgid);
        (key(a), &a.disk, &a.operation).cmp(&(key(b), &b.disk, &b.operation))
    });
    let most = options.top.unwrap_or(usize::MAX);
    let kinds_omitted = kinds.len().saturating_sub(most);
    kinds.truncate(most);
    let files = block.files.iter().map(|((tgid, disk, operation, file), sum)| FileReport {
        tgid: *tgid,
        process: block.processes.get(tgid).cloned().unwrap_or_default(),
        file: file.clone(),
        disk: disk.clone(),
        operation: operation.clone(),
        count: sum.count,
        bytes: sum.bytes,
        total_ns: sum.ns,
        max_ns: sum.max_ns,
    });
    let mut files: Vec<FileReport> = files.collect();
    files.sort_by(|a, b| {
        let key = |file: &FileReport| (Reverse(file.total_ns), file.tgid);
        (key(a), &a.file, &a.disk, &a.operation).cmp(&(key(b), &b.file, &b.disk, &b.operation))
    });
    let files_omitted = files.len().saturating_sub(most);
    files.truncate(most);
    let single =
        |complete: bool| block.slowest.iter().filter(move |single| single.complete == complete).cloned().collect();
    let mut slowest: Vec<SingleRequest> = single(true);
    slowest.sort_by_key(|request| (Reverse(request.length_ns()), request.start_ns, request.tid));
    slowest.truncate(most.min(SLOWEST));
    let mut open: Vec<SingleRequest> = single(false);
    open.sort_by_key(|request| (request.start_ns, request.tid));
    open.truncate(most);
    let (accounting, counters) = (block.accounting.clone(), block.counters.clone());
    Some(BlockReport { accounting, counters, kinds, kinds_omitted, files, files_omitted, slowest, open })
}

fn of_kind(kind: &BlockKind, seconds: f64) -> BlockKindReport {
    let rate = |value: u64| if seconds > 0.0 { value as f64 / seconds } else { 0.0 };
    BlockKindReport {
        count: kind.whole.count,
        per_second: rate(kind.whole.count),
        bytes: kind.bytes,
        bytes_per_second: rate(kind.bytes),
        failed: kind.failed,
        requeues: kind.requeues,
        whole: LengthsReport::of(&kind.whole),
        queue: LengthsReport::of(&kind.queue),
        device: LengthsReport::of(&kind.device),
        ..BlockKindReport::default()
    }
}

impl SingleRequest {
    /// How long it took, or has lasted.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.queue_ns.saturating_add(self.device_ns)
    }

    /// What was asked, of which file, and what became of it: `failed write vda 8.0 KiB /srv/t.db`; the sector stands for a file that
    /// is not known.
    #[must_use]
    pub fn told(&self) -> String {
        let failed = if self.failed { "failed " } else { "" };
        let mut told = format!("{failed}{} {}", self.operation, self.disk);
        if self.bytes > 0 {
            told += &format!(" {}", bytes(self.bytes));
        }
        if !self.file.is_empty() {
            told += &format!(" {}", self.file);
        } else if self.bytes > 0 {
            told += &format!(", sector {}", self.sector);
        }
        if self.requeues > 0 {
            told += &format!(", requeued {} x", self.requeues);
        }
        told
    }
}

impl BlockKindReport {
    /// `read vda`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.operation, self.disk)
    }

    /// What went wrong; empty if nothing did.
    #[must_use]
    pub fn told_failures(&self) -> String {
        let failed = (self.failed > 0).then(|| format!("failed {}", thousands(self.failed)));
        let requeues = (self.requeues > 0).then(|| format!("requeued {}", thousands(self.requeues)));
        [failed, requeues].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
