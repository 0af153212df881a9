//! CPU samples: what a sampled process loses, what a sample costs, and what the recorder takes for itself.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::recorder::{Recorder, SETTLE};
use super::table::{Column, Results};
use super::tools::{Ready, Scope, Tool};
use super::work::{Done, Kind, Work};
use super::{Measured, Settings, process, rounds, with_bpf_stats};

/// What is compared.
const TOOLS: &[Tool] = &[Tool::Nothing, Tool::Perfprobe, Tool::Perf, Tool::Bpftrace, Tool::ProfileBee];

const fn column(title: &'static str, digits: usize) -> Column {
    Column { title, digits, has_spread: false }
}

/// Of what the noise decides.
const fn noisy(title: &'static str) -> Column {
    Column { title, digits: 2, has_spread: true }
}

const LOST_99: Column = noisy("work lost, 99 Hz, %");
const LOST_999: Column = noisy("work lost, 999 Hz, %");
const LOST_CPU_999: Column = noisy("work lost per CPU second, 999 Hz, %");
const BPF_NS: Column = column("BPF a sample, ns", 0);
const FIRST_SAMPLE_MS: Column = column("first sample, ms", 0);
const RECORDER_CPU: Column = column("recorder CPU, %", 2);
const CPU_SECONDS: Column = column("CPU, start to picture, s", 2);
const PEAK_MB: Column = column("peak memory, MB", 1);
const PICTURE_SECONDS: Column = column("end to picture, s", 2);
const COLUMNS: &[Column] =
    &[LOST_99, LOST_999, LOST_CPU_999, BPF_NS, FIRST_SAMPLE_MS, RECORDER_CPU, CPU_SECONDS, PEAK_MB, PICTURE_SECONDS];

fn is_sampling(pid: u32) -> bool {
    process::attachments(pid) > 0
}

/// Measures everything, round by round.
pub(super) fn measure(settings: &Settings) -> Result<Measured> {
    let work = Work::compile(&settings.dir)?;
    let mut results = Results::default();
    let mut ready = Vec::new();
    let wanted: Vec<Tool> = TOOLS.iter().copied().filter(|tool| settings.wants(*tool)).collect();
    for tool in &wanted {
        match tool.prepare_to_draw() {
            Ok(tool) => ready.push(tool),
            Err(error) => results.note(tool.name(), &format!("does not run here: {error:#}")),
        }
    }
    let plan = if settings.quick {
        Plan { count_seconds: 1.0, record_seconds: 2, cpus: settings.cpus }
    } else {
        Plan { count_seconds: 3.0, record_seconds: 10, cpus: settings.cpus }
    };
    let dir = settings.recording();
    for round in settings.rounds() {
        let order = rounds::order(&ready, round);
        plan.throughput(&order, 99, &work, &dir, &mut results)?;
        plan.throughput(&order, 999, &work, &dir, &mut results)?;
        for tool in order.into_iter().filter(|tool| tool.tool != Tool::Nothing) {
            let outcome = with_bpf_stats(|| plan.samples(tool, &work, &dir, &mut results))
                .and_then(|()| plan.recording(tool, &work, &dir, &mut results));
            if let Err(error) = outcome {
                results.note(tool.tool.name(), &format!("one measurement failed: {error:#}"));
            }
        }
    }
    let rows: Vec<&'static str> = wanted.into_iter().map(Tool::name).collect();
    Ok(Measured { table: results.markdown(&rows, COLUMNS), tools: ready })
}

/// How long things take, and where.
struct Plan {
    /// The fixed time in which the target counts its work.
    count_seconds: f64,
    /// The length of the recording that ends in a picture.
    record_seconds: u64,
    /// The CPUs that targets are pinned to.
    cpus: usize,
}

/// The longest a target is needed while it is not counted: it is ended when the measurement is over.
const LONG_SECONDS: f64 = 120.0;

