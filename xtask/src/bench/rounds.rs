//! The measurements: each takes every tool once, so that tools are compared within the same minute.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::recorder::Recorder;
use super::table::{Metric, Results};
use super::tools::{Ready, Scope, Tool};
use super::work::{Done, Kind, Work};

/// How long things take, and where.
pub(crate) struct Plan {
    /// The fixed time in which the target counts its work.
    pub(crate) count_seconds: f64,
    /// The length of the recording that ends in a picture.
    pub(crate) record_seconds: u64,
    /// The CPUs that targets are pinned to.
    pub(crate) cpus: usize,
}

/// The longest a target is needed while it is not counted: it is ended when the measurement is over.
const LONG_SECONDS: f64 = 120.0;

impl Plan {
    /// Throughput: without, with one tool, without, with the next, without. Each is compared with its two neighbours.
    pub(crate) fn throughput(
        &self,
        tools: &[&Ready],
        frequency_hz: u32,
        work: &Work,
        dir: &Path,
        results: &mut Results,
    ) -> Result<()> {
        let mut before = self.count(work, None, frequency_hz, dir)?;
        for tool in tools {
            let with = match self.count(work, Some(tool), frequency_hz, dir) {
                Ok(done) => done,
                Err(error) => {
                    results.note(tool.tool, &format!("one measurement failed: {error:#}"));
                    continue;
                }
            };
            let after = self.count(work, None, frequency_hz, dir)?;
            let lost = |rate: fn(&Done) -> f64| 100.0 * (1.0 - rate(&with) / ((rate(&before) + rate(&after)) / 2.0));
            if frequency_hz < 500 {
                results.add(tool.tool, Metric::Lost99, lost(|done| done.units));
            } else {
                results.add(tool.tool, Metric::Lost999, lost(|done| done.units));
                results.add(tool.tool, Metric::LostCpu999, lost(|done| done.units_per_cpu_second));
            }
            before = after;
        }
        Ok(())
    }

    /// One count of the target's work, under a tool or alone.
    fn count(&self, work: &Work, tool: Option<&Ready>, frequency_hz: u32, dir: &Path) -> Result<Done> {
        let mut target = work.start(Kind::Mixed, self.count_seconds, self.cpus - 1)?;
        let mut recorder = match tool {
            Some(tool) => Recorder::start(tool, Scope::Process(target.pid()), frequency_hz, dir)?,
            None => None,
        };
        if let Some(recorder) = &mut recorder {
            recorder.wait_ready()?;
        }
        target.go()?;
        let done = target.done()?;
        if let (Some(recorder), Some(tool)) = (recorder, tool) {
            recorder.end(tool)?;
        }
        Ok(done)
    }

    /// From start to the first sample of a busy process; then, every CPU busy, the cost of a sample.
    pub(crate) fn samples(&self, tool: &Ready, work: &Work, dir: &Path, results: &mut Results) -> Result<()> {
        let mut targets = vec![work.start(Kind::Spin, LONG_SECONDS, 0)?];
        targets[0].go()?;
        let started = work.now()?;
        let Some(mut recorder) = Recorder::start(tool, Scope::Machine, 999, dir)? else { return Ok(()) };
        let loads_bpf = tool.tool != Tool::Perf;
        if loads_bpf {
            results.add(tool.tool, Metric::FirstSampleMs, recorder.wait_first_run()?.as_secs_f64() * 1e3);
        }
        recorder.wait_ready()?;
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
            results.add(tool.tool, Metric::BpfNs, cost);
        }
        recorder.end(tool)?;
        if let Some(first) = tool.first_sample(dir) {
            results.add(tool.tool, Metric::FirstSampleMs, (first - started) * 1e3);
        }
        Ok(())
    }

    /// A recording of one process at 99 Hz, from start to picture: CPU time, memory, the wait at the end.
    pub(crate) fn recording(&self, tool: &Ready, work: &Work, dir: &Path, results: &mut Results) -> Result<()> {
        let mut target = work.start(Kind::Mixed, LONG_SECONDS, self.cpus - 1)?;
        target.go()?;
        let Some(mut recorder) = Recorder::start(tool, Scope::Process(target.pid()), 99, dir)? else { return Ok(()) };
        recorder.wait_ready().context("recording")?;
        let before_ns = recorder.cpu_ns();
        recorder.watch(Duration::from_secs(self.record_seconds));
        let taken_ns = recorder.cpu_ns().saturating_sub(before_ns) as f64;
        results.add(tool.tool, Metric::RecorderCpu, 100.0 * taken_ns / (self.record_seconds as f64 * 1e9));
        let ended = recorder.end(tool)?;
        results.add(tool.tool, Metric::CpuSeconds, ended.cpu_seconds);
        results.add(tool.tool, Metric::PeakMb, ended.peak_rss_bytes as f64 / 1e6);
        if tool.draws() {
            results.add(tool.tool, Metric::PictureSeconds, ended.after_end.as_secs_f64());
        } else {
            results.note(
                tool.tool,
                "prints text that inferno has no reader for: no picture, its CPU time is to that text",
            );
        }
        Ok(())
    }
}
