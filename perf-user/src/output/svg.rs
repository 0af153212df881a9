//! The flame graph.

use std::io::Write;

use flamegraphs::Picture;

use super::{ExportOptions, OutputError};
use crate::collect::NANOSECONDS;
use crate::profile::{Profile, Series};
use crate::report::human::{duration, percent, thousands};
use crate::report::{ReportOptions, amount, frequency_hz, report, why_empty};

pub(super) fn write(
    profile: &Profile,
    series: &Series,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<(), OutputError> {
    let stacks = profile.fold(series, options.into());
    let notes = report(profile, &ReportOptions { top: Some(0) }).warnings;
    let notes = notes.into_iter().map(|warning| format!("WARNING: {warning}")).collect();
    flamegraphs::svg(&stacks, &Picture { notes, ..picture(profile, series, options) }, out)?;
    Ok(())
}

/// The picture's words, without notes.
pub(super) fn picture(profile: &Profile, series: &Series, options: &ExportOptions) -> Picture {
    Picture {
        title: title(profile, series, options),
        subtitle: Some(subtitle(profile, series)),
        unit: series.unit.clone(),
        inverted: options.reverse,
        notes: Vec::new(),
        when_empty: why_empty(profile.covered_ns(), series).unwrap_or_default(),
    }
}

fn title(profile: &Profile, series: &Series, options: &ExportOptions) -> String {
    let event = match series.event.as_str() {
        "cpu" => "CPU",
        "offcpu" => "Off-CPU",
        "syscalls" => "System call",
        "wall" => "Wall-clock",
        other => other,
    };
    let reversed = if options.reverse { ", callers of the leaves" } else { "" };
    format!("{event} flame graph{reversed}: {}", profile.recording.target_label)
}

fn subtitle(profile: &Profile, series: &Series) -> String {
    let (recording, accounting) = (&profile.recording, &series.accounting);
    let is_time = series.unit == NANOSECONDS;
    let mut counted = amount(series.total(), &series.unit);
    if series.total() != accounting.reported {
        counted += &format!(" of {}", amount(accounting.reported, &series.unit));
    }
    if !is_time {
        counted += &format!(" {}", series.unit);
    }
    if series.period_ns > 0 && !is_time {
        counted += &format!(" at {} Hz", thousands(frequency_hz(series.period_ns)));
    }
    if let Some(sampled) = series.counters.get("calls_sampled") {
        counted += &format!(" estimated from {} system calls", thousands(*sampled));
    }
    let lost = accounting.lost_total();
    let share = if lost == 0 { String::new() } else { format!(" ({})", percent(lost, accounting.taken)) };
    format!(
        "{}: {counted} over {}, {} lost{share}",
        recording.host,
        duration(profile.covered_ns()),
        amount(lost, &series.unit)
    )
}
