//! `cargo xtask bench`: perfprobe and its peers on the same work in the same run, as one table.

mod cpu;
mod loads;
pub(crate) mod process;
mod recorder;
mod rounds;
mod site;
mod slowdown;
mod table;
mod target;
mod tools;
mod ways;
mod work;

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use crate::{command, install, mounts, workspace};
use tools::{Ready, Tool};

/// While this is 1, the kernel counts runs and time of BPF programs.
const BPF_STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Where tables stand in the docs.
const PAGE: &str = "docs/benchmarks.md";

/// What is recorded; each has a table.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// CPU samples
    Cpu,
    /// Waits and the run queue
    Waits,
    /// System calls
    Calls,
    /// Requests to disks, calls on files and sockets, and page faults
    Files,
    /// Locks
    Locks,
    /// Memory that is touched
    Memory,
}

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The tables to make; default: all
    #[arg(value_enum)]
    subjects: Vec<Subject>,
    /// How often everything is measured; tables show medians; default: 7 for samples, else 4
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,
    /// Short runs and few pairs: to see that it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Only these, beside the A/A row
    #[arg(long, value_enum, value_delimiter = ',')]
    tools: Vec<Tool>,
    /// Write the tables into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

/// What a table is made by.
struct Settings {
    subject: Subject,
    pairs: u32,
    quick: bool,
    tools: Vec<Tool>,
    /// For what is compiled, served and recorded
    dir: PathBuf,
    cpus: usize,
}

/// A table, and the tools in it.
struct Measured {
    table: String,
    tools: Vec<Ready>,
}

impl Subject {
    /// On the command line, and in the docs' lines that begin and end its table.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Settings {
    fn of(args: &Args, subject: Subject) -> Result<Self> {
        let (usual, quick) = if subject == Subject::Cpu { (7, 3) } else { (4, 1) };
        let pairs = args.pairs.unwrap_or(usual);
        Ok(Self {
            subject,
            pairs: if args.quick { pairs.min(quick) } else { pairs },
            quick: args.quick,
            tools: args.tools.clone(),
            dir: workspace::target().join("bench"),
            cpus: thread::available_parallelism().context("cannot count the CPUs")?.get(),
        })
    }

    fn wants(&self, tool: Tool) -> bool {
        self.tools.is_empty() || tool == Tool::Nothing || self.tools.contains(&tool)
    }

    /// The folder that each recording gets anew.
    fn recording(&self) -> PathBuf {
        self.dir.join("recording")
    }

    /// The rounds, each told when it begins.
    fn rounds(&self) -> impl Iterator<Item = u32> {
        let rounds: Range<u32> = 0..self.pairs;
        rounds.inspect(|round| eprintln!("{}: round {} of {}", self.subject.name(), round + 1, self.pairs))
    }
}

/// Measures everything, round by round, and prints the tables.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !command::is_root() {
        bail!("the benchmark loads BPF programs and sets {BPF_STATS}: run it as root");
    }
    install::compiler()?;
    mounts::prepare()?;
    let wanted = |subject: &&Subject| args.subjects.is_empty() || args.subjects.contains(subject);
    for subject in Subject::value_variants().iter().filter(wanted) {
        let settings = Settings::of(args, *subject)?;
        fs::create_dir_all(&settings.dir).with_context(|| format!("cannot create {}", settings.dir.display()))?;
        let measured = match subject {
            Subject::Cpu => cpu::measure(&settings)?,
            Subject::Waits => slowdown::measure(&slowdown::WAITS, &settings)?,
            Subject::Calls => slowdown::measure(&slowdown::CALLS, &settings)?,
            Subject::Files => slowdown::measure(&slowdown::FILES, &settings)?,
            Subject::Memory => slowdown::measure(&slowdown::MEMORY, &settings)?,
            Subject::Locks => slowdown::measure(&slowdown::LOCKS, &settings)?,
        };
        let page = format!("{}\n{}", machine(args, &settings, &measured.tools)?, measured.table);
        println!("{page}");
        if args.write {
            write(&subject.name(), &page)?;
        }
    }
    Ok(())
}

/// Runs `measure` while the kernel counts; sets back what was set before.
fn with_bpf_stats<T>(measure: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = fs::read_to_string(BPF_STATS).with_context(|| format!("cannot read {BPF_STATS}"))?;
    fs::write(BPF_STATS, "1").with_context(|| format!("cannot write {BPF_STATS}"))?;
    let outcome = measure();
    fs::write(BPF_STATS, before.trim()).with_context(|| format!("cannot write {BPF_STATS}"))?;
    outcome
}

/// When, on what, of what, by which command.
fn machine(args: &Args, settings: &Settings, tools: &[Ready]) -> Result<String> {
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
    }
    if let Some(pairs) = args.pairs {
        options.push_str(&format!(" --pairs {pairs}"));
    }
    if !args.tools.is_empty() {
        let names: Vec<String> =
            args.tools.iter().filter_map(|tool| Some(tool.to_possible_value()?.get_name().to_owned())).collect();
        options.push_str(&format!(" --tools {}", names.join(",")));
    }
    let versions: Vec<String> = tools.iter().map(Ready::version).filter(|version| !version.is_empty()).collect();
    Ok(format!(
        "{}, Linux {}, {cpus} CPUs ({model}), load at the end {}. Medians of {} pairs; in brackets the middle half.\n\
         Versions: {}. Made by `cargo xtask bench {}{options} --write`.\n",
        date.trim(),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        settings.pairs,
        versions.join(", "),
        settings.subject.name(),
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
