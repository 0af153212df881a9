//! The figures of one series: who, where, how much.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{
    FunctionReport, ProcessReport, ReportOptions, SeriesReport, ThreadReport, WaitReport, human,
    places::{Places, places},
};
use crate::collect::EventKind;
use crate::profile::{Frame, FrameKind, Profile, Series, StackId, StringId, ThreadIndex};

/// The modules listed as the worst to symbolize, or to walk.
const MODULES: usize = 10;

/// What makes two frames the same function; the function is the empty string where it has no name.
type FunctionKey = (StringId, StringId, FrameKind);

/// One module and how many of its frames, weighted by value, have no name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModuleReport {
    /// The module.
    pub module: String,
    /// Its frames without a name.
    pub frames: u64,
}

/// Why walks of user stacks ended early, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WalkEndReport {
    /// The reason, in words.
    pub why: String,
    /// The module of the outermost frame that was reached; empty if there is none.
    pub module: String,
    /// The value of the samples.
    pub samples: u64,
}

pub(super) fn figures(profile: &Profile, series: &Series, options: &ReportOptions, known: &mut Places) -> SeriesReport {
    let (stacks, threads) = sums(series);
    let mut report = SeriesReport {
        unit: series.unit.clone(),
        period_ns: series.period_ns,
        source: series.source.clone(),
        selected: series.total(),
        unsymbolized: series.unsymbolized.clone(),
        counters: series.counters.clone(),
        walked_by_tables: profile.recording.options.get("unwind").is_some_and(|how| how == "tables"),
        ..SeriesReport::default()
    };
    count_functions(profile, &stacks, &mut report);
    let placed = [EventKind::OffCpu, EventKind::Io, EventKind::Files, EventKind::Faults];
    if placed.map(EventKind::name).contains(&series.event.as_str()) {
        report.places = places(profile, &stacks, known);
        report.places_total = report.places.iter().map(|place| place.value).sum();
    }
    count_threads(profile, &threads, &mut report);
    if let Some(top) = options.top {
        report.waits_omitted = cut(&mut report.waits, top);
        report.places_omitted = cut(&mut report.places, top);
        report.functions_omitted = cut(&mut report.functions, top);
        let of_many = report.threads.iter().skip(top).filter(|thread| !thread.is_alone);
        report.threads_omitted_of_many = of_many.count();
        report.threads_omitted = cut(&mut report.threads, top);
        report.processes_omitted = cut(&mut report.processes, top);
    }
    report
}

/// The values by stack, and by thread.
pub(super) fn sums(series: &Series) -> (HashMap<StackId, u64>, BTreeMap<ThreadIndex, u64>) {
    let mut stacks: HashMap<StackId, u64> = HashMap::new();
    let mut threads: BTreeMap<ThreadIndex, u64> = BTreeMap::new();
    for sample in &series.samples {
        *stacks.entry(sample.stack).or_default() += sample.value;
        *threads.entry(sample.thread).or_default() += sample.value;
    }
    (stacks, threads)
}

fn count_functions(profile: &Profile, stacks: &HashMap<StackId, u64>, report: &mut SeriesReport) {
    let mut functions: HashMap<FunctionKey, Counted> = HashMap::new();
    let mut modules: HashMap<StringId, u64> = HashMap::new();
    let mut ends: HashMap<(StringId, StringId), u64> = HashMap::new();
    let mut waits: HashMap<StringId, u64> = HashMap::new();
    for (&stack, &value) in stacks {
        let (mut user_frames, mut astray, mut hidden, mut callee) = (0, false, false, None::<&Frame>);
        let frames = profile.stacks.leaf_to_root(stack).filter_map(|id| profile.frames.get(id.0 as usize));
        let frames: Vec<&Frame> = frames.collect();
        if let Some(wait) = frames.first().filter(|leaf| leaf.kind == FrameKind::Wait) {
            *waits.entry(wait.function).or_default() += value;
        }
        let own = innermost(&frames);
        let code = frames.into_iter().enumerate().filter(|(_, frame)| frame.kind != FrameKind::Wait);
        for (depth, frame) in code {
            // Deep stacks count a value many times.
            report.frames = report.frames.saturating_add(value);
            user_frames += u32::from(matches!(frame.kind, FrameKind::User | FrameKind::Jit | FrameKind::Python));
            astray |= profile.strings.get(frame.module) == UNMAPPED;
            if profile.strings.get(frame.module) == CUT_OFF {
                astray = true;
                // Gaps between Python frames have this module too, several in one stack; its native frames end once.
                if profile.strings.get(frame.function).starts_with(WHY) {
                    *ends.entry((frame.function, callee.map_or(NO_NAME, |callee| callee.module))).or_default() += value;
                }
            }
            hidden |= profile.strings.get(frame.module) == HIDDEN;
            if !frame.symbolized {
                report.frames_unnamed = report.frames_unnamed.saturating_add(value);
                let count = modules.entry(frame.module).or_default();
                *count = count.saturating_add(value);
            }
            let counted = functions.entry(key(frame)).or_default();
            if own == Some(depth) {
                counted.self_value += value;
            }
            // Once a sample, also for functions that call themselves.
            if counted.last != Some(stack) {
                counted.total += value;
                counted.last = Some(stack);
            }
            callee = Some(frame);
        }
        if callee.is_none() {
            report.without_stack += value;
        }
        if astray || (user_frames == 1 && !hidden) {
            report.stacks_cut_short += value;
        }
    }
    report.waits =
        waits.into_iter().map(|(why, value)| WaitReport { why: profile.strings.get(why).into(), value }).collect();
    report.waits.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.why.cmp(&b.why)));
    report.walk_ends = ends
        .into_iter()
        .map(|((why, module), samples)| WalkEndReport {
            why: profile.strings.get(why).trim_start_matches(WHY).trim_end_matches(']').into(),
            module: profile.strings.get(module).into(),
            samples,
        })
        .collect();
    report.walk_ends.sort_by(|a, b| (b.samples, &a.why, &a.module).cmp(&(a.samples, &b.why, &b.module)));
    report.walks_ended = report.walk_ends.iter().map(|end| end.samples).sum();
    report.walk_ends.truncate(MODULES);
    report.functions = functions
        .into_iter()
        .map(|((function, module, kind), Counted { self_value, total, .. })| {
            let symbolized = function != NO_NAME;
            let module = profile.strings.get(module);
            let name = if symbolized { profile.strings.get(function).into() } else { unnamed(module) };
            FunctionReport { name, module: module.into(), kind, symbolized, self_value, total }
        })
        .collect();
    // What a function itself has of less than a hundredth is chance: many such would hide those through which all goes.
    let notable = report.selected / 100;
    let own = |function: &FunctionReport| if function.self_value < notable { 0 } else { function.self_value };
    report.functions.sort_by(|a, b| {
        let order = (own(b), b.total, b.self_value).cmp(&(own(a), a.total, a.self_value));
        order.then_with(|| (&a.name, &a.module, a.kind.suffix()).cmp(&(&b.name, &b.module, b.kind.suffix())))
    });
    report.unsymbolized_modules = modules
        .into_iter()
        .map(|(module, frames)| ModuleReport { module: profile.strings.get(module).into(), frames })
        .collect();
    report.unsymbolized_modules.sort_by(|a, b| b.frames.cmp(&a.frames).then_with(|| a.module.cmp(&b.module)));
    report.unsymbolized_modules.truncate(MODULES);
}

