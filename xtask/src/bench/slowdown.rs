//! Waits and system calls: how much longer work takes while it, or something else, is recorded.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::loads::{self, Load};
use super::process::{self, BpfWork};
use super::recorder::{self, Recorder};
use super::rounds::{self, Compared};
use super::site::{Serving, Site};
use super::table::{self, Column, Results};
use super::target::Target;
use super::tools::{Ready, Tool};
use super::ways::{self, Way};
use super::{Measured, Settings, with_bpf_stats};

/// A table: what works, by columns, and the ways to record it, by rows.
pub(super) struct Slowdown {
    /// The first shows what each run of a BPF program costs, too.
    loads: &'static [Load],
    ways: &'static [Way],
}

pub(super) static WAITS: Slowdown = Slowdown { loads: loads::WAITS, ways: ways::WAITS };
pub(super) static CALLS: Slowdown = Slowdown { loads: loads::CALLS, ways: ways::CALLS };
pub(super) static FILES: Slowdown = Slowdown { loads: loads::FILES, ways: ways::FILES };
pub(super) static MEMORY: Slowdown = Slowdown { loads: loads::MEMORY, ways: ways::MEMORY };
pub(super) static LOCKS: Slowdown = Slowdown { loads: loads::LOCKS, ways: ways::LOCKS };

const BPF_NS: Column = Column { title: "BPF a run, ns", digits: 0, has_spread: false };
/// Of work that nothing records: no row of the table.
const ALONE: &str = "alone";
/// Of work that is slowed so much that less of it does, so much less.
const SLOW: u64 = 50;
/// How often programs are looked at that end with their target.
const LOOK: Duration = Duration::from_millis(20);

/// How fast the work was.
#[derive(Clone, Copy)]
struct Speed {
    /// Of a unit.
    seconds: f64,
    /// The same of the working process's first thread on a CPU: what other processes take does not show here.
    cpu_ns: f64,
}

struct Bench<'a> {
    settings: &'a Settings,
    tools: BTreeMap<Tool, Ready>,
    /// The process that is recorded instead of the one that works.
    other: Target,
}

/// The time that the work takes, by that alone.
fn ratio(load: &Load) -> Column {
    Column { title: load.name, digits: 2, has_spread: true }
}

/// Measures every load in every way, round by round.
pub(super) fn measure(slowdown: &Slowdown, settings: &Settings) -> Result<Measured> {
    let mut results = Results::default();
    // It sleeps until its input ends.
    let mut bench = Bench { settings, tools: BTreeMap::new(), other: Target::start(&mut Command::new("cat"))? };
    let rows: Vec<&Way> = slowdown.ways.iter().filter(|way| settings.wants(way.tool)).collect();
    let ways = bench.prepare(&rows, &mut results);
    let mut sites = Vec::new();
    for load in slowdown.loads {
        match Site::prepare(load, &settings.dir, settings.cpus) {
            Ok(site) => sites.push(site),
            Err(error) => results.note(load.name, &format!("cannot be had here: {error:#}")),
        }
    }
    for round in settings.rounds() {
        let order: Vec<&Way> = rounds::order(&ways, round).into_iter().copied().collect();
        for (index, site) in sites.iter().enumerate() {
            if let Err(error) = bench.compare(site, &order, index == 0, &mut results) {
                results.note(site.load.name, &format!("one round failed: {error:#}"));
            }
        }
    }
    let mut columns = Vec::new();
    for load in slowdown.loads {
        columns.push(ratio(load));
        columns.extend(load.step.iter().flat_map(|step| [step.cpu, step.more_ns]));
    }
    columns.push(BPF_NS);
    let rows: Vec<&'static str> = rows.iter().map(|way| way.name).collect();
    let mut table = results.markdown(&rows, &columns);
    table.push('\n');
    for site in &sites {
        if let Some(rate) = results.median(ALONE, ratio(site.load)) {
            let (name, work) = (site.load.name, site.work(bench.amount(site.load, None)));
            writeln!(table, "- {name}: `{work}`; alone {} {} a second", table::count(rate), site.load.unit)?;
        }
    }
    Ok(Measured { table, tools: bench.tools.into_values().collect() })
}

