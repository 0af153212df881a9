//! Files for <https://profiler.firefox.com>: its processed profile format, `src/types/profile.ts` of firefox-devtools/profiler.

mod tables;

use std::fmt::Display;
use std::io::{self, Write};

use super::tracks::{Track, quoted, reason, tracks};
use super::{ExportOptions, OutputError};
use crate::collect::EventKind;
use crate::profile::{Moment, Profile, StackId};
use tables::Tables;

/// The version of the format that is written; the profiler upgrades older ones itself.
const VERSION: u32 = 62;

/// The version of the format of Firefox itself that `meta` has to tell.
const GECKO_VERSION: u32 = 24;

/// Writes a track a thread: CPU samples, and waits as markers, and as samples of no weight, so that the graph of a thread
/// does not show what it did before for as long as it waits.
pub(super) fn write(profile: &Profile, options: &ExportOptions, out: &mut dyn Write) -> Result<(), OutputError> {
    let tracks = tracks(profile, options)?;
    let tables = Tables::new(profile);
    let period_ns = period_ns(profile);
    write!(out, "{{\"meta\":{{\"version\":{GECKO_VERSION},\"preprocessedProfileVersion\":{VERSION}")?;
    write!(
        out,
        ",\"interval\":{},\"startTime\":{}",
        milliseconds(period_ns),
        milliseconds(profile.recording.started_unix_ns)
    )?;
    write!(out, ",\"product\":{}", quoted(&format!("perfprobe: {}", profile.recording.target_label))?)?;
    write!(out, ",\"oscpu\":{}", quoted(&format!("Linux {}", profile.recording.kernel))?)?;
    write!(
        out,
        ",\"processType\":0,\"debug\":false,\"symbolicated\":true,\"usesOnlyOneStackType\":true,\"sourceCodeIsNotOnSearchfox\":true,\
         \"pausedRanges\":[],\"sampleUnits\":{{\"time\":\"ms\",\"eventDelay\":\"ms\",\"threadCPUDelta\":\"ns\"}},\
         \"extensions\":{{\"baseURL\":[],\"id\":[],\"name\":[],\"length\":0}},\"markerSchema\":[{{\"name\":\"Wait\",\
         \"display\":[\"marker-chart\",\"marker-table\",\"timeline-overview\"],\"fields\":[],\
         \"tooltipLabel\":\"{{marker.name}}\",\"tableLabel\":\"{{marker.name}}\",\"chartLabel\":\"{{marker.name}}\"}}],\"categories\":"
    )?;
    tables.write_categories(out)?;
    write!(out, "}},\"libs\":")?;
    tables.write_libs(out)?;
    writeln!(out, ",\"pages\":[],\"counters\":[],\"profilerOverhead\":[],\"shared\":{{")?;
    tables.write(out)?;
    write!(out, "}},\"threads\":[")?;
    for (at, track) in tracks.iter().enumerate() {
        writeln!(out, "{}", if at > 0 { "," } else { "" })?;
        write_thread(profile, &tables, track, period_ns, out)?;
    }
    writeln!(out, "]}}")?;
    Ok(())
}

/// What a sample stands for, or would if the CPU ran at its highest frequency.
fn period_ns(profile: &Profile) -> u64 {
    let period_ns = profile.series(EventKind::Cpu.name()).map_or(0, |cpu| cpu.period_ns);
    let frequency_hz = profile.recording.options["frequency_hz"].as_u64().unwrap_or(0);
    if period_ns > 0 { period_ns } else { 1_000_000_000 / frequency_hz.max(1) }
}

/// A row of the table of samples.
struct Row {
    time_ns: u64,
    stack: StackId,
    /// 1 for a sample, 0 for the beginning and the end of a wait.
    weight: u8,
    /// What the thread is taken to have run since the row before, at most.
    ran_ns: u64,
}

