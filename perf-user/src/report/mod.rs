//! What a profile says, in figures: one struct that prints as text, serializes as JSON and fills the tables of pages.
//!
//! The JSON form is described in `docs/report-json.md`; a change that breaks its readers changes [`SCHEMA`].

mod block;
mod calls;
mod file_calls;
#[cfg(test)]
pub(crate) mod fixture;
pub mod human;
mod kernel_locks;
mod limit;
mod locks;
mod memory;
mod places;
mod run_queue;
mod series;
mod text;
mod threads;
mod wakes;
mod warnings;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    collect::EventKind,
    profile::{Accounting, FrameKind, Hidden, Overhead, Profile, Recording, Series, Timeline},
};
use limit::Told;
use places::Places;

pub use block::{BlockKindReport, BlockReport, FileReport, LengthsReport};
pub use calls::{CallReport, CallsReport, SlowCallReport};
pub use file_calls::{ConnectsReport, FaultsReport, FileCallReport, FileCallsReport, PeerReport, ResponsesReport};
pub use kernel_locks::{KernelLockReport, KernelLocksReport, KernelPlaceReport};
pub use limit::LimitReport;
pub use locks::{CountedWaits, DeadlockReport, DeadlockedReport, HolderReport, LockReport, LocksReport, WaiterReport};
pub use memory::{
    Class, LimitedReport, MappingReport, MemoryReport, PressureReport, ProcessMemoryReport, TouchReport, Trend,
};
pub use run_queue::{QueueReport, RunQueueReport, TakerReport};
pub use series::{ModuleReport, WalkEndReport};
pub use text::{accounting_line, amount, frequency_hz};
pub use wakes::{ChainLink, ChainReport, WakeReport};
pub use warnings::why_empty;

/// Name and version of the JSON form.
pub const SCHEMA: &str = "perfprobe.report/1";

/// How much to report.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReportOptions {
    /// The longest list of functions, threads and processes; `None` for all.
    pub top: Option<usize>,
}

/// What a profile says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Where, when and how it was recorded.
    pub recording: Recording,
    /// The time that the figures are from: the recording's duration, or the length of the slice.
    pub covered_ns: u64,
    /// What limits the program; absent unless the scheduler was recorded, or if only some waits were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitReport>,
    /// All that the reader must know before trusting the figures; the recording's own warnings among them.
    pub warnings: Vec<String>,
    /// What became of all events, by event name.
    pub accounting: BTreeMap<String, Accounting>,
    /// What the recording cost.
    pub overhead: Overhead,
    /// Of when single events are known; absent unless the recording has a timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// Waits that were left out on request, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hidden: BTreeMap<String, Hidden>,
    /// What every thread did with its time; those first that ran or waited for a CPU longest. Empty unless the scheduler was recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<ThreadTimes>,
    /// How many more threads there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub threads_omitted: usize,
    /// How long threads waited for a CPU, if the scheduler was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_queue: Option<RunQueueReport>,
    /// Who ended waits, the longest time first. Empty unless that was recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wakes: Vec<WakeReport>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub wakes_omitted: usize,
    /// Threads that waited for others, which waited themselves meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<ChainReport>,
    /// Waits for locks, if they were recorded.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub locks: Option<LocksReport>,
    /// Waits for locks of the kernel, if they were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_locks: Option<KernelLocksReport>,
    /// Requests to block devices, if they were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockReport>,
    /// System calls, if they were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<CallsReport>,
    /// System calls on files and sockets, if they were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_calls: Option<FileCallsReport>,
    /// Page faults, if they were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_faults: Option<FaultsReport>,
    /// Memory, if it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryReport>,
    /// The figures, by event name.
    #[serde(flatten)]
    pub series: BTreeMap<String, SeriesReport>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What a thread did from when it was first heard of to its end, or the end of the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ThreadTimes {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The last name that the thread had.
    pub comm: String,
    /// The name of the process.
    pub process: String,
    /// The sum of the three that follow.
    pub wall_ns: u64,
    /// It ran.
    pub running_ns: u64,
    /// It waited for a CPU.
    pub runnable_ns: u64,
    /// It waited for something else, by what; `blocked` is what no event told the reason of, or a filter left out.
    pub blocked_ns: BTreeMap<String, u64>,
    /// Where it was blocked longest, and why; absent where no stack of a program is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<PlaceReport>,
}

/// Why threads waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitReport {
    /// In words.
    pub why: String,
    /// For how long, in the series' unit.
    pub value: u64,
}

