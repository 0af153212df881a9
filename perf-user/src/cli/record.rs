//! `perfprobe record`: from a running program to its recording, flame graph and summary.

mod events;
mod live;
mod outputs;
mod progress;
mod target;
mod waits;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use serde_json::json;

use super::{Failure, select::duration, summary, write::say};
use crate::{
    collect::{
        EventKind,
        cpu::{Clock, CpuCollector, max_frequency},
        entries_for_tests,
        session::{SessionOptions, Sides, Unwind, can_walk},
        target::Target,
    },
    host::{Host, privileges, sys},
    output::{OutputError, WITH_LENGTHS},
    profile::Recording,
    record::{Ended, Progress, RecordError, RecordOptions, record},
    store,
    symbolize::{DebuginfodOptions, NameOptions},
    task::LocatedWindow,
};
use events::{Wanted, kinds};
use live::LiveTable;
use outputs::Outputs;
use progress::ProgressLine;
use target::{Chosen, TargetArgs};
use waits::WaitArgs;

/// Record where processes spend their time; leaves a recording and a flame graph
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo perfprobe record --pid 1234 -d 10s\n  \
    sudo perfprobe record --comm nginx -d 30s -o nginx.svg -o nginx.pb.gz\n  \
    sudo perfprobe record -- ./program --its-own options")]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,

    /// What to record, a comma between: cpu, offcpu (where and why threads wait), sched (what they do with their time),
    /// offwake (who ends waits), io (what they ask of disks), syscalls (what they ask of the kernel), files (the same by file and peer,
    /// with syscalls and io), faults (pages they need, with io), locks (for which they wait, and who has them, with kernel-locks),
    /// kernel-locks (for which of the kernel's own they wait), memory (who touches it first, and which processes grow); default: all but
    /// syscalls, files and faults, for which every program on the machine pays: some tenths of a microsecond for each system call or
    /// fault, the target more. With a plus before it, +files, beside the default
    #[arg(short, long = "event", value_name = "LIST", value_delimiter = ',')]
    event: Vec<Wanted>,

    /// Keep, beside the sums over each second, when each sample was taken, and each wait that is at least this long:
    /// for .heat.html, .firefox.json and .trace.json. Without a length 1ms; 0 is all waits
    #[arg(long, value_name = "MIN", value_parser = duration, num_args = 0..=1, require_equals = true,
        default_missing_value = "1ms")]
    timeline: Option<Duration>,

    /// How long (10s, 2m, 1h); default: until the target ends or Ctrl-C
    #[arg(short, long, value_name = "DUR", value_parser = duration)]
    duration: Option<Duration>,

    /// CPU samples a second, on each CPU; default: 99, or what the kernel allows
    #[arg(short = 'F', long, value_name = "HZ")]
    frequency: Option<u64>,

    /// Write this file, in the format of its name: .perfprobe .svg .html .folded .pb.gz .speedscope.json .json .txt .latency.svg;
    /// with --timeline .heat.html .firefox.json .trace.json too; repeatable.
    /// Default: ./perfprobe-<comm>-<pid>-<date>-<time>.perfprobe and the .svg beside it
    #[arg(short, long, value_name = "FILE", verbatim_doc_comment)]
    output: Vec<PathBuf>,

    #[command(flatten)]
    waits: WaitArgs,

    /// Leave out the children that target processes start
    #[arg(long, conflicts_with_all = ["all", "cgroup"])]
    no_inherit: bool,

    /// Record the children that the processes of --pid have already, too, and theirs
    #[arg(long, requires = "pid")]
    with_children: bool,

    /// Keep only user frames of each stack
    #[arg(long, conflicts_with = "kernel_only")]
    user_only: bool,

    /// Keep only kernel frames of each stack
    #[arg(long)]
    kernel_only: bool,

    /// How to find the callers in user stacks
    #[arg(long, value_name = "HOW", value_enum, default_value_t = UnwindArg::Auto)]
    unwind: UnwindArg,

    /// Have Java virtual machines (JDK 17 and later) name the code they compile: each that is sampled is sent SIGQUIT
    /// once, as jcmd does, and writes /tmp/perf-PID.map once a second
    #[arg(long)]
    java_map: bool,

    /// Leave out Python's own frames: stacks show the interpreter's functions instead
    #[arg(long)]
    no_python: bool,

    /// Look for debug files, by build id and by debug link, in this directory instead of /usr/lib/debug; repeatable: to
    /// keep the latter, name it too
    #[arg(long, value_name = "DIR", value_parser = directory)]
    debug_dir: Vec<PathBuf>,

    /// Get debug files that are not on this machine from the servers that DEBUGINFOD_URLS names, by build id
    #[arg(long)]
    debuginfod: bool,

    /// Shorten names in all that is written beside the recording, which keeps them whole: std::map<...>::insert
    #[arg(long)]
    simplify_names: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// Whether a table is shown meanwhile: `perfprobe io`, `perfprobe locks`
    #[arg(skip)]
    live: bool,
}