/// How deep the frame lies that the value is the `self` of: the innermost. Where a thread waited the kernel's scheduler is that
/// always, so there it is the innermost of the program's own, if there is one.
fn innermost(frames: &[&Frame]) -> Option<usize> {
    let waits = frames.first()?.kind == FrameKind::Wait;
    let is_own = |frame: &&Frame| !waits || !matches!(frame.kind, FrameKind::Wait | FrameKind::Kernel);
    let own = frames.iter().position(is_own);
    own.or_else(|| frames.iter().position(|frame| frame.kind != FrameKind::Wait))
}

/// What a function has taken.
#[derive(Default)]
struct Counted {
    self_value: u64,
    total: u64,
    /// The last stack that was added to `total`.
    last: Option<StackId>,
}

/// The module of frames at which nothing was mapped.
const UNMAPPED: &str = "[unmapped]";

/// The module of what stands for callers that a walk by tables could not reach.
const CUT_OFF: &str = "[unwound no further]";

/// What the name of such a frame has before the reason.
const WHY: &str = "[unwound no further: ";

/// The module of frames in a process that could not be looked into.
const HIDDEN: &str = "[hidden]";

/// The id of the empty string, which is no function's name.
const NO_NAME: StringId = StringId(0);

fn key(frame: &Frame) -> FunctionKey {
    (if frame.symbolized { frame.function } else { NO_NAME }, frame.module, frame.kind)
}

pub(super) fn unnamed(module: &str) -> String {
    let name = human::file_name(module);
    if name.starts_with('[') { name.into() } else { format!("[{name}]") }
}

pub(super) fn count_threads(profile: &Profile, threads: &BTreeMap<ThreadIndex, u64>, report: &mut SeriesReport) {
    let mut processes: BTreeMap<u32, (StringId, BTreeSet<u32>, u64)> = BTreeMap::new();
    for (index, &samples) in threads {
        let Some(thread) = profile.threads.get(index.0 as usize) else { continue };
        report.threads.push(ThreadReport {
            tgid: thread.tgid,
            tid: thread.tid,
            comm: profile.strings.get(thread.comm).into(),
            process: profile.strings.get(thread.process).into(),
            samples,
            is_alone: false,
        });
        let process = processes.entry(thread.tgid).or_insert((thread.process, BTreeSet::new(), 0));
        // A process that executed another program has had several names; the last is the one it is known by.
        process.0 = thread.process;
        process.1.insert(thread.tid);
        process.2 += samples;
    }
    // A process of one thread that has had two names is told by its process all the same.
    for thread in &mut report.threads {
        thread.is_alone = processes.get(&thread.tgid).is_some_and(|(_, tids, _)| tids.len() == 1);
    }
    report.threads.sort_by_key(|thread| (std::cmp::Reverse(thread.samples), thread.tgid, thread.tid));
    report.processes = processes
        .into_iter()
        .map(|(tgid, (process, threads, samples))| ProcessReport {
            tgid,
            process: profile.strings.get(process).into(),
            threads: threads.len(),
            samples,
        })
        .collect();
    report.processes.sort_by_key(|process| (std::cmp::Reverse(process.samples), process.tgid));
}

/// Cuts `list` to `top` and returns how many entries went.
pub(super) fn cut<T>(list: &mut Vec<T>, top: usize) -> usize {
    let omitted = list.len().saturating_sub(top);
    list.truncate(top);
    omitted
}
