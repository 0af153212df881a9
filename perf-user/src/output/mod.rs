//! One file a format: `fn(&Profile, &mut dyn Write)`.

mod firefox;
mod folded;
mod heat;
mod html;
mod html_block;
mod html_calls;
mod html_files;
mod html_kernel_locks;
mod html_locks;
mod html_memory;
mod latency;
mod pprof;
mod speedscope;
mod svg;
mod trace;
mod tracks;

pub use latency::WITH_LENGTHS;

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::collect::EventKind;
use crate::profile::{FoldOptions, Profile, Series};
use crate::report::{Report, ReportOptions, human, report};

/// What a file can hold; its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A recording, which the store writes.
    Recording,
    /// A flame graph.
    Svg,
    /// A page with the flame graph and the report's tables.
    Html,
    /// One line a stack.
    Folded,
    /// A `profile.proto` in gzip, for `pprof`.
    Pprof,
    /// A file for <https://www.speedscope.app>.
    Speedscope,
    /// A file for <https://profiler.firefox.com>, of a timeline.
    Firefox,
    /// Trace events, for Perfetto, of a timeline.
    Trace,
    /// A page with a heat map, of a timeline.
    Heat,
    /// Latency heat maps.
    Latency,
    /// The report as JSON.
    Json,
    /// The report as text.
    Text,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 12] = [
        Self::Recording,
        // Before `.svg`, of which it is a special case.
        Self::Latency,
        Self::Svg,
        // Before `.html` and `.json`, of which these are special cases.
        Self::Heat,
        Self::Firefox,
        Self::Trace,
        Self::Speedscope,
        Self::Html,
        Self::Folded,
        Self::Pprof,
        Self::Json,
        Self::Text,
    ];

    /// How the names of its files end.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Recording => ".perfprobe",
            Self::Svg => ".svg",
            Self::Html => ".html",
            Self::Folded => ".folded",
            Self::Pprof => ".pb.gz",
            Self::Speedscope => ".speedscope.json",
            Self::Firefox => ".firefox.json",
            Self::Trace => ".trace.json",
            Self::Heat => ".heat.html",
            Self::Latency => ".latency.svg",
            Self::Json => ".json",
            Self::Text => ".txt",
        }
    }

    /// Whether it shows single events, which only recordings with a timeline have.
    #[must_use]
    pub fn needs_moments(self) -> bool {
        matches!(self, Self::Firefox | Self::Trace | Self::Heat)
    }

    /// Whether it shows how long things took over time.
    #[must_use]
    pub fn needs_latencies(self) -> bool {
        self == Self::Latency
    }

    /// The format that the name of `path` asks for.
    ///
    /// # Errors
    /// When the name ends in no known extension.
    pub fn from_path(path: &Path) -> Result<Self, UnknownFormat> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let known = |format: &Self| name.ends_with(format.extension());
        Self::ALL.into_iter().find(known).ok_or_else(|| UnknownFormat { path: path.into() })
    }
}

/// A file name that names no format.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell the format of {}: the name must end in one of {}", path.display(), Extensions)]
pub struct UnknownFormat {
    /// The file.
    pub path: PathBuf,
}

struct Extensions;

impl fmt::Display for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Format::ALL.map(Format::extension).join(" "))
    }
}

/// What to write of a profile, and how.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// The event; by default the first of the recording. Reports have all events by default.
    pub event: Option<String>,
    /// Threads apart: a tower each in flame graphs, a profile each for speedscope.
    pub per_thread: bool,
    /// Leaf first, for flame graphs and folded stacks.
    pub reverse: bool,
    /// The longest list in a report; by default 20 in text, 100 in pages, and everything in JSON.
    pub top: Option<usize>,
}

/// Why a profile was not written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The recording has no such event.
    #[error("the recording holds no event `{event}`; it holds: {known}")]
    Event {
        /// The event asked for.
        event: String,
        /// The events that are there.
        known: String,
    },
    /// The recording holds nothing at all.
    #[error("the recording holds no events, so there is nothing to export; `perfprobe report` tells what it has")]
    NoEvents,
    /// Of what is sampled the lengths are not known.
    #[error(
        "there is no latency heat map of `{event}`: its lengths are not kept; of io, files, faults, syscalls, kernel-locks and sched there is"
    )]
    NoLatencies {
        /// The event asked for.
        event: String,
    },
    /// Nothing has lengths.
    #[error(
        "a latency heat map shows lengths, and none were recorded: record with -e io, files, faults, syscalls, kernel-locks or sched"
    )]
    NoLengths,
    /// Only sums were kept.
    #[error("the recording has no timeline, only sums over each second: record with --timeline")]
    NoTimeline,
    /// The page would be too large for a browser.
    #[error("{count} {what} are more than a page can hold; choose a part of the time with --from and --to")]
    TooMany {
        /// How many.
        count: u64,
        /// Of what.
        what: &'static str,
    },
    /// A recording cannot be made from a profile.
    #[error("a recording is written by `perfprobe record`; export to another format, or copy the file")]
    Recording,
    /// The flame graph failed.
    #[error(transparent)]
    Picture(#[from] flamegraphs::Error),
    /// The JSON failed, almost always because it could not be written.
    #[error("cannot write the JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Write(#[from] std::io::Error),
}