impl Args {
    /// As `perfprobe io` and `perfprobe locks` have them: these events beside the default ones, told while they are recorded.
    pub(super) fn live(mut self, kind: EventKind) -> Self {
        if self.event.is_empty() {
            self.event = vec![Wanted::beside(kind)];
        }
        self.live = true;
        self
    }
}

/// The two ways of [`Unwind`], and the better one of them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum UnwindArg {
    /// By tables where the machine can (Linux 5.17, x86-64), else by frame pointers
    Auto,
    /// By frame pointers alone
    Fp,
    /// By tables made of each file's call frame information (.eh_frame), and by frame pointers where a file has none
    Tables,
}

impl UnwindArg {
    fn choose(self, host: &Host) -> Unwind {
        match self {
            Self::Fp => Unwind::FramePointers,
            Self::Auto if can_walk(host).is_err() => Unwind::FramePointers,
            Self::Auto => Unwind::Tables { or_frame_pointers: true },
            Self::Tables => Unwind::Tables { or_frame_pointers: false },
        }
    }
}

/// Often enough for most questions, and not in step with work that is done by the clock.
const DEFAULT_FREQUENCY: u64 = 99;

/// More samples a second than this cost more than they tell.
const MAX_FREQUENCY: u64 = 20_000;

/// Longer than this is a slip of the keyboard.
const MAX_DURATION: Duration = Duration::from_secs(366 * 86_400);

