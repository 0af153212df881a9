//! The events of a timeline thread by thread, for formats that show them so.

use std::collections::BTreeMap;

use super::{ExportOptions, OutputError, escaped, series};
use crate::collect::EventKind;
use crate::profile::{FrameKind, Moment, Profile, Series, Thread};

/// What is known of a thread's time.
pub(super) struct Track<'profile> {
    /// The thread, by the last name it had.
    pub(super) thread: &'profile Thread,
    /// In the order of time.
    pub(super) samples: Vec<&'profile Moment>,
    /// By their beginning; what a thread was blocked for, and then waited for a CPU, one after the other.
    pub(super) waits: Vec<&'profile Moment>,
}

/// All threads that have events, by process and thread id.
pub(super) fn tracks<'profile>(
    profile: &'profile Profile,
    options: &ExportOptions,
) -> Result<Vec<Track<'profile>>, OutputError> {
    require(profile)?;
    let wanted: Vec<&Series> = match options.event {
        Some(_) => vec![series(profile, options)?],
        None => profile.series.iter().collect(),
    };
    let mut tracks: BTreeMap<(u32, u32), Track<'_>> = BTreeMap::new();
    for series in wanted {
        for moment in &series.moments {
            let Some(thread) = profile.threads.get(moment.thread.0 as usize) else { continue };
            let new = || Track { thread, samples: Vec::new(), waits: Vec::new() };
            let track = tracks.entry((thread.tgid, thread.tid)).or_insert_with(new);
            track.thread = thread;
            if series.event == EventKind::OffCpu.name() { &mut track.waits } else { &mut track.samples }.push(moment);
        }
    }
    Ok(tracks.into_values().collect())
}

/// Whether there are events at all.
pub(super) fn require(profile: &Profile) -> Result<(), OutputError> {
    if profile.timeline.is_some() { Ok(()) } else { Err(OutputError::NoTimeline) }
}

/// Why the thread waited there; `None` where it did not.
pub(super) fn reason<'profile>(profile: &'profile Profile, moment: &Moment) -> Option<&'profile str> {
    let leaf = profile.frames.get(profile.stacks.leaf_to_root(moment.stack).next()?.0 as usize)?;
    (leaf.kind == FrameKind::Wait).then(|| profile.strings.get(leaf.function))
}

/// The innermost function, quoted; that of a wait is the one that waited.
pub(super) fn function(profile: &Profile, moment: &Moment) -> Result<String, OutputError> {
    let frames = profile.stacks.leaf_to_root(moment.stack).filter_map(|id| profile.frames.get(id.0 as usize));
    let function = frames.map(|frame| (frame.kind, frame.function)).find(|(kind, _)| *kind != FrameKind::Wait);
    quoted(function.map_or("[no stack]", |(_, function)| profile.strings.get(function)))
}

/// A text as JSON, so that it can be printed to a terminal.
pub(super) fn quoted(text: &str) -> Result<String, OutputError> {
    Ok(escaped(&serde_json::to_string(text)?))
}
