//! The profile: what a recording, or a slice of one, says, with every name resolved and every loss counted.

mod fold;

pub use fold::FoldOptions;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Index into [`Strings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StringId(pub u32);

/// Index into [`Profile::frames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u32);

/// Index into [`Stacks`]; [`StackId::EMPTY`] is the stack without frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(pub u32);

impl StackId {
    /// The root of the stack tree: no frames.
    pub const EMPTY: Self = Self(0);
}

/// Index into [`Profile::threads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadIndex(pub u32);

/// Interned strings; the empty string is always there, at id 0.
#[derive(Clone, Debug)]
pub struct Strings {
    all: Vec<Box<str>>,
    ids: HashMap<Box<str>, StringId>,
}

impl Default for Strings {
    fn default() -> Self {
        let mut strings = Self { all: Vec::new(), ids: HashMap::new() };
        strings.intern("");
        strings
    }
}

impl Strings {
    /// The id of `text`, which is added when it is new.
    pub fn intern(&mut self, text: &str) -> StringId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = StringId(self.all.len() as u32);
        self.all.push(text.into());
        self.ids.insert(text.into(), id);
        id
    }

    /// The text of `id`; the empty string for an id that is not from this table.
    #[must_use]
    pub fn get(&self, id: StringId) -> &str {
        self.all.get(id.0 as usize).map_or("", |text| text)
    }

    /// All strings in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(AsRef::as_ref)
    }
}

/// What kind of code a frame ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameKind {
    /// A function of the program or one of its libraries.
    User,
    /// A function that the compiler inlined into the frame below it.
    Inlined,
    /// A function of the kernel or of a kernel module.
    Kernel,
    /// Code in memory that belongs to no file: generated at run time.
    Jit,
}

impl FrameKind {
    /// The suffix that folded stacks and flame graphs carry, as established by `FlameGraph`.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::User => "",
            Self::Inlined => "_[i]",
            Self::Kernel => "_[k]",
            Self::Jit => "_[j]",
        }
    }
}

/// One function in a stack, named. Two frames are the same frame only if all fields are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The demangled function name, or `[module+0xoffset]` where there is no symbol; never empty.
    pub function: StringId,
    /// The file the code was mapped from, as the target sees its path; `[kernel]`, `[vdso]`, `[jit]`, `[unmapped]`.
    pub module: StringId,
    /// The source file; the empty string when it is unknown.
    pub file: StringId,
    /// The line in `file`, from 1; 0 when it is unknown.
    pub line: u32,
    /// What kind of code it is.
    pub kind: FrameKind,
    /// False when `function` is a made-up `[module+0xoffset]`.
    pub symbolized: bool,
    /// The address as it stands in the module's file (its file offset), or the kernel address.
    pub address: u64,
}

/// All stacks, as a tree in which every node names its caller.
#[derive(Clone, Debug)]
pub struct Stacks {
    nodes: Vec<(StackId, FrameId)>,
    ids: HashMap<(StackId, FrameId), StackId>,
}

impl Default for Stacks {
    fn default() -> Self {
        Self { nodes: vec![(StackId::EMPTY, FrameId(u32::MAX))], ids: HashMap::new() }
    }
}

impl Stacks {
    /// The stack that is `caller` plus `frame` on top of it.
    pub fn push(&mut self, caller: StackId, frame: FrameId) -> StackId {
        let next = StackId(self.nodes.len() as u32);
        let id = *self.ids.entry((caller, frame)).or_insert(next);
        if id == next {
            self.nodes.push((caller, frame));
        }
        id
    }

    /// The frames of `stack`, leaf first.
    pub fn leaf_to_root(&self, stack: StackId) -> impl Iterator<Item = FrameId> + '_ {
        let mut at = stack;
        std::iter::from_fn(move || {
            let (caller, frame) = *self.nodes.get(at.0 as usize)?;
            if at == StackId::EMPTY {
                return None;
            }
            at = caller;
            Some(frame)
        })
    }

    /// The frames of `stack`, outermost first.
    #[must_use]
    pub fn root_to_leaf(&self, stack: StackId) -> Vec<FrameId> {
        let mut frames: Vec<_> = self.leaf_to_root(stack).collect();
        frames.reverse();
        frames
    }

    /// The number of nodes, the empty stack among them.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }
}

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
    /// What became of all events, over the whole recording (a slice has its recording's accounting).
    pub accounting: Accounting,
    /// Facts about quality that are no losses, by name: `user_stack_truncated`, `timer_ticks`, ...
    pub counters: BTreeMap<String, u64>,
    /// Frames (weighted by value) without a symbol, by reason.
    pub unsymbolized: BTreeMap<String, u64>,
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
    /// Time spent in our BPF programs; `None` when the kernel would not count it.
    pub bpf_ns: Option<u64>,
    /// Runs of our BPF programs.
    pub bpf_runs: Option<u64>,
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
    /// What it cost.
    pub overhead: Overhead,
    /// All texts.
    pub strings: Strings,
    /// All frames.
    pub frames: Vec<Frame>,
    /// All stacks.
    pub stacks: Stacks,
    /// All threads.
    pub threads: Vec<Thread>,
    /// One entry for each event kind recorded.
    pub series: Vec<Series>,
}

impl Profile {
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