pub(super) fn run(args: Args, program_start_ns: u64) -> Result<ExitCode, Failure> {
    check_numbers(&args)?;
    let names = names(&args)?;
    let signals = sys::signal_fd()?;
    let host = Host::read();
    args.target.check()?;
    let outputs = super::write::formats(&args.output)?;
    let of_moments = outputs.iter().find(|(_, format)| format.needs_moments());
    if let (Some((path, _)), None) = (of_moments, args.timeline) {
        return Err(Failure::Usage(format!("{} shows single events: add --timeline", path.display())));
    }
    let detail = super::write::detail(&outputs);
    let has_lengths = kinds(&args.event).iter().any(|kind| WITH_LENGTHS.contains(kind));
    if detail.latencies && !has_lengths {
        return Err(Failure::Usage(OutputError::NoLengths.to_string()));
    }
    privileges::check(host.cpus.first().copied().unwrap_or(0))?;
    // Who leaves out those to come does not miss those that are there.
    let mut chosen = args.target.choose((args.with_children || !args.no_inherit).then_some(args.with_children))?;
    let frequency_hz = frequency(&args);
    if args.frequency.is_none() && frequency_hz < DEFAULT_FREQUENCY {
        chosen.warnings.push(format!(
            "the kernel allows {frequency_hz} samples a second, not {DEFAULT_FREQUENCY} (sysctl kernel.perf_event_max_sample_rate)"
        ));
    }
    let outputs = Outputs::prepare(outputs, &chosen)?;
    let clock = Clock::best(host.cpus.first().copied().unwrap_or(0));
    let unwind = args.unwind.choose(&host);
    let recording = Recording {
        host: host.name.clone(),
        kernel: host.kernel.clone(),
        cpus: host.cpus.len() as u32,
        target: chosen.description(),
        options: options_json(&args, clock, unwind),
        target_label: chosen.label.clone(),
        warnings: chosen.warnings.clone(),
        ..Recording::default()
    };
    let entries = entries(frequency_hz, host.cpus.len());
    let options = RecordOptions {
        session: SessionOptions {
            kinds: kinds(&args.event),
            waits: args.waits.filter(&kinds(&args.event))?,
            target: chosen.target.clone(),
            inherit: !args.no_inherit,
            sides: sides(&args),
            unwind,
            python: !args.no_python,
            entries,
            timeline_min_ns: timeline_min_ns(&args),
        },
        collector: CpuCollector::new(frequency_hz, clock, entries),
        duration: args.duration,
        java_map: args.java_map,
        path: outputs.recording().to_owned(),
        names,
        program_start_ns,
    };
    if let Some(debuginfod) = options.names.debuginfod.as_ref().filter(|_| !args.quiet) {
        let servers = debuginfod.servers.join(", ");
        say(&format!(
            "Debug files that are missing here come from {servers}; a slow server can hold up the end of the recording."
        ));
    }
    let live = LiveTable::new((args.live && !args.quiet).then(|| chosen.label.clone()));
    let mut line = ProgressLine::new(args.quiet, &chosen);
    let watch = |window: &LocatedWindow| live.show(window);
    let progress = |progress: &Progress| {
        if !live.is_wanted() {
            line.show(progress);
        }
    };
    let release = || {
        ProgressLine::begins(args.quiet, &chosen);
        chosen.release()
    };
    let result = record(&host, options, recording, &signals, release, watch, progress);
    line.clear();
    drop(signals);
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            // Only then has the file been written to; otherwise it is an older recording, or another perfprobe's.
            if matches!(error, RecordError::Command { .. }) {
                outputs.forget();
            }
            return Err(not_begun(error));
        }
    };
    let reported = outputs.write_all(args.quiet, |path| {
        if args.quiet && !outputs.draws() {
            return store::read_counts(path);
        }
        let mut profile = store::read(path, detail)?;
        let pools = profile.pools();
        profile.name_idle(&pools);
        if args.simplify_names {
            profile.simplify_names();
        }
        Ok(profile)
    });
    // Told now: the command may run for long.
    let failed = match (outcome.failure, &reported) {
        (Some(error), _) => Some(anyhow::Error::from(error)),
        (None, Err(error)) => Some(anyhow::anyhow!("{error:#}")),
        (None, Ok(_)) => None,
    };
    if let Some(error) = &failed {
        say(&format!("perfprobe: {error:#}"));
    } else if let Ok(profile) = &reported {
        summary::print(profile, &outputs.written(), args.quiet);
    }
    let code = finish_command(&chosen.target, outcome.ended, args.quiet)?;
    Ok(if failed.is_some() && code == 0 { Failure::FAILED } else { code }.into())
}

fn not_begun(error: RecordError) -> Failure {
    match error {
        RecordError::Command { .. } => Failure::NotExecuted(error.into()),
        _ => Failure::Failed(error.into()),
    }
}

/// What was asked for, or the default as far as the kernel allows it.
fn frequency(args: &Args) -> u64 {
    args.frequency.unwrap_or_else(|| max_frequency().unwrap_or(DEFAULT_FREQUENCY).clamp(1, DEFAULT_FREQUENCY))
}