fn rows(track: &Track<'_>, period_ns: u64) -> Vec<Row> {
    let row = |moment: &Moment, time_ns, weight, ran_ns| Row { time_ns, stack: moment.stack, weight, ran_ns };
    let mut rows: Vec<Row> = track.samples.iter().map(|sample| row(sample, sample.start_ns, 1, period_ns)).collect();
    for wait in &track.waits {
        rows.push(row(wait, wait.start_ns, 0, period_ns));
        rows.push(row(wait, wait.end_ns(), 0, 0));
    }
    rows.sort_by_key(|row| row.time_ns);
    let mut before_ns = rows.first().map_or(0, |row| row.time_ns);
    for row in &mut rows {
        row.ran_ns = row.ran_ns.min(row.time_ns - before_ns);
        before_ns = row.time_ns;
    }
    rows
}

fn write_thread(
    profile: &Profile,
    tables: &Tables<'_>,
    track: &Track<'_>,
    period_ns: u64,
    out: &mut dyn Write,
) -> Result<(), OutputError> {
    let thread = track.thread;
    let (name, process) = (quoted(profile.strings.get(thread.comm))?, quoted(profile.strings.get(thread.process))?);
    write!(
        out,
        "{{\"processType\":\"default\",\"processStartupTime\":0,\"processShutdownTime\":null,\"registerTime\":0,\
         \"unregisterTime\":null,\"pausedRanges\":[],\"showMarkersInTimeline\":true,\"name\":{name},\"processName\":{process},\
         \"isMainThread\":{},\"pid\":\"{}\",\"tid\":{},\"samples\":{{\"weightType\":\"samples\",",
        thread.tid == thread.tgid,
        thread.tgid,
        thread.tid
    )?;
    let rows = rows(track, period_ns);
    column(out, "stack", rows.iter().map(|row| index(row.stack)))?;
    let before = std::iter::once(0).chain(rows.iter().map(|row| row.time_ns));
    column(out, "timeDeltas", rows.iter().zip(before).map(|(row, before_ns)| milliseconds(row.time_ns - before_ns)))?;
    column(out, "weight", rows.iter().map(|row| row.weight))?;
    column(out, "threadCPUDelta", rows.iter().map(|row| row.ran_ns))?;
    write!(out, "\"length\":{}}},\"markers\":{{", rows.len())?;
    let why = || track.waits.iter().map(|wait| reason(profile, wait).unwrap_or_default());
    column(
        out,
        "data",
        track.waits.iter().map(|wait| {
            let (stack, start) = (index(wait.stack), milliseconds(wait.start_ns));
            format!("{{\"type\":\"Wait\",\"cause\":{{\"time\":{start},\"stack\":{stack}}}}}")
        }),
    )?;
    column(out, "name", why().map(|why| tables.string(why)))?;
    column(out, "category", why().map(|why| tables.category_of_reason(why)))?;
    column(out, "startTime", track.waits.iter().map(|wait| milliseconds(wait.start_ns)))?;
    column(out, "endTime", track.waits.iter().map(|wait| milliseconds(wait.end_ns())))?;
    column(out, "phase", track.waits.iter().map(|_| INTERVAL))?;
    write!(out, "\"length\":{}}}}}", track.waits.len())?;
    Ok(())
}

/// The phase of markers that have a beginning and an end.
const INTERVAL: u8 = 1;

/// A column of a table, with a comma behind it.
fn column(out: &mut dyn Write, name: &str, values: impl Iterator<Item = impl Display>) -> io::Result<()> {
    write!(out, "\"{name}\":[")?;
    for (at, value) in values.enumerate() {
        write!(out, "{}{value}", if at > 0 { "," } else { "" })?;
    }
    write!(out, "],")
}

/// The row of a stack: the empty one has none.
fn index(stack: StackId) -> String {
    stack.0.checked_sub(1).map_or_else(|| String::from("null"), |row| row.to_string())
}

/// Nanoseconds as milliseconds, exactly.
fn milliseconds(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000)
}
