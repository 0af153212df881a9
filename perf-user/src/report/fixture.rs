//! A profile built in code, for the tests of reports and outputs.

use perf_ebpf::histogram::bucket;

use super::Report;
use crate::profile::{
    Accounting, Frame, FrameId, FrameKind, Lengths, Overhead, Profile, Recording, Sample, Series, StackId, Thread,
    ThreadIndex,
};

/// Builds a profile with one `cpu` series.
pub(crate) struct Builder {
    pub(crate) profile: Profile,
    window_ns: u64,
}

/// The address of every frame made by [`Builder::frame`] is this plus its id, unless it says `at`.
const ADDRESS: u64 = 0x1000;

impl Builder {
    pub(crate) fn new() -> Self {
        let recording = Recording {
            started_unix_ns: 1_735_787_045_000_000_000,
            duration_ns: 10_000_000_000,
            host: "web-1".into(),
            kernel: "6.12.0".into(),
            cpus: 4,
            target: serde_json::json!({"kind": "pid", "pids": [1234]}),
            options: serde_json::json!({"frequency_hz": 99}),
            target_label: "server (pid 1234)".into(),
            complete: true,
            warnings: Vec::new(),
        };
        let overhead = Overhead {
            bpf_ns: Some(12_300_000),
            bpf_runs: Some(9_900),
            bpf_timed_ns: None,
            recorder_cpu_ns: 40_000_000,
            recorder_peak_rss_bytes: 36_910_000,
            startup_ns: 120_000_000,
        };
        let series = Series {
            event: "cpu".into(),
            unit: "samples".into(),
            period_ns: 10_101_010,
            source: "cpu-clock".into(),
            ..Series::default()
        };
        let profile = Profile { recording, overhead, series: vec![series], ..Profile::default() };
        Self { profile, window_ns: 0 }
    }

    /// A frame from a label: `name`, `name_[k]`, `name_[i]`, `name_[j]`, `name_[w]`, or `[module+0x12]`; `name@12` gives the address.
    pub(crate) fn frame(&mut self, label: &str) -> FrameId {
        let (label, at) = match label.rsplit_once('@') {
            Some((label, at)) => (label, at.parse().ok()),
            None => (label, None),
        };
        let kinds = [FrameKind::Kernel, FrameKind::Inlined, FrameKind::Jit, FrameKind::Wait];
        let kind = kinds.into_iter().find(|kind| label.ends_with(kind.suffix())).unwrap_or(FrameKind::User);
        let name = label.strip_suffix(kind.suffix()).unwrap_or(label);
        let symbolized = !(name.starts_with('[') && name.contains("+0x"));
        let made_up = name.starts_with("[unwound no further: ") || name == "[native frames not known]";
        let module = match (kind, symbolized) {
            _ if made_up => "[unwound no further]".into(),
            (FrameKind::Kernel, _) => "[kernel]".into(),
            (FrameKind::Jit, _) => "[jit]".into(),
            (_, true) => String::from("/usr/bin/server"),
            (_, false) => format!("/usr/lib/{}", name[1..].split('+').next().unwrap_or_default()),
        };
        let strings = &mut self.profile.strings;
        let mut frame = Frame {
            function: strings.intern(name),
            module: strings.intern(&module),
            file: strings.intern(if symbolized && kind != FrameKind::Kernel { "src/server.c" } else { "" }),
            line: if symbolized && kind != FrameKind::Kernel { 7 } else { 0 },
            kind,
            symbolized,
            address: at.unwrap_or(0),
        };
        let same = |known: &Frame| Frame { address: frame.address, ..*known } == frame;
        let found = self.profile.frames.iter().position(|known| same(known) && at.is_none_or(|at| known.address == at));
        FrameId(found.unwrap_or_else(|| {
            let id = self.profile.frames.len();
            frame.address = at.unwrap_or(ADDRESS + id as u64);
            self.profile.frames.push(frame);
            id
        }) as u32)
    }

    /// `value` samples of a thread in the stack `labels`, outermost first.
    pub(crate) fn sample(mut self, (tgid, tid, comm): (u32, u32, &str), labels: &[&str], value: u64) -> Self {
        let mut stack = StackId::EMPTY;
        for label in labels {
            let frame = self.frame(label);
            stack = self.profile.stacks.push(stack, frame);
        }
        let comm = self.profile.strings.intern(comm);
        let process = self.profile.strings.intern("server");
        let thread = Thread { tgid, tid, comm, process };
        let index = self.profile.threads.iter().position(|known| *known == thread).unwrap_or_else(|| {
            self.profile.threads.push(thread);
            self.profile.threads.len() - 1
        });
        let sample = Sample { window_ns: self.window_ns, thread: ThreadIndex(index as u32), stack, value };
        self.window_ns += 1_000_000_000;
        let series = &mut self.profile.series[0];
        series.samples.push(sample);
        series.accounting.taken += value;
        series.accounting.reported += value;
        self
    }

    /// `count` samples lost.
    pub(crate) fn lost(mut self, cause: &str, count: u64) -> Self {
        let Accounting { taken, lost, .. } = &mut self.profile.series[0].accounting;
        *taken += count;
        lost.insert(cause.into(), count);
        self
    }

    pub(crate) fn build(self) -> Profile {
        self.profile
    }
}

/// Recursion, inlined, kernel and JIT frames, frames without a name, two processes, losses: 1,000 samples.
pub(crate) fn profile() -> Profile {
    let main = (1234, 1234, "server");
    let worker = (1234, 1240, "worker; 1");
    let mut profile = Builder::new()
        .sample(main, &["main", "serve", "read", "entry_SYSCALL_64_[k]", "vfs_read_[k]"], 400)
        .sample(main, &["main", "walk", "walk", "walk"], 100)
        .sample(main, &["main", "parse@64", "skip_[i]@64", "memchr_[i]@64"], 150)
        .sample(worker, &["main", "walk"], 50)
        .sample(worker, &["start", "[libcrypto.so.3+0x1f2a0]"], 120)
        .sample(worker, &["start", "[libcrypto.so.3+0x2000]"], 30)
        .sample((99, 99, "node"), &["Interpreter", "render<T>(a & b)_[j]"], 140)
        .sample((99, 99, "node"), &[], 10)
        .lost("ring_full", 12)
        .build();
    profile.series[0].unsymbolized.insert("no_symbol_table".into(), 150);
    profile.series[0].counters.insert("user_stack_truncated".into(), 3);
    profile
}

/// Of things that took so long, and how many did.
pub(super) fn lengths(lengths: &[(u64, u64)]) -> Lengths {
    let mut sum = Lengths::default();
    for (ns, count) in lengths {
        sum.count += count;
        sum.total_ns += ns * count;
        sum.max_ns = sum.max_ns.max(*ns);
        sum.buckets[bucket(*ns)] += count;
    }
    sum
}

/// Asserts that a part of a report's text, from these words up to the last section, is what a file holds, and fits a screen.
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
pub(super) fn assert_golden(report: &Report, start: &str, file: &str) {
    let text = report.to_string();
    let found = &text[text.find(start).unwrap()..text.find("\nOverhead").unwrap()];
    let path = format!("{}/src/report/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap(), "run with UPDATE_GOLDENS=1 and look at `git diff`");
    for line in found.lines() {
        assert!(line.chars().count() <= 100 && !line.chars().any(char::is_control), "{line}");
    }
}
