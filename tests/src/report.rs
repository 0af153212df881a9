//! The JSON report, schema `perfprobe.report/1`, as a reader that trusts nothing would declare it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{Block, Calls, Deadlock, FileCalls, KernelLocks, Lock, Memory, PageFaults, RunQueue};

/// A report.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// `perfprobe.report/1`.
    pub schema: String,
    /// Where, when and how.
    pub recording: RecordingFacts,
    /// What limits the program.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// What the reader must know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What became of all events, by event kind.
    pub accounting: BTreeMap<String, Accounting>,
    /// What the recording cost.
    pub overhead: Overhead,
    /// What threads did with their time.
    #[serde(default)]
    pub threads: Vec<ThreadTimes>,
    /// Who ended waits.
    #[serde(default)]
    pub wakes: Vec<Wake>,
    /// How long threads waited for a CPU.
    pub run_queue: Option<RunQueue>,
    /// Who waited for whom.
    #[serde(default)]
    pub chains: Vec<Chain>,
    /// Locks.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// What threads wait for that is no lock.
    #[serde(default)]
    pub no_locks: Vec<Wait>,
    /// Threads that wait for one another.
    #[serde(default)]
    pub deadlocks: Vec<Deadlock>,
    /// Locks of the kernel.
    pub kernel_locks: Option<KernelLocks>,
    /// Memory.
    pub memory: Option<Memory>,
    /// The CPU samples.
    pub cpu: Cpu,
    /// Where and why threads waited.
    pub offcpu: Option<OffCpu>,
    /// The time in system calls, by stack.
    pub syscalls: Option<OffCpu>,
    /// System calls.
    pub calls: Option<Calls>,
    /// The time of requests to disks, by stack.
    pub io: Option<OffCpu>,
    /// Requests to disks.
    pub block: Option<Block>,
    /// The time in calls on files and sockets, by stack.
    pub files: Option<OffCpu>,
    /// Calls on files and sockets.
    pub file_calls: Option<FileCalls>,
    /// The time in page faults, by stack.
    pub faults: Option<OffCpu>,
    /// Page faults.
    pub page_faults: Option<PageFaults>,
}

/// Waits that one thread ended.
#[derive(Debug, Deserialize)]
pub struct Wake {
    /// The thread that waited.
    pub tid: u32,
    /// Why.
    pub why: String,
    /// Who ended it.
    pub waker: Option<String>,
    /// For how long it waited.
    pub waited_ns: u64,
    /// What the waker waited for meanwhile.
    pub waker_waited_ns: BTreeMap<String, u64>,
}

/// Threads each of which waited for the next.
#[derive(Debug, Deserialize)]
pub struct Chain {
    /// The threads.
    pub links: Vec<Link>,
}

/// A thread in a chain.
#[derive(Debug, Deserialize)]
pub struct Link {
    /// The thread.
    pub tid: u32,
    /// Why it waited.
    pub why: String,
    /// For how long.
    pub waited_ns: u64,
}

/// Where a thread waited.
#[derive(Debug, Deserialize)]
pub struct Longest {
    /// The program's own function.
    pub function: String,
    /// Why.
    pub why: String,
}

/// What a thread did with its time.
#[derive(Debug, Deserialize)]
pub struct ThreadTimes {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// All of it.
    pub wall_ns: u64,
    /// Of that, on a CPU.
    pub running_ns: u64,
    /// Waiting for a CPU.
    pub runnable_ns: u64,
    /// Waiting for something else, by what.
    pub blocked_ns: BTreeMap<String, u64>,
    /// Where it was blocked longest.
    pub longest: Option<Longest>,
}

/// Where and why threads waited.
#[derive(Debug, Deserialize)]
pub struct OffCpu {
    /// `nanoseconds`.
    pub unit: String,
    /// By reason.
    #[serde(default)]
    pub waits: Vec<Wait>,
    /// By function of the program's own.
    #[serde(default)]
    pub places: Vec<Place>,
    /// By function.
    pub functions: Vec<Function>,
    /// By thread.
    pub threads: Vec<ThreadRow>,
    /// Facts that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
}

/// Where in the program threads waited, and why.
#[derive(Debug, Deserialize)]
pub struct Place {
    /// The function.
    pub function: String,
    /// Why.
    pub why: String,
    /// How long.
    pub value: u64,
}

/// How long threads waited for one reason.
#[derive(Debug, Deserialize)]
pub struct Wait {
    /// The reason.
    pub why: String,
    /// How long.
    pub value: u64,
}

/// Where, when and how a recording was made.
#[derive(Debug, Deserialize)]
pub struct RecordingFacts {
    /// Wall-clock start.
    pub started_unix_ns: u64,
    /// How long.
    pub duration_ns: u64,
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Online CPUs.
    pub cpus: u32,
    /// What was recorded.
    pub target: Value,
    /// The options in force.
    pub options: Value,
}