impl Bench<'_> {
    /// Installs the tools; returns the ways that they allow.
    fn prepare(&mut self, wanted: &[&'static Way], results: &mut Results) -> Vec<&'static Way> {
        let mut ways = Vec::new();
        for way in wanted {
            if let Entry::Vacant(place) = self.tools.entry(way.tool) {
                match way.tool.prepare() {
                    Ok(ready) => drop(place.insert(ready)),
                    Err(error) => {
                        results.note(way.name, &format!("does not run here: {error:#}"));
                        continue;
                    }
                }
            }
            ways.push(*way);
        }
        ways
    }

    /// One round of one load: each way between two runs alone, then the cost of BPF programs where that is asked for.
    fn compare(&self, site: &Site, ways: &[&Way], counts_bpf: bool, results: &mut Results) -> Result<()> {
        let load = site.load;
        let ways: Vec<&Way> =
            ways.iter().copied().filter(|way| load.is_one_process || !way.is_of_one_process).collect();
        let serving = site.serve()?;
        let serving = serving.as_ref();
        // The first run has to fill caches, and counts for nothing.
        self.run(site, serving, None, |_, _| ())?;
        let measure = |way: Option<&Way>| self.run(site, serving, way, |_, _| ());
        rounds::interleave(&ways, measure, |way, outcome| match outcome {
            Ok(compared) => add(load, way, &compared, results),
            Err(error) => results.note(way.name, &format!("one measurement of {} failed: {error:#}", load.name)),
        })?;
        for way in ways.into_iter().filter(|way| counts_bpf && way.tool.loads_bpf()) {
            match with_bpf_stats(|| self.bpf(site, serving, way)) {
                Ok(Some(cost)) => results.add(way.name, BPF_NS, cost),
                Ok(None) => results.note(way.name, "none of its BPF programs was seen to run"),
                Err(error) => results.note(way.name, &format!("one look at its BPF programs failed: {error:#}")),
            }
        }
        Ok(())
    }

    /// Nanoseconds that a run of a BPF program takes while the load works.
    fn bpf(&self, site: &Site, serving: Option<&Serving>, way: &Way) -> Result<Option<f64>> {
        let mut seen: Option<(BpfWork, BpfWork)> = None;
        self.run(site, serving, Some(way), |target, recorder| {
            let first = recorder.bpf_work();
            let mut last = first;
            // Its programs may be gone with its target, so that the last look finds less.
            let mut is_over = false;
            while !is_over {
                is_over = process::is_over(target.pid());
                let now = recorder.bpf_work();
                if now.runs > last.runs {
                    last = now;
                }
                thread::sleep(LOOK);
            }
            seen = Some((first, last));
        })?;
        let Some((first, last)) = seen.filter(|(first, last)| last.runs > first.runs) else { return Ok(None) };
        Ok(Some((last.run_time_ns - first.run_time_ns) as f64 / (last.runs - first.runs) as f64))
    }

    /// The speed of the load, recorded in this way or alone; the recorder is given to `watch` at the start.
    fn run(
        &self,
        site: &Site,
        serving: Option<&Serving>,
        way: Option<&Way>,
        watch: impl FnOnce(&Target, &Recorder),
    ) -> Result<Speed> {
        let amount = self.amount(site.load, way);
        let mut target = site.start(amount)?;
        let recorder = match way {
            Some(way) => self.record(way, serving.map_or(target.pid(), Serving::pid))?,
            None => None,
        };
        target.go()?;
        if let Some(recorder) = &recorder {
            watch(&target, recorder);
        }
        let text = target.rest()?;
        while !process::is_over(target.pid()) {
            thread::sleep(process::POLL);
        }
        let cpu_ns = process::cpu_ns(target.pid()) as f64 / amount as f64;
        if let Some(recorder) = recorder {
            recorder.end()?;
        }
        let Some(rate) = (site.load.rate)(&text).filter(|rate| *rate > 0.0) else {
            let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
            bail!("the work printed no speed, but `{}`", last.trim());
        };
        Ok(Speed { seconds: 1.0 / rate, cpu_ns })
    }

    /// A recorder that records. None of the way that starts nothing.
    fn record(&self, way: &Way, target: u32) -> Result<Option<Recorder>> {
        let tool = self.tools.get(&way.tool).context("its tool is not installed")?;
        let Some(command) = way.command(tool, target, self.other.pid()) else { return Ok(None) };
        let mut recorder = Recorder::start(way.name, command, &self.settings.recording())?;
        let settle = if self.settings.quick { recorder::SETTLE / 5 } else { recorder::SETTLE };
        let is_strace = way.tool == Tool::Strace;
        let is_ready = |pid| if is_strace { process::is_traced(target) } else { process::attachments(pid) > 0 };
        recorder.wait_ready(is_ready, settle)?;
        Ok(Some(recorder))
    }

    fn amount(&self, load: &Load, way: Option<&Way>) -> u64 {
        let quick = if self.settings.quick { 5 } else { 1 };
        let slow = if way.is_some_and(|way| way.is_slow) { SLOW } else { 1 };
        (load.amount / quick / slow).max(1)
    }
}

fn add(load: &Load, way: &Way, compared: &Compared<Speed>, results: &mut Results) {
    let seconds = |speed: &Speed| speed.seconds;
    results.add(way.name, ratio(load), compared.ratio(seconds));
    results.add(ALONE, ratio(load), 1.0 / compared.alone(seconds));
    if let Some(step) = &load.step {
        let more = compared.with.seconds - compared.alone(seconds);
        results.add(way.name, step.more_ns, 1e9 * more / step.in_unit);
        // What stops its target has the time for itself, and of so little work the start is too large a part.
        if !way.is_slow {
            results.add(way.name, step.cpu, compared.ratio(|speed| speed.cpu_ns));
        }
    }
}
