//! `cargo xtask bench`: perfprobe and its peers on the same work in the same run, as one table.

pub(crate) mod process;
mod recorder;
mod rounds;
mod table;
mod tools;
mod work;

use std::process::Command;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use crate::{command, install, mounts, workspace};
use rounds::Plan;
use table::Results;
use tools::{Ready, Tool};
use work::Work;

/// While this is 1, the kernel counts runs and time of BPF programs.
const BPF_STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Where tables stand in the docs.
const PAGE: &str = "docs/benchmarks.md";

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often everything is measured; the table shows medians
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Short runs and 3 pairs: to see that it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Only these, beside the A/A row
    #[arg(long, value_enum, value_delimiter = ',')]
    tools: Vec<Tool>,
    /// Write the table into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

/// Measures everything, round by round, and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !command::is_root() {
        bail!("the benchmark loads BPF programs and sets {BPF_STATS}: run it as root");
    }
    install::compiler()?;
    mounts::prepare()?;
    let dir = workspace::target().join("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let work = Work::compile(&dir)?;
    let mut results = Results::default();
    let mut ready = Vec::new();
    let wanted: Vec<Tool> = Tool::ALL
        .into_iter()
        .filter(|tool| args.tools.is_empty() || *tool == Tool::Nothing || args.tools.contains(tool))
        .collect();
    for tool in &wanted {
        match tool.prepare() {
            Ok(tool) => ready.push(tool),
            Err(error) => results.note(*tool, &format!("does not run here: {error:#}")),
        }
    }
    let cpus = thread::available_parallelism().context("cannot count the CPUs")?.get();
    let plan = if args.quick {
        Plan { count_seconds: 1.0, record_seconds: 2, cpus }
    } else {
        Plan { count_seconds: 3.0, record_seconds: 10, cpus }
    };
    let pairs = if args.quick { args.pairs.min(3) } else { args.pairs };
    let record_dir = dir.join("recording");
    for round in 0..pairs {
        eprintln!("round {} of {pairs}", round + 1);
        let mut order: Vec<&Ready> = ready.iter().collect();
        order.rotate_left(round as usize % ready.len());
        plan.throughput(&order, 99, &work, &record_dir, &mut results)?;
        plan.throughput(&order, 999, &work, &record_dir, &mut results)?;
        for tool in order.into_iter().filter(|tool| tool.tool != Tool::Nothing) {
            let outcome = with_bpf_stats(|| plan.samples(tool, &work, &record_dir, &mut results))
                .and_then(|()| plan.recording(tool, &work, &record_dir, &mut results));
            if let Err(error) = outcome {
                results.note(tool.tool, &format!("one measurement failed: {error:#}"));
            }
        }
    }
    let page = format!("{}\n{}", machine(args, pairs, &ready)?, results.markdown(&wanted));
    println!("{page}");
    if args.write {
        write("table", &page)?;
    }
    Ok(())
}

/// Runs `measure` while the kernel counts; sets back what was set before.
fn with_bpf_stats(measure: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = fs::read_to_string(BPF_STATS).with_context(|| format!("cannot read {BPF_STATS}"))?;
    fs::write(BPF_STATS, "1").with_context(|| format!("cannot write {BPF_STATS}"))?;
    let outcome = measure();
    fs::write(BPF_STATS, before.trim()).with_context(|| format!("cannot write {BPF_STATS}"))?;
    outcome
}

/// When, on what, of what, by which command.
fn machine(args: &Args, pairs: u32, tools: &[Ready]) -> Result<String> {
    let date = command::read(Command::new("date").arg("+%F"))?;
    let kernel = command::read(Command::new("uname").args(["-r", "-m"]))?;
    let cpu_info = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, name)| name.trim());
    let cpus = cpu_info.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let mut options = String::new();
    if args.quick {
        options.push_str(" --quick");
    } else if pairs != 7 {
        options.push_str(&format!(" --pairs {pairs}"));
    }
    if !args.tools.is_empty() {
        let names: Vec<String> =
            args.tools.iter().filter_map(|tool| Some(tool.to_possible_value()?.get_name().to_owned())).collect();
        options.push_str(&format!(" --tools {}", names.join(",")));
    }
    let versions: Vec<String> = tools.iter().map(Ready::version).filter(|version| !version.is_empty()).collect();
    Ok(format!(
        "{}, Linux {}, {cpus} CPUs ({model}), load at the end {}. Medians of {pairs} pairs; in brackets the middle half.\n\
         Versions: {}. Made by `cargo xtask bench{options} --write`.\n",
        date.trim(),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        versions.join(", "),
    ))
}

/// Writes a table to the docs, between the lines that begin and end what has this name.
pub(crate) fn write(name: &str, page: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let path = workspace::root().join(PAGE);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let (Some((head, _)), Some((_, tail))) = (old.split_once(&begin), old.split_once(&end)) else {
        bail!("{PAGE} has no lines `{begin}` and `{end}` to write between");
    };
    let new = format!("{head}{begin}\n{page}{end}{tail}");
    fs::write(&path, new).with_context(|| format!("cannot write {PAGE}"))?;
    println!("written: {PAGE}");
    Ok(())
}