impl Plan {
    /// Throughput: without, with one tool, without, with the next, without. Each is compared with its two neighbours.
    fn throughput(
        &self,
        tools: &[&Ready],
        frequency_hz: u32,
        work: &Work,
        dir: &Path,
        results: &mut Results,
    ) -> Result<()> {
        let measure = |tool: Option<&Ready>| self.count(work, tool, frequency_hz, dir);
        rounds::interleave(tools, measure, |tool, outcome| {
            let row = tool.tool.name();
            match outcome {
                Ok(compared) => {
                    let lost = |rate: fn(&Done) -> f64| 100.0 * (1.0 - compared.ratio(rate));
                    if frequency_hz < 500 {
                        results.add(row, LOST_99, lost(|done| done.units));
                    } else {
                        results.add(row, LOST_999, lost(|done| done.units));
                        results.add(row, LOST_CPU_999, lost(|done| done.units_per_cpu_second));
                    }
                }
                Err(error) => results.note(row, &format!("one measurement failed: {error:#}")),
            }
        })
    }

    /// One count of the target's work, under a tool or alone.
    fn count(&self, work: &Work, tool: Option<&Ready>, frequency_hz: u32, dir: &Path) -> Result<Done> {
        let mut target = work.start(Kind::Mixed, self.count_seconds, self.cpus - 1)?;
        let mut recorder = None;
        if let Some(tool) = tool
            && let Some(command) = tool.record(Scope::Process(target.pid()), frequency_hz)
        {
            let mut started = Recorder::start(tool.tool.name(), command, dir)?;
            started.wait_ready(is_sampling, SETTLE)?;
            recorder = Some((started, tool));
        }
        target.go()?;
        let done = Done::of(&mut target)?;
        if let Some((recorder, tool)) = recorder {
            recorder.end_and_draw(tool)?;
        }
        Ok(done)
    }

    /// From start to the first sample of a busy process; then, every CPU busy, the cost of a sample.
    fn samples(&self, tool: &Ready, work: &Work, dir: &Path, results: &mut Results) -> Result<()> {
        let row = tool.tool.name();
        let mut targets = vec![work.start(Kind::Spin, LONG_SECONDS, 0)?];
        targets[0].go()?;
        let started = work.now()?;
        let Some(command) = tool.record(Scope::Machine, 999) else { return Ok(()) };
        let mut recorder = Recorder::start(row, command, dir)?;
        let loads_bpf = tool.tool.loads_bpf();
        if loads_bpf {
            results.add(row, FIRST_SAMPLE_MS, recorder.wait_first_run()?.as_secs_f64() * 1e3);
        }
        recorder.wait_ready(is_sampling, SETTLE)?;
        for cpu in 1..self.cpus {
            let mut target = work.start(Kind::Spin, LONG_SECONDS, cpu)?;
            target.go()?;
            targets.push(target);
        }
        let before = recorder.bpf_work();
        recorder.watch(Duration::from_secs_f64(self.count_seconds));
        let after = recorder.bpf_work();
        if loads_bpf && after.samples > before.samples {
            let cost = (after.run_time_ns - before.run_time_ns) as f64 / (after.samples - before.samples) as f64;
            results.add(row, BPF_NS, cost);
        }
        recorder.end_and_draw(tool)?;
        if let Some(first) = tool.first_sample(dir) {
            results.add(row, FIRST_SAMPLE_MS, (first - started) * 1e3);
        }
        Ok(())
    }

    /// A recording of one process at 99 Hz, from start to picture: CPU time, memory, the wait at the end.
    fn recording(&self, tool: &Ready, work: &Work, dir: &Path, results: &mut Results) -> Result<()> {
        let row = tool.tool.name();
        let mut target = work.start(Kind::Mixed, LONG_SECONDS, self.cpus - 1)?;
        target.go()?;
        let Some(command) = tool.record(Scope::Process(target.pid()), 99) else { return Ok(()) };
        let mut recorder = Recorder::start(row, command, dir)?;
        recorder.wait_ready(is_sampling, SETTLE).context("recording")?;
        let before_ns = recorder.cpu_ns();
        recorder.watch(Duration::from_secs(self.record_seconds));
        let taken_ns = recorder.cpu_ns().saturating_sub(before_ns) as f64;
        results.add(row, RECORDER_CPU, 100.0 * taken_ns / (self.record_seconds as f64 * 1e9));
        let ended = recorder.end_and_draw(tool)?;
        results.add(row, CPU_SECONDS, ended.cpu_seconds);
        results.add(row, PEAK_MB, ended.peak_rss_bytes as f64 / 1e6);
        if tool.draws() {
            results.add(row, PICTURE_SECONDS, ended.after_end.as_secs_f64());
        } else {
            results.note(row, "prints text that inferno has no reader for: no picture, its CPU time is to that text");
        }
        Ok(())
    }
}
