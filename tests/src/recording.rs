//! A finished recording and what can be asserted of it.

use std::path::PathBuf;

use crate::workload::logged;
use crate::{Account, Accounting, CpuMeter, Finished, Folded, Lab, Report, Used, perfprobe};

/// A finished recording with its report and its folded stacks.
#[derive(Debug)]
pub struct Recording {
    /// What perfprobe said and how it ended.
    pub finished: Finished,
    /// The recording itself.
    pub path: PathBuf,
    /// The report.
    pub report: Report,
    /// The stacks.
    pub folded: Folded,
}

impl Recording {
    /// Reads the outputs of a recorder, and asserts what must hold in every recording: taken = reported + lost, and the
    /// folded stacks, the functions and the threads tell of exactly the reported samples.
    pub(crate) fn read(finished: Finished) -> Self {
        let path = finished.directory.join("out.perfprobe");
        let json = finished.directory.join("out.json");
        let text = std::fs::read_to_string(&json)
            .unwrap_or_else(|error| panic!("read {}: {error}; perfprobe said:\n{}", json.display(), finished.stderr));
        let recording = Self {
            report: Report::parse(&text),
            folded: Folded::read(&finished.directory.join("out.folded")),
            path,
            finished,
        };
        recording.assert_balanced();
        recording
    }

    fn assert_balanced(&self) {
        let accounting = self.report.cpu_accounting();
        assert_eq!(
            accounting.taken,
            accounting.reported + accounting.lost_total(),
            "taken = reported + lost in {accounting:?}"
        );
        for (event, accounting) in &self.report.accounting {
            let Accounting { taken, reported, .. } = accounting;
            assert_eq!(
                *taken,
                reported + accounting.lost_total(),
                "taken = reported + lost of {event}: {accounting:?}"
            );
        }
        if let Some(calls) = &self.report.calls {
            let Accounting { taken, reported, .. } = &calls.accounting;
            let lost = calls.accounting.lost_total();
            assert_eq!(*taken, reported + lost, "taken = reported + lost of calls: {:?}", calls.accounting);
        }
        for thread in &self.report.threads {
            let sum = thread.running_ns + thread.runnable_ns + thread.blocked_total();
            assert_eq!(sum, thread.wall_ns, "what the thread did adds up: {thread:?}");
        }
        // Of a target without samples they are of what else was recorded.
        assert!(
            accounting.reported == 0 || self.folded.total() == accounting.reported,
            "the folded stacks hold {}, not what is reported: {}",
            self.folded.total(),
            accounting.reported
        );
        assert_eq!(self.report.thread_samples(), accounting.reported, "the threads add up to what is reported");
        for function in &self.report.cpu.functions {
            assert!(
                function.own <= function.total && function.total <= accounting.reported,
                "{function:?} of {accounting:?}"
            );
        }
    }

    /// The recording's path as an argument.
    ///
    /// # Panics
    /// If it is not UTF-8.
    #[must_use]
    pub fn path_text(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }

    /// What `perfprobe report --format json` says with these options.
    #[must_use]
    pub fn report_with(&self, lab: &Lab, options: &[&str]) -> Report {
        let arguments = [&["report", self.path_text(), "--format", "json"], options].concat();
        Report::parse(&perfprobe(lab, &arguments).succeeded().stdout)
    }

