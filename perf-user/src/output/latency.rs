//! Latency heat maps: how long requests, calls, page faults and waits for a CPU took, over time.

use std::cmp::Reverse;
use std::io::Write;

use flamegraphs::{LatencyCell, LatencyMap, LatencyMaps};
use perf_ebpf::histogram::{BUCKETS, bucket_limits};

use super::{ExportOptions, OutputError, report_of, series};
use crate::collect::EventKind;
use crate::profile::{Latency, Profile};
use crate::report::human::{duration, thousands};

/// Maps of a picture: those whose time in all is the longest.
const MAPS: usize = 8;

/// Of these the lengths are known. Where none is asked for, the first that has some is drawn: those first that are only recorded on
/// request.
pub const WITH_LENGTHS: [EventKind; 6] =
    [EventKind::Files, EventKind::Faults, EventKind::Syscalls, EventKind::Io, EventKind::KernelLocks, EventKind::Sched];

pub(super) fn write(profile: &Profile, options: &ExportOptions, out: &mut dyn Write) -> Result<(), OutputError> {
    let latencies = &profile.latencies;
    let event = event(profile, options)?;
    let mut found: Vec<(&str, &Latency)> = latencies
        .maps
        .iter()
        .filter(|((of, _), _)| *of == event)
        .map(|((_, label), map)| (label.as_str(), map))
        .collect();
    found.sort_by_key(|(label, map)| (Reverse(map.all.total_ns), *label));
    let omitted = found.len().saturating_sub(MAPS);
    found.truncate(MAPS);
    let report = report_of(profile, &ExportOptions::default(), Some(0))?;
    let mut summary = vec![report.header()];
    summary.extend(report.warnings.iter().filter(|warning| !warning.starts_with("cpu:")).cloned());
    if omitted > 0 {
        summary.push(format!("These took the longest in all; {omitted} more kinds are not drawn."));
    }
    if latencies.of_thread {
        summary.push("These are known of processes, not of the one thread that was chosen.".into());
    } else if found.is_empty() {
        summary.push(format!("No {event} event of the target was taken."));
    }
    let span = |(from, _): &(u64, u64), (_, to): &(u64, u64)| *from..*to;
    let maps = LatencyMaps {
        title: format!("Latency heat map of {}: {}", what(event), profile.recording.target_label),
        summary,
        span_ns: latencies.parts.first().zip(latencies.parts.last()).map_or(0..1, |(first, last)| span(first, last)),
        maps: found.into_iter().map(|(label, latency)| map(profile, label, latency)).collect(),
    };
    flamegraphs::latency_maps(&maps, out)?;
    Ok(())
}

/// The event that is drawn.
fn event<'a>(profile: &Profile, options: &'a ExportOptions) -> Result<&'a str, OutputError> {
    let known = WITH_LENGTHS.map(EventKind::name);
    if let Some(event) = &options.event {
        series(profile, options)?;
        let is_known = known.contains(&event.as_str());
        return if is_known { Ok(event) } else { Err(OutputError::NoLatencies { event: event.clone() }) };
    }
    let has_some = |event: &&str| profile.latencies.maps.keys().any(|(of, _)| of == event);
    let is_recorded = |event: &&str| profile.series(event).is_some();
    let found = known.into_iter().find(has_some).or_else(|| known.into_iter().find(is_recorded));
    found.ok_or(OutputError::NoLengths)
}

/// What an event is of, in words.
fn what(event: &str) -> &str {
    match event {
        _ if event == EventKind::Io.name() => "requests to disks",
        _ if event == EventKind::Files.name() => "calls on files and sockets",
        _ if event == EventKind::Faults.name() => "page faults",
        _ if event == EventKind::Syscalls.name() => "system calls",
        _ if event == EventKind::KernelLocks.name() => "waits for locks of the kernel",
        _ => "the run queue",
    }
}

fn map(profile: &Profile, label: &str, latency: &Latency) -> LatencyMap {
    let all = &latency.all;
    let [p50, p99] = [0.5, 0.99].map(|share| duration(all.quantile_ns(share)));
    let times = if all.count == 1 { "time" } else { "times" };
    let text = format!("{} {times}, p50 {p50}, p99 {p99}, max {}", thousands(all.count), duration(all.max_ns));
    let mut cells: Vec<_> = latency.cells.iter().collect();
    cells.sort();
    let cell = |((part, bucket), count): (&(u32, u8), &u64)| {
        let (from, until) = *profile.latencies.parts.get(*part as usize)?;
        let [low, high] = bucket_limits(usize::from(*bucket));
        // The last bucket has no end.
        let is_last = usize::from(*bucket) == BUCKETS - 1;
        let high = if is_last { all.max_ns.max(high) } else { high };
        let to = if is_last { " or more".into() } else { format!(" to {}", duration(high)) };
        let [begin, end] = [from, until].map(|ns| ns as f64 / 1e9);
        let text = format!("{} of {}{to}, from {begin:.1} to {end:.1} s", thousands(*count), duration(low));
        Some(LatencyCell { time_ns: from..until, length_ns: low..high, count: *count, text })
    };
    LatencyMap { title: label.into(), text, cells: cells.into_iter().filter_map(cell).collect() }
}
