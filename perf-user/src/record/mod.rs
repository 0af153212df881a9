//! A recording while it runs: one thread drains the kernel and never waits, another names and stores.

mod code;
mod events;
mod memory;
mod meter;
mod pythons;
mod store_thread;
mod task_rings;
mod wait;
mod walks;

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use crate::{
    collect::{
        AttachError, EventKind,
        cpu::CpuCollector,
        session::{Session, SessionOptions, Unwind},
        target::{Target, comm_from, comm_text},
    },
    drain::{Drain, DrainError},
    host::{Host, accept_queues::AcceptQueues, online_cpus, sys, throttle::Throttling},
    profile::{Overhead, Recording},
    store::{StoreError, Writer},
    symbolize::NameOptions,
    task::{Follow, LocatedWindow, Tasks},
};
use code::CodeFollower;
use events::{Event, events};
use memory::MemoryWatch;
use meter::{Meter, Totals};
use store_thread::StoreThread;
use task_rings::TaskRings;
use wait::wait;

/// The length of a window, unless the maps could not hold what comes in it.
const WINDOW_NS: u64 = 1_000_000_000;

/// A window that is ended because code came to lie where other code had been is at least this long.
const REMAP_WINDOW_NS: u64 = 100_000_000;

/// The shortest window.
const MIN_WINDOW_NS: u64 = 50_000_000;

/// What to record, and where to.
#[derive(Debug)]
pub struct RecordOptions {
    /// The kernel side.
    pub session: SessionOptions,
    /// The sampler.
    pub collector: CpuCollector,
    /// When to end, if nothing else ends it.
    pub duration: Option<Duration>,
    /// Whether Java virtual machines are asked for what they have compiled.
    pub java_map: bool,
    /// The recording to write.
    pub path: PathBuf,
    /// Where names are looked for.
    pub names: NameOptions,
    /// `CLOCK_MONOTONIC` time at which this program began.
    pub program_start_ns: u64,
}

/// What ended a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The processes it was about.
    TargetEnded,
    /// The clock.
    Duration,
    /// A signal.
    Signal(sys::Signal),
    /// Something failed; the outcome says what.
    Failure,
}

/// How a recording went.
#[derive(Debug)]
pub struct Outcome {
    /// What ended it.
    pub ended: Ended,
    /// Why it ended early, if it did; what it holds is good all the same.
    pub failure: Option<RecordError>,
}

/// How far a recording has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since sampling began.
    pub elapsed: Duration,
    /// Samples so far.
    pub reported: u64,
    /// Losses so far.
    pub lost: u64,
    /// CPU time of the recorder since the last progress, as a share of one CPU.
    pub recorder_share: f64,
    /// Time in BPF programs as long as they were timed, as a share of one CPU; 0 where the kernel does not count it.
    pub bpf_share: f64,
}

/// Why a recording failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The kernel side could not be set up.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The kernel side could not be read.
    #[error(transparent)]
    Drain(#[from] DrainError),
    /// The recording could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The command could not be executed.
    #[error("cannot run `{program}`: {why}")]
    Command {
        /// Which.
        program: String,
        /// What the system said.
        why: std::io::Error,
    },
}

