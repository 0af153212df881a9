//! The profile: what a recording, or a slice of one, says, with every name resolved and every loss counted.

mod block;
mod calls;
mod file_calls;
mod fold;
mod idle;
mod kernel_locks;
mod latencies;
mod lengths;
mod locks;
mod memory;
mod owner;
mod run_queue;
mod simple_names;
mod stacks;
mod strings;
mod timeline;
mod waits;

pub use block::{Block, BlockKind, FileIo, SingleRequest};
pub use calls::{CallKind, Calls, SingleCall};
pub use file_calls::{FileCall, FileCalls, Peer};
pub use fold::FoldOptions;
pub use idle::{IDLE_POOL, Pools};
pub use kernel_locks::KernelLocks;
pub use latencies::{Latencies, Latency};
pub use lengths::Lengths;
pub use locks::{Deadlocked, Lock, LockHold, LockKind, LockWait, Locks};
pub use memory::{GaugePoints, MOST_POINTS, Mappings, Memory, OTHER_MAPPINGS, ProcessMemory};
pub use owner::{Owner, Place, bare};
pub use run_queue::{RunQueues, Takers};
pub use simple_names::simple_name;
pub use stacks::{Frame, FrameId, FrameKind, StackId, Stacks};
pub use strings::{StringId, Strings};
pub use timeline::{Moment, Timeline};
pub use waits::{Hidden, IDLE, WALL};

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Index into [`Profile::threads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadIndex(pub u32);

/// A thread that was seen, under the name it had. A thread that changes its name appears once for each name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name when it was sampled (at most 15 bytes).
    pub comm: StringId,
    /// The name of the process (of its main thread), as last known.
    pub process: StringId,
}

/// One aggregated value: how much of the event this stack of this thread took in this window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Start of the window, nanoseconds after the start of the recording.
    pub window_ns: u64,
    /// Who.
    pub thread: ThreadIndex,
    /// Where.
    pub stack: StackId,
    /// How much, in the series' unit.
    pub value: u64,
}

/// What became of everything that was taken: `taken = reported + the sum of lost`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Events of the target that the kernel half saw.
    pub taken: u64,
    /// Events that are in this recording.
    pub reported: u64,
    /// Events that are not, by cause.
    pub lost: BTreeMap<String, u64>,
}

impl Accounting {
    /// A lost share above this is told wherever there is a place to tell it.
    pub const NOTABLE_LOSS: f64 = 0.01;

    /// All that was lost.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }

    /// The lost share of what was taken, 0 to 1; 0 when nothing was taken.
    #[must_use]
    pub fn lost_share(&self) -> f64 {
        if self.taken == 0 { 0.0 } else { self.lost_total() as f64 / self.taken as f64 }
    }

    /// Whether every event taken is either reported or lost for a named cause.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.taken == self.reported + self.lost_total()
    }
}

/// All values of one event kind.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The event's name on the command line: `cpu`.
    pub event: String,
    /// The unit of the values: `samples`, later `ns`, `bytes`.
    pub unit: String,
    /// What one value of 1 stands for in nanoseconds (1e9 / frequency); 0 where it has no such meaning.
    pub period_ns: u64,
    /// What drives the sampling: `cpu-clock` or `cycles`.
    pub source: String,
    /// The samples, in the order of their windows. Their values sum to `accounting.reported` if the profile is unfiltered.
    pub samples: Vec<Sample>,
    /// What became of all events, over the windows of the profile, for all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses, by name: `user_stack_truncated`, `timer_ticks`, ...
    pub counters: BTreeMap<String, u64>,
    /// Frames (weighted by value) without a symbol, by reason.
    pub unsymbolized: BTreeMap<String, u64>,
    /// Single events, if the recording has a timeline and it was asked for; sorted by their beginning.
    pub moments: Vec<Moment>,
}

impl Series {
    /// The sum of the values held, after filters.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.samples.iter().map(|sample| sample.value).sum()
    }
}

/// Where, when and how the recording was made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recording {
    /// Wall-clock start, nanoseconds since 1970-01-01 UTC.
    pub started_unix_ns: u64,
    /// From the start of sampling to its end.
    pub duration_ns: u64,
    /// Host name.
    pub host: String,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// Online CPUs at the start.
    pub cpus: u32,
    /// What was recorded, e.g. `{"kind":"pid","pids":[1234],"comm":"redis-server"}`.
    pub target: serde_json::Value,
    /// The options in force, e.g. `{"frequency_hz":99}`.
    pub options: serde_json::Value,
    /// One line for titles: `redis-server (pid 1234)`.
    pub target_label: String,
    /// False when the recorder was killed and could not close the recording.
    pub complete: bool,
    /// Things the user must know: `CPU 3 came online after the start and was not sampled`.
    pub warnings: Vec<String>,
}

/// What the recording itself cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overhead {
    /// From the start of the program until every CPU was being sampled.
    pub startup_ns: u64,
    /// Time spent in our BPF programs, by what they took while they were timed; `None` when the kernel would not count it.
    pub bpf_ns: Option<u64>,
    /// Runs of our BPF programs, by how many there were while they were timed.
    pub bpf_runs: Option<u64>,
    /// For how long they were timed; `None` in recordings that were made when they always were.
    #[serde(default)]
    pub bpf_timed_ns: Option<u64>,
    /// CPU time of the recorder process, user and system.
    pub recorder_cpu_ns: u64,
    /// Peak resident memory of the recorder.
    pub recorder_peak_rss_bytes: u64,
}

/// A recording, or a slice of one, ready to be drawn, exported or reported.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Where and how it was made.
    pub recording: Recording,
    /// How much of the recording's time this is; 0 for all of it.
    pub slice_ns: u64,
    /// What it cost.
    pub overhead: Overhead,
    /// All texts.
    pub strings: Strings,
    /// All frames.
    pub frames: Vec<Frame>,
    /// Why frames have no name, of those that have none.
    pub unnamed: HashMap<FrameId, StringId>,
    /// All stacks.
    pub stacks: Stacks,
    /// All threads.
    pub threads: Vec<Thread>,
    /// How long threads waited for a CPU.
    pub run_queues: RunQueues,
    /// What happened at locks.
    pub locks: Locks,
    /// One entry for each event kind recorded.
    pub series: Vec<Series>,
    /// System calls, if they were recorded.
    pub calls: Option<Calls>,
    /// Requests to devices, if they were recorded.
    pub block: Option<Block>,
    /// System calls on files and sockets, if they were recorded.
    pub file_calls: Option<FileCalls>,
    /// Page faults, as calls on what is mapped, if they were recorded.
    pub faults: Option<FileCalls>,
    /// Waits for locks of the kernel, if they were recorded.
    pub kernel_locks: Option<KernelLocks>,
    /// How much memory processes had, if that was recorded.
    pub memory: Option<Memory>,
    /// How long things took over time, if that was asked for.
    pub latencies: Latencies,
    /// What is known of the timeline, if there is one.
    pub timeline: Option<Timeline>,
    /// Waits that were left out on request, by reason.
    pub hidden: BTreeMap<String, Hidden>,
}

impl Profile {
    /// The time that the samples are from: the recording's duration, or the length of the slice.
    #[must_use]
    pub fn covered_ns(&self) -> u64 {
        if self.slice_ns == 0 { self.recording.duration_ns } else { self.slice_ns }
    }

    /// The series of `event`, if it was recorded.
    #[must_use]
    pub fn series(&self, event: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.event == event)
    }

    /// The function name of a frame with its kind's suffix, as folded stacks and flame graphs show it.
    #[must_use]
    pub fn frame_label(&self, frame: FrameId) -> String {
        let Some(frame) = self.frames.get(frame.0 as usize) else { return String::from("[?]") };
        format!("{}{}", self.strings.get(frame.function), frame.kind.suffix())
    }
}