    /// The file `name` that `perfprobe export` writes with these options.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn export(&self, lab: &Lab, name: &str, options: &[&str]) -> PathBuf {
        let path = lab.file(name);
        let output = path.to_str().expect("a path in UTF-8");
        let arguments = [&["export", self.path_text(), "-o", output], options].concat();
        let _ = perfprobe(lab, &arguments).succeeded();
        assert!(path.exists(), "nothing was written to {name}");
        path
    }

    /// Asserts that the report warns of nothing.
    ///
    /// # Panics
    /// If it does.
    pub fn assert_no_warnings(&self) {
        assert!(self.report.warnings.is_empty(), "nothing is wrong, but: {:#?}", self.report.warnings);
    }

    /// Asserts that no warning of the report has these words.
    ///
    /// # Panics
    /// If one has.
    pub fn assert_no_warning_of(&self, words: &str) {
        let found = self.report.warnings.iter().find(|warning| warning.contains(words));
        assert!(found.is_none(), "nothing of this kind is wrong, but: {found:?}");
    }

    /// The samples reported.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.report.cpu_accounting().reported
    }

    /// The percentage of all reported samples in and below the function `name`.
    #[must_use]
    pub fn share_of(&self, name: &str) -> f64 {
        100.0 * self.report.total_of(name) as f64 / self.reported().max(1) as f64
    }

    /// Asserts that the share of `name` is within `points` percentage points of `percent`.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_share(&self, name: &str, percent: f64, points: f64) {
        let share = self.share_of(name);
        assert!(
            (share - percent).abs() <= points,
            "{name} has {share:.2} %, not {percent} ± {points} %, in:\n{}",
            self.folded.top()
        );
    }

    /// Asserts that `name` was seen in at least `percent` of all samples.
    ///
    /// # Panics
    /// If it was not.
    pub fn assert_at_least(&self, name: &str, percent: f64) {
        let share = self.share_of(name);
        assert!(
            share >= percent && share > 0.0,
            "{name} has {share:.2} %, not {percent} % or more, in:\n{}",
            self.folded.top()
        );
    }

    /// Asserts that `name` was not seen at all.
    ///
    /// # Panics
    /// If it was.
    pub fn assert_absent(&self, name: &str) {
        assert_eq!(self.report.total_of(name), 0, "samples of {name}, which did not run, in:\n{}", self.folded.top());
    }

    /// Asserts that the number of samples is that of `cpu_ns` of CPU time, within `percent`.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_cpu_time(&self, cpu_ns: u64, percent: f64) {
        assert_samples(self.reported(), Used { ns: cpu_ns, doubt_ns: 0 }, self.report.cpu.period_ns, percent);
    }

    /// Like [`Recording::assert_cpu_time`] where losses are wanted: it is what was taken that has to fit the CPU time.
    ///
    /// # Panics
    /// If it does not.
    pub fn assert_taken_cpu_time(&self, cpu_ns: u64, percent: f64) {
        let used = Used { ns: cpu_ns, doubt_ns: 0 };
        assert_samples(self.report.cpu_accounting().taken, used, self.report.cpu.period_ns, percent);
    }

    /// Asserts that the number of samples is that of the CPU time which `meter` saw the target use meanwhile.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_cpu_time_of(&self, meter: CpuMeter, percent: f64) {
        let start = self.report.recording.started_unix_ns;
        let used = meter.used_between(start, start + self.report.recording.duration_ns);
        assert_samples(self.reported(), used, self.report.cpu.period_ns, percent);
    }

    /// The values of all lines `key VALUE...` that a workload logged which perfprobe itself started.
    #[must_use]
    pub fn logged(&self, key: &str) -> Vec<String> {
        logged(&self.finished.directory.join("workload.log"), key)
    }

    /// What the kernel says of the threads of a workload which perfprobe itself started, as far as they logged it.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        self.logged("thread").iter().map(|line| Account::parse(line)).collect()
    }

    /// The sum of the numbers logged under `key` by a workload which perfprobe itself started.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn logged_sum(&self, key: &str) -> u64 {
        let values = self.logged(key);
        assert!(!values.is_empty(), "the workload did not log its {key}");
        values.iter().map(|value| value.parse::<u64>().expect("a number in the workload's log")).sum()
    }
}

/// Asserts that `samples`, each standing for `period_ns`, make up the time `used` within `percent`, or within what chance allows
/// where the time came in many small slices.
fn assert_samples(samples: u64, used: Used, period_ns: u64, percent: f64) {
    let [expected, doubt] = [used.ns, used.doubt_ns].map(|ns| ns as f64 / period_ns.max(1) as f64);
    let allowed = (expected * percent / 100.0).max(3.0 + 1.5 * expected.sqrt() + doubt);
    assert!(
        (samples as f64 - expected).abs() <= allowed,
        "{samples} samples of {period_ns} ns, where the target used {:.0} ms of CPU time: {expected:.0} ± {allowed:.0} expected",
        used.ns as f64 / 1e6
    );
}