/// Records until the target ends, the time is over, or a signal comes on `signals`; after that the next signal takes its
/// default action. `release` is called once everything is watched: it lets a command run. `watch` is shown every window, and
/// `progress` is called about once a second.
///
/// # Errors
/// When recording could not begin. What fails later is in the [`Outcome`].
pub fn record(
    host: &Host,
    options: RecordOptions,
    mut recording: Recording,
    signals: &OwnedFd,
    release: impl FnOnce() -> Result<(), RecordError>,
    mut watch: impl FnMut(&LocatedWindow),
    mut progress: impl FnMut(&Progress),
) -> Result<Outcome, RecordError> {
    sys::raise_open_files();
    let target = options.session.target.clone();
    let mut rings = TaskRings::open(&host.cpus, options.session.unwind != Unwind::FramePointers)?;
    let mut tasks = Tasks::new(follow(&target));
    let scan_first = !matches!(target, Target::All | Target::Cgroup(_));
    if scan_first {
        target.processes().into_iter().for_each(|tgid| tasks.scan(tgid));
    }
    let members = target.processes();
    let throttling = Throttling::of(&members);
    let files = options.session.records(EventKind::Files);
    let queues = if files { AcceptQueues::of(&members) } else { AcceptQueues::default() };
    let ends = target.ends_with();
    let mut watched: Vec<OwnedFd> = ends.iter().filter_map(|tgid| sys::pidfd_open(*tgid).ok()).collect();
    let events = events(&options);
    let frequency_hz = options.collector.frequency_hz();
    let (mut session, mut code) = load(host, options.session.clone(), options.collector, &mut recording)?;
    if let Some(program) = target.program() {
        code.expect(program.to_owned());
    }
    code.follow_whole(&mut session, &mut tasks);
    if let Some(why) = session.attach(host)? {
        recording.warnings.push(format!("threads that wait already have no kernel stack: {}", chain(&why)));
    }
    // Not before sampling runs: a run that never begins leaves an older recording of this name as it was.
    let writer = match options.session.timeline_min_ns {
        Some(_) => Writer::create_with_timeline(&options.path)?,
        None => Writer::create(&options.path)?,
    };
    for Event { kind, unit, period_ns, source } in events {
        writer.event(kind.name(), unit, period_ns, source)?;
    }
    // What a command waits for from then on counts as its own, and its code is followed at once: nothing comes between.
    let drain = Drain::begin(&mut session, &|thread| code.walk_waiting(&tasks, thread))?;
    release()?;
    let start_ns = drain.window_start_ns();
    recording.started_unix_ns = unix_ns();
    let mut overhead =
        Overhead { startup_ns: start_ns.saturating_sub(options.program_start_ns), ..Overhead::default() };
    if !scan_first {
        // Sampling runs meanwhile: names come from what is mapped now and from the events since.
        target.processes().into_iter().for_each(|tgid| tasks.scan(tgid));
    }

    let memory = MemoryWatch::begin(&target, &options.session.kinds, &tasks);
    let mut run = Run {
        drain,
        store: StoreThread::start(writer, options.names, options.java_map, {
            let (recording, overhead) = (recording.clone(), overhead.clone());
            move |writer| writer.describe(&recording, &overhead, start_ns)
        }),
        tasks,
        start_ns,
        online: host.cpus.clone(),
        memory,
        totals: Totals::default(),
        warnings: Vec::new(),
        code,
    };
    run.code.follow(&mut session, &mut run.tasks);
    let window_ns = window_ns(options.session.entries, frequency_hz, host.cpus.len());
    let mut meter = Meter::start(start_ns);
    let deadline = options.duration.map(|duration| start_ns + duration.as_nanos() as u64);
    let (mut failure, mut remapped) = (None, false);
    let ended = loop {
        let news: Vec<BorrowedFd<'_>> = rings.events().chain(run.code.ready()).collect();
        if let Some(ended) = wait(signals, &mut watched, &news, ends.is_empty(), deadline) {
            break ended;
        }
        rings.apply(&mut run.tasks);
        run.drain.look();
        run.code.follow(&mut session, &mut run.tasks);
        remapped |= run.tasks.take_remapped();
        let age_ns = sys::monotonic_ns() - run.drain.window_start_ns();
        if age_ns < if remapped { window_ns.min(REMAP_WINDOW_NS) } else { window_ns } {
            continue;
        }
        remapped = false;
        run.follow_cpus(&mut session, &mut rings);
        match run.window(&mut session, &mut rings, None, &mut watch) {
            Ok(true) => {}
            Ok(false) => break Ended::Failure,
            Err(error) => {
                failure = Some(error);
                break Ended::Failure;
            }
        }
        if let Some(step) = meter.step(&mut session, &run.totals) {
            progress(&step);
        }
    };

    let end_ns = sys::monotonic_ns();
    session.stop();
    let _ = rings.check();
    if failure.is_none() {
        failure = run.window(&mut session, &mut rings, Some(end_ns), &mut watch).err();
    }
    // From here on a signal ends perfprobe at once, but not a twin of the one that ended the recording: timeout(1) sends
    // its signal to the process and to the group.
    let _ = sys::read_signal(signals.as_fd());
    sys::restore_signals();
    let cost = session.cost(end_ns);
    drop(rings);
    recording.warnings.extend(run.final_warnings());
    recording.warnings.extend(throttling.since().iter().map(ToString::to_string));
    recording.warnings.extend(queues.told_since(&target.processes()));
    let (writer, why_unnamed, written) = run.store.finish();
    // Not before: the kernel names BPF programs as long as they are loaded, and stacks of waits go through them.
    drop(session);
    recording.warnings.extend(why_unnamed);
    failure = failure.or(written.err().map(RecordError::Store));
    recording.duration_ns = end_ns - start_ns;
    recording.complete = failure.is_none();
    let (recorder_cpu_ns, recorder_peak_rss_bytes) = sys::own_usage();
    let (bpf_ns, bpf_runs) = cost.map(|cost| cost.of(recording.duration_ns)).unzip();
    let bpf_timed_ns = cost.map(|cost| cost.timed_ns.min(recording.duration_ns));
    overhead = Overhead { bpf_ns, bpf_runs, bpf_timed_ns, recorder_cpu_ns, recorder_peak_rss_bytes, ..overhead };
    let described = writer.describe(&recording, &overhead, start_ns);
    failure = failure.or(described.err().map(RecordError::Store));
    Ok(Outcome { ended, failure })
}