/// The figures of one event kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SeriesReport {
    /// The unit of all values here.
    pub unit: String,
    /// The nanoseconds that a value of 1 stands for; 0 where it has no such meaning.
    pub period_ns: u64,
    /// What drove the sampling.
    pub source: String,
    /// The sum of the values reported here. Less than the accounting's `reported` if this is a slice.
    pub selected: u64,
    /// Why threads waited, the longest first; empty for events that are no waits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<WaitReport>,
    /// How many more reasons there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub waits_omitted: usize,
    /// Where threads waited, as those who wrote the program would say it; those with the highest values. Only of waits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceReport>,
    /// How many more places there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub places_omitted: usize,
    /// The value of all places.
    #[serde(skip)]
    pub places_total: u64,
    /// The functions with the highest `self`, of which less than a hundredth counts as none, then the highest `total`.
    pub functions: Vec<FunctionReport>,
    /// How many more functions there are.
    pub functions_omitted: usize,
    /// The threads with the highest values.
    pub threads: Vec<ThreadReport>,
    /// How many more threads there are.
    pub threads_omitted: usize,
    /// Of those, the ones whose process has others beside them.
    #[serde(skip)]
    pub threads_omitted_of_many: usize,
    /// The processes with the highest values.
    pub processes: Vec<ProcessReport>,
    /// How many more processes there are.
    pub processes_omitted: usize,
    /// The value of samples that have no frame at all.
    pub without_stack: u64,
    /// The value of samples whose user stack shows no caller of the innermost function, goes astray, or could not be
    /// walked to its end.
    pub stacks_cut_short: u64,
    /// Whether user stacks were walked by tables of call frame information.
    #[serde(skip)]
    pub walked_by_tables: bool,
    /// The value of samples whose walk by tables ended before the outermost caller.
    #[serde(skip)]
    pub walks_ended: u64,
    /// The most frequent ways in which that happened.
    pub walk_ends: Vec<WalkEndReport>,
    /// All frames in the stacks, weighted by value.
    pub frames: u64,
    /// Those of `frames` whose function has no name.
    pub frames_unnamed: u64,
    /// Frames without a name by reason, weighted by value.
    pub unsymbolized: BTreeMap<String, u64>,
    /// The modules with the most frames without a name.
    pub unsymbolized_modules: Vec<ModuleReport>,
    /// Facts about quality that are no losses.
    pub counters: BTreeMap<String, u64>,
}

/// One function. The frames of a module that have no name are one entry together, `[module]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionReport {
    /// The name, without a suffix.
    pub name: String,
    /// The file it was mapped from.
    pub module: String,
    /// What kind of code it is.
    pub kind: FrameKind,
    /// Whether `name` is the name of a function.
    pub symbolized: bool,
    /// The value of the samples in which it is the innermost frame.
    #[serde(rename = "self")]
    pub self_value: u64,
    /// The value of the samples in which it is a frame, however often.
    pub total: u64,
}

/// A function of the program's own in which threads waited, by what it called for that and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlaceReport {
    /// The innermost function of the program's own; of its language's runtime, or the C library's, where there is none.
    pub function: String,
    /// The function of the runtime or the C library that it called; absent if it made the system call itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// The file that `function` was mapped from.
    pub module: String,
    /// Why they waited.
    pub why: String,
    /// For how long, in the series' unit.
    pub value: u64,
}

impl PlaceReport {
    /// `serve (pthread_cond_wait)`.
    #[must_use]
    pub fn label(&self) -> String {
        self.called.as_ref().map_or_else(|| self.function.clone(), |called| format!("{} ({called})", self.function))
    }
}

/// One thread under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadReport {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The name of the thread.
    pub comm: String,
    /// The name of the process.
    pub process: String,
    /// Its value, in the series' unit.
    pub samples: u64,
    /// Whether it is the only one of its process here, so that the process tells it all.
    #[serde(skip)]
    pub is_alone: bool,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// How many of its threads (by id) were sampled.
    pub threads: usize,
    /// Its value, in the series' unit.
    pub samples: u64,
}

impl SeriesReport {
    /// Whether this is only a part of what was recorded.
    #[must_use]
    pub fn is_slice(&self, accounting: &Accounting) -> bool {
        self.selected != accounting.reported
    }
}

/// Reports on `profile`, all of its series.
#[must_use]
pub fn report(profile: &Profile, options: &ReportOptions) -> Report {
    // What threads did, and for whom they waited, is no matter of functions; bytes are told beside the time that they took.
    let others = [
        EventKind::Sched,
        EventKind::OffWake,
        EventKind::IoBytes,
        EventKind::Locks,
        EventKind::Holders,
        EventKind::KernelLocks,
        EventKind::Memory,
    ];
    let others = others.map(EventKind::name);
    let shown = || profile.series.iter().filter(|series| !others.contains(&series.event.as_str()));
    let memory = profile.series(EventKind::Memory.name());
    let told = shown().chain(memory);
    let accounting = told.map(|series| (series.event.clone(), series.accounting.clone())).collect();
    let mut known = Places::new();
    let figures = |series: &Series| (series.event.clone(), series::figures(profile, series, options, &mut known));
    let series = shown().map(figures).collect();
    let mut threads = threads::times(profile, &mut known);
    let (queue, block) = (run_queue::run_queue(profile, options), block::block(profile, options));
    let file_calls = file_calls::file_calls(profile, options);
    let mut wakes = wakes::wakes(profile);
    let told = Told { block: block.as_ref(), files: file_calls.as_ref(), queue: queue.as_ref(), wakes: &wakes };
    let limit = limit::limit(profile, &threads, &told, &mut known);
    let locks = locks::locks(profile, &threads, options);
    let kernel_locks = kernel_locks::kernel_locks(profile, options, &mut known);
    let memory = memory::memory(profile, options, &mut known);
    let most = options.top.unwrap_or(usize::MAX);
    let threads_omitted = threads.len().saturating_sub(most);
    threads.truncate(most);
    let (chains, wakes_omitted) = (wakes::chains(&wakes), wakes.len().saturating_sub(most));
    wakes.truncate(most);
    Report {
        schema: SCHEMA,
        recording: profile.recording.clone(),
        covered_ns: profile.covered_ns(),
        limit,
        warnings: warnings::warnings(profile),
        accounting,
        overhead: profile.overhead.clone(),
        timeline: profile.timeline.clone(),
        hidden: profile.hidden.clone(),
        threads,
        threads_omitted,
        run_queue: queue,
        wakes,
        wakes_omitted,
        chains,
        locks,
        kernel_locks,
        block,
        calls: calls::calls(profile, options),
        file_calls,
        page_faults: file_calls::faults(profile, options),
        memory,
        series,
    }
}

#[cfg(test)]
mod tests;
