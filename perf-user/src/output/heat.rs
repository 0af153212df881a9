//! The heat map: which moments there was much to do, and the flame graph of any of them.

use std::collections::HashMap;
use std::io::Write;

use flamegraphs::{Event, HeatMap, Picture, Tree};

use super::{ExportOptions, OutputError, report_of, svg, tracks};
use crate::collect::NANOSECONDS;
use crate::profile::{FrameId, Profile, Series, StackId, ThreadIndex};
use crate::report::accounting_line;
use crate::report::human::{duration, thousands};

/// Events of a page: a browser takes some hundred megabytes for as many.
const MOST_EVENTS: usize = 4_000_000;

/// Seconds of a page: two days.
const MOST_SECONDS: u64 = 172_800;

pub(super) fn write(
    profile: &Profile,
    series: &Series,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<(), OutputError> {
    tracks::require(profile)?;
    let Some(timeline) = &profile.timeline else { return Err(OutputError::NoTimeline) };
    let count = series.moments.len();
    if count > MOST_EVENTS {
        return Err(OutputError::TooMany { count: count as u64, what: "events" });
    }
    let seconds = timeline.to_ns.saturating_sub(timeline.from_ns) / 1_000_000_000;
    if seconds > MOST_SECONDS {
        return Err(OutputError::TooMany { count: seconds, what: "seconds" });
    }
    let mut stacks = Stacks { profile, options, tree: Tree::default(), known: HashMap::new() };
    let event = |stacks: &mut Stacks<'_>, moment: &crate::profile::Moment| Event {
        start_ns: moment.start_ns,
        length_ns: moment.length_ns,
        stack: stacks.of(moment.thread, moment.stack),
    };
    let events = series.moments.iter().map(|moment| event(&mut stacks, moment)).collect();
    let report = report_of(profile, options, Some(0))?;
    let Picture { title, .. } = svg::picture(profile, series, options);
    let is_time = series.unit == NANOSECONDS;
    let mut summary = vec![report.header(), accounting_line(&series.accounting, &series.unit)];
    if is_time && timeline.min_ns > 1 {
        summary.push(format!(
            "Of waits, the {} that took {} or longer are on this page.",
            thousands(count as u64),
            duration(timeline.min_ns)
        ));
    }
    let map = HeatMap {
        title: title.replacen("flame graph", "heat map", 1),
        summary,
        warnings: report.warnings,
        unit: (!is_time).then(|| series.unit.clone()),
        started_unix_ns: profile.recording.started_unix_ns,
        span_ns: timeline.from_ns..timeline.to_ns,
        stacks: stacks.tree,
        events,
    };
    flamegraphs::heat_map(&map, out)?;
    Ok(())
}

/// The stacks of the page, each with the thread's name at the bottom, as in flame graphs.
struct Stacks<'profile> {
    profile: &'profile Profile,
    options: &'profile ExportOptions,
    tree: Tree,
    known: HashMap<(ThreadIndex, StackId), u32>,
}

impl Stacks<'_> {
    fn of(&mut self, thread: ThreadIndex, stack: StackId) -> u32 {
        if let Some(known) = self.known.get(&(thread, stack)) {
            return *known;
        }
        let name = self.profile.threads.get(thread.0 as usize).map(|thread| {
            if self.options.per_thread {
                self.profile.thread_label(thread)
            } else {
                self.profile.strings.get(thread.comm).to_owned()
            }
        });
        let frames = self.profile.stacks.root_to_leaf(stack);
        let labels = frames.iter().map(|frame: &FrameId| self.profile.frame_label(*frame));
        let mut labels: Vec<String> = name.into_iter().chain(labels).collect();
        if self.options.reverse {
            labels.reverse();
        }
        let id = labels.iter().fold(Tree::EMPTY, |caller, label| self.tree.push(caller, label));
        self.known.insert((thread, stack), id);
        id
    }
}