/// Loads the kernel half. Where tables were not asked for and cannot be had, frame pointers do, and the recording says so.
fn load(
    host: &Host,
    options: SessionOptions,
    collector: CpuCollector,
    recording: &mut Recording,
) -> Result<(Session, CodeFollower), AttachError> {
    let (again, falls_back) = (collector.afresh(), options.unwind == (Unwind::Tables { or_frame_pointers: true }));
    let load = |options: &SessionOptions, collector| {
        let mut session = Session::load(host, options, collector)?;
        let code = CodeFollower::new(&mut session, options)?;
        Ok((session, code))
    };
    match load(&options, collector) {
        Err(error) if falls_back => {
            // Python frames are read by the program that walks by tables.
            let options = SessionOptions { unwind: Unwind::FramePointers, python: false, ..options };
            let loaded = load(&options, again)?;
            recording.warnings.push(format!("stacks are followed by frame pointers only: {}", chain(&error)));
            recording.options["unwind"] = "fp".into();
            Ok(loaded)
        }
        loaded => loaded,
    }
}

/// An error with its causes, in a line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What the loop works on.
struct Run {
    drain: Drain,
    store: StoreThread,
    tasks: Tasks,
    start_ns: u64,
    online: Vec<u32>,
    memory: Option<MemoryWatch>,
    totals: Totals,
    warnings: Vec<String>,
    code: CodeFollower,
}

impl Run {
    /// Ends the window, and hands it on; whether it still can be stored.
    fn window(
        &mut self,
        session: &mut Session,
        rings: &mut TaskRings,
        end_ns: Option<u64>,
        watch: &mut impl FnMut(&LocatedWindow),
    ) -> Result<bool, RecordError> {
        let mut raw = self.drain.rotate(session, end_ns, &|thread| self.code.walk_waiting(&self.tasks, thread))?;
        rings.apply_until_now(&mut self.tasks);
        self.code.read(&mut self.tasks);
        let start_ns = raw.start_ns;
        let later = raw.block.as_mut().map(|block| std::mem::take(&mut block.dirtiers)).unwrap_or_default();
        let mut located = self.tasks.locate(raw);
        located.memory = self.memory.as_mut().map(|memory| memory.read(&located, &self.tasks, end_ns.is_some()));
        let ended = self.tasks.forget_before(start_ns, &later);
        session.forget_processes(&ended)?;
        if self.tasks.take_events_missed() {
            session.forget_gone()?;
            self.tasks.rescan(sys::monotonic_ns());
        }
        self.code.end_window(session, &mut self.tasks, &ended);
        for cpu in located.kinds.iter().filter(|kind| kind.kind == EventKind::Cpu) {
            self.totals.reported += cpu.reported();
            self.totals.lost += cpu.lost_total();
        }
        watch(&located);
        Ok(self.store.send(located))
    }

    /// Looks for CPUs that came online, or were offline and are back. One that cannot be sampled costs a warning, not the
    /// recording.
    fn follow_cpus(&mut self, session: &mut Session, rings: &mut TaskRings) {
        let (online, stood_still) = (online_cpus(), rings.check());
        if online == self.online && stood_still.is_empty() {
            return;
        }
        let stayed: Vec<u32> = online.iter().copied().filter(|cpu| !stood_still.contains(cpu)).collect();
        let seconds = (sys::monotonic_ns() - self.start_ns) as f64 / 1e9;
        let new = rings.follow_cpus(&stayed, &online, &mut self.tasks).and_then(|()| {
            // Between coming online and now, nobody listened to it.
            self.tasks.miss();
            session.follow_cpus(&stayed, &online)
        });
        match new {
            Ok(new) => self.warnings.extend(new.into_iter().map(|cpu| {
                format!("CPU {cpu} came online during the recording and is sampled from {seconds:.1} s on")
            })),
            Err(error) => self.warnings.push(format!("from {seconds:.1} s on not all CPUs were sampled: {error}")),
        }
        self.online = online;
    }

    fn final_warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.warnings);
        let lost = self.tasks.lost_events();
        if lost > 0 {
            warnings.push(format!(
                "{lost} task events (exec, mmap, exit) were lost because their rings were full: some frames may lack a name"
            ));
        }
        warnings
    }
}

fn follow(target: &Target) -> Follow {
    match target {
        Target::Processes(_) | Target::Command { .. } => Follow::Known,
        Target::Comm(name) => Follow::Named(comm_text(&comm_from(name))),
        Target::Cgroup(_) | Target::All => Follow::All,
    }
}

/// How long a window may last so that maps of `entries` are never full: every CPU sampling something else each time.
fn window_ns(entries: u32, frequency_hz: u64, cpus: usize) -> u64 {
    let per_second = frequency_hz.saturating_mul(cpus as u64).max(1);
    // A fifth is kept for the time it takes to notice the window's end.
    let holds_ns = u64::from(entries).saturating_mul(WINDOW_NS) / per_second / 5 * 4;
    holds_ns.clamp(MIN_WINDOW_NS, WINDOW_NS)
}

fn unix_ns() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
