//! The JSON report, schema `perfprobe.report/1`, as a reader that trusts nothing would declare it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A report.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// `perfprobe.report/1`.
    pub schema: String,
    /// Where, when and how.
    pub recording: RecordingFacts,
    /// What the reader must know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What became of all events, by event kind.
    pub accounting: BTreeMap<String, Accounting>,
    /// What the recording cost.
    pub overhead: Overhead,
    /// The CPU samples.
    pub cpu: Cpu,
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

    /// The samples that the listed threads add up to.
    #[must_use]
    pub fn thread_samples(&self) -> u64 {
        self.cpu.threads.iter().map(|thread| thread.samples).sum()
    }
}

/// A function's name without the suffix that tells its kind.
pub(crate) fn bare(name: &str) -> &str {
    ["_[k]", "_[i]", "_[j]", "_[p]"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}