fn check_numbers(args: &Args) -> Result<(), Failure> {
    let frequency_hz = frequency(args);
    if frequency_hz == 0 {
        return Err(Failure::Usage("--frequency 0 would take no samples; 99 is the default".into()));
    }
    if frequency_hz > MAX_FREQUENCY {
        return Err(Failure::Usage(format!(
            "--frequency {frequency_hz}: above {MAX_FREQUENCY} Hz the machine would be busy with sampling; 999 is plenty"
        )));
    }
    if let Some(limit) = max_frequency().filter(|limit| frequency_hz > *limit) {
        return Err(Failure::Usage(format!(
            "--frequency {frequency_hz}: the kernel allows {limit} Hz at most (sysctl kernel.perf_event_max_sample_rate)"
        )));
    }
    let has_moments = kinds(&args.event).iter().any(|kind| matches!(kind, EventKind::Cpu | EventKind::OffCpu));
    if args.timeline.is_some() && !has_moments {
        return Err(Failure::Usage("--timeline is of cpu and offcpu; record one of them with -e, too".into()));
    }
    match args.duration {
        Some(duration) if duration < Duration::from_millis(1) => {
            Err(Failure::Usage("--duration must be longer than nothing, like 10s".into()))
        }
        Some(duration) if duration > MAX_DURATION => {
            Err(Failure::Usage("--duration is longer than a year; leave it out to record until Ctrl-C".into()))
        }
        _ => Ok(()),
    }
}

fn sides(args: &Args) -> Sides {
    match (args.user_only, args.kernel_only) {
        (true, _) => Sides::User,
        (_, true) => Sides::Kernel,
        _ => Sides::Both,
    }
}

/// Room in the maps of a window: every CPU taking a different stack each time, within reason; more CPUs than that make
/// windows shorter.
fn entries(frequency_hz: u64, cpus: usize) -> u32 {
    const LEAST: u64 = 512;
    const MOST: u64 = 8_192;
    let wanted = || (frequency_hz.saturating_mul(cpus as u64) * 3 / 2).clamp(LEAST, MOST) as u32;
    entries_for_tests().unwrap_or_else(wanted)
}

/// Parses a directory that is there, as an absolute path.
fn directory(text: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(text).map_err(|error| error.to_string())?;
    if path.is_dir() { Ok(path) } else { Err("there is no such directory".into()) }
}

fn names(args: &Args) -> Result<NameOptions, Failure> {
    let mut names = NameOptions::default();
    if !args.debug_dir.is_empty() {
        names.debug_directories.clone_from(&args.debug_dir);
    }
    if args.debuginfod {
        let options = DebuginfodOptions::from_environment();
        names.debuginfod = Some(options.map_err(|why| Failure::Usage(format!("--debuginfod: {why}")))?);
    }
    Ok(names)
}

/// How long a wait is at least to be in the timeline: zero is all of them.
fn timeline_min_ns(args: &Args) -> Option<u64> {
    args.timeline.map(|min| u64::try_from(min.as_nanos()).unwrap_or(u64::MAX).max(1))
}

fn options_json(args: &Args, clock: Clock, unwind: Unwind) -> serde_json::Value {
    json!({
        "events": kinds(&args.event).into_iter().map(EventKind::name).collect::<Vec<_>>(),
        "min_wait_ns": args.waits.min_wait.map(|min| min.as_nanos() as u64),
        "states": args.waits.states(),
        "frequency_hz": frequency(args),
        "source": clock.name(),
        "duration_ns": args.duration.map(|duration| duration.as_nanos() as u64),
        "inherit": !args.no_inherit,
        "java_map": args.java_map,
        "timeline_min_ns": timeline_min_ns(args),
        "unwind": match unwind { Unwind::FramePointers => "fp", Unwind::Tables { .. } => "tables" },
        "python": !args.no_python,
        "frames": match sides(args) { Sides::Both => "both", Sides::User => "user", Sides::Kernel => "kernel" },
    })
}

/// Waits for a command that was recorded, and gives its exit code; 0 for other targets.
fn finish_command(target: &Target, ended: Ended, quiet: bool) -> Result<u8, Failure> {
    let Target::Command { tgid, argv, .. } = target else { return Ok(0) };
    match ended {
        // Ctrl-C in a terminal reaches the command by itself.
        Ended::Signal(signal) if !signal.from_terminal => sys::send_signal(*tgid, signal.number),
        Ended::Duration if !quiet => {
            say(&format!("perfprobe: the recording is over; waiting for `{}` to end", argv.join(" ")));
        }
        _ => {}
    }
    Ok(sys::wait_for_child(*tgid)?.clamp(0, 255) as u8)
}