/// What became of all events of a kind.
#[derive(Debug, Deserialize)]
pub struct Accounting {
    /// All.
    pub taken: u64,
    /// Those in the report.
    pub reported: u64,
    /// The others, by cause.
    pub lost: BTreeMap<String, u64>,
}

/// What a recording cost.
#[derive(Debug, Deserialize)]
pub struct Overhead {
    /// Time in BPF programs, where the kernel counts it.
    pub bpf_ns: Option<u64>,
    /// Runs of BPF programs, where the kernel counts them.
    pub bpf_runs: Option<u64>,
    /// CPU time of the recorder.
    pub recorder_cpu_ns: u64,
    /// Peak memory of the recorder.
    pub recorder_peak_rss_bytes: u64,
}

/// The CPU samples.
#[derive(Debug, Deserialize)]
pub struct Cpu {
    /// `samples`.
    pub unit: String,
    /// CPU time that one sample stands for.
    pub period_ns: u64,
    /// By function.
    pub functions: Vec<Function>,
    /// By thread.
    pub threads: Vec<ThreadRow>,
    /// Facts that are no losses, by name.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Frames without a symbol, by reason.
    #[serde(default)]
    pub unsymbolized: BTreeMap<String, u64>,
}

/// A function's samples.
#[derive(Debug, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The file it is from.
    pub module: String,
    /// Samples in itself.
    #[serde(rename = "self")]
    pub own: u64,
    /// Samples in itself and in what it called.
    pub total: u64,
}

/// A thread's samples.
#[derive(Debug, Deserialize)]
pub struct ThreadRow {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Its samples.
    pub samples: u64,
}

impl ThreadTimes {
    /// Nanoseconds blocked, for whatever reason.
    #[must_use]
    pub fn blocked_total(&self) -> u64 {
        self.blocked_ns.values().sum()
    }
}

impl Accounting {
    /// The sum of all losses.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl Report {
    /// Reads a report from its JSON text.
    ///
    /// # Panics
    /// If it is not of the schema.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let report: Self = serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("the report is not of its schema: {error}\n{text}"));
        assert_eq!(report.schema, "perfprobe.report/1");
        report
    }

    /// The accounting of the CPU samples.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn cpu_accounting(&self) -> &Accounting {
        self.accounting.get("cpu").expect("an accounting of the event cpu")
    }

    /// The samples in and below the function `name`, over all modules.
    #[must_use]
    pub fn total_of(&self, name: &str) -> u64 {
        let wanted = |function: &&Function| bare(&function.name) == name;
        self.cpu.functions.iter().filter(wanted).map(|function| function.total).sum()
    }

    /// Nanoseconds that were waited in and below the function `name`.
    ///
    /// # Panics
    /// If waits were not recorded.
    #[must_use]
    pub fn waited_in(&self, name: &str) -> u64 {
        let functions = &self.offcpu.as_ref().expect("waits were recorded").functions;
        functions.iter().filter(|function| bare(&function.name) == name).map(|function| function.total).sum()
    }

    /// Nanoseconds that were waited for this reason.
    ///
    /// # Panics
    /// If waits were not recorded.
    #[must_use]
    pub fn waited_for(&self, why: &str) -> u64 {
        let waits = &self.offcpu.as_ref().expect("waits were recorded").waits;
        waits.iter().filter(|wait| wait.why == why).map(|wait| wait.value).sum()
    }

    /// Nanoseconds in the system call `name`, as those stand for it that were taken with their stack.
    ///
    /// # Panics
    /// If system calls were not recorded.
    #[must_use]
    pub fn in_calls(&self, name: &str) -> u64 {
        let calls = &self.syscalls.as_ref().expect("system calls were recorded").waits;
        calls.iter().filter(|call| call.why == name).map(|call| call.value).sum()
    }

    /// What the thread did with its time.
    ///
    /// # Panics
    /// If that is not told.
    #[must_use]
    pub fn times_of(&self, tid: u32) -> &ThreadTimes {
        self.threads.iter().find(|thread| thread.tid == tid).unwrap_or_else(|| panic!("no times of thread {tid}"))
    }

    /// The samples that the listed threads add up to.
    #[must_use]
    pub fn thread_samples(&self) -> u64 {
        self.cpu.threads.iter().map(|thread| thread.samples).sum()
    }
}

/// A function's name without the suffix that tells its kind.
pub(crate) fn bare(name: &str) -> &str {
    ["_[k]", "_[i]", "_[j]", "_[p]", "_[w]"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// What limits the program.
#[derive(Clone, Debug, Deserialize)]
pub struct Limit {
    /// What threads did for most of the time in which they were not idle.
    pub what: String,
    /// For how long.
    pub ns: u64,
    /// Of so long.
    pub of_ns: u64,
    /// Where.
    pub place: Option<String>,
}