/// Writes `profile` to `out` as `format`.
///
/// # Errors
/// When the event is not in the profile, or when `out` fails.
pub fn write(
    format: Format,
    profile: &Profile,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<(), OutputError> {
    match format {
        Format::Recording => return Err(OutputError::Recording),
        Format::Svg => svg::write(profile, drawn(profile, options)?.as_ref(), options, out)?,
        Format::Html => html::write(profile, drawn(profile, options)?.as_ref(), options, out)?,
        Format::Folded => folded::write(profile, drawn(profile, options)?.as_ref(), options, out)?,
        Format::Pprof => pprof::write(profile, drawn(profile, options)?.as_ref(), out)?,
        Format::Speedscope => speedscope::write(profile, drawn(profile, options)?.as_ref(), options, out)?,
        Format::Firefox => firefox::write(profile, options, out)?,
        Format::Trace => trace::write(profile, options, out)?,
        Format::Heat => heat::write(profile, drawn(profile, options)?.as_ref(), options, out)?,
        Format::Latency => latency::write(profile, options, out)?,
        Format::Json => {
            json(&serde_json::to_string_pretty(&report_of(profile, options, None)?)?, out)?;
        }
        Format::Text => write!(out, "{}", report_of(profile, options, Some(20))?)?,
    }
    out.flush()?;
    Ok(())
}

/// Writes JSON so that it can be printed to a terminal: names in it keep what they are, escaped.
fn json(text: &str, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}", escaped(text))
}

/// JSON with escapes for all that a terminal would obey.
fn escaped(text: &str) -> String {
    // Outside of strings JSON has no such characters but newlines, and all of them have escapes of four digits.
    let escaped = |character: char| human::is_escape(character) && character != '\n';
    let (mut rest, mut done) = (text, String::with_capacity(text.len()));
    while let Some((at, character)) = rest.char_indices().find(|(_, character)| escaped(*character)) {
        done += &format!("{}\\u{:04x}", &rest[..at], u32::from(character));
        rest = &rest[at + character.len_utf8()..];
    }
    done + rest
}

/// The series that `options` ask for; else the first that holds anything: of a program that only waits, its waits.
fn series<'a>(profile: &'a Profile, options: &ExportOptions) -> Result<&'a Series, OutputError> {
    let Some(event) = &options.event else {
        let first = profile.series.iter().find(|series| series.total() > 0).or(profile.series.first());
        return first.ok_or(OutputError::NoEvents);
    };
    profile.series(event).ok_or_else(|| {
        let known: Vec<_> = profile.series.iter().map(|series| series.event.as_str()).collect();
        OutputError::Event { event: event.clone(), known: known.join(", ") }
    })
}

/// What of that is drawn: of locks, only waits that are contention.
fn drawn<'a>(profile: &'a Profile, options: &ExportOptions) -> Result<Cow<'a, Series>, OutputError> {
    let series = series(profile, options)?;
    let of_locks = series.event == EventKind::Locks.name();
    Ok(if of_locks { Cow::Owned(profile.contention(series)) } else { Cow::Borrowed(series) })
}

fn report_of(profile: &Profile, options: &ExportOptions, top: Option<usize>) -> Result<Report, OutputError> {
    let mut report = report(profile, &ReportOptions { top: options.top.or(top) });
    if options.event.is_some() {
        let event = &series(profile, options)?.event;
        report.series.retain(|name, _| name == event);
        report.accounting.retain(|name, _| name == event);
    }
    Ok(report)
}

impl From<&ExportOptions> for FoldOptions {
    fn from(options: &ExportOptions) -> Self {
        Self { per_thread: options.per_thread, reverse: options.reverse, wakers_between: false }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timeline_tests;
#[cfg(test)]
mod wait_tests;
