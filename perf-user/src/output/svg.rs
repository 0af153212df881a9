//! The flame graph.

use std::io::Write;

use flamegraphs::{Picture, Stacks};

use super::{ExportOptions, OutputError};
use crate::collect::{BYTES, EventKind, NANOSECONDS};
use crate::profile::{FoldOptions, Profile, Series};
use crate::report::human::{duration, percent, thousands};
use crate::report::{ReportOptions, amount, frequency_hz, report, why_empty};

pub(super) fn write(
    profile: &Profile,
    series: &Series,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<(), OutputError> {
    let stacks = stacks(profile, series, options);
    let notes = report(profile, &ReportOptions { top: Some(0) }).warnings;
    let picture = picture(profile, series, options);
    let warnings = notes.into_iter().map(|warning| format!("WARNING: {warning}"));
    let notes = picture.notes.iter().cloned().chain(warnings).collect();
    flamegraphs::svg(&stacks, &Picture { notes, ..picture }, out)?;
    Ok(())
}

/// What is drawn, in the unit of the [picture]. What is shorter than a microsecond counts as one.
pub(super) fn stacks(profile: &Profile, series: &Series, options: &ExportOptions) -> Stacks {
    let options = FoldOptions { wakers_between: is_of_wakers(series), ..options.into() };
    let mut stacks = profile.fold(series, options);
    if series.unit == NANOSECONDS {
        stacks.values_mut().for_each(|ns| *ns = ns.div_ceil(1_000));
    }
    stacks
}

fn is_of_wakers(series: &Series) -> bool {
    [EventKind::OffWake, EventKind::Locks].map(EventKind::name).contains(&series.event.as_str())
}

/// The picture's words, without warnings.
pub(super) fn picture(profile: &Profile, series: &Series, options: &ExportOptions) -> Picture {
    Picture {
        title: title(profile, series, options),
        subtitle: Some(subtitle(profile, series)),
        unit: unit(series).to_owned(),
        inverted: options.reverse,
        notes: notes(series, options),
        when_empty: why_empty(profile.covered_ns(), series).unwrap_or_default(),
    }
}

/// Of times microseconds: nobody reads twelve digits.
pub(super) fn unit(series: &Series) -> &str {
    if series.unit == NANOSECONDS { "microseconds" } else { &series.unit }
}

/// How to read a picture that is not like the others.
fn notes(series: &Series, options: &ExportOptions) -> Vec<String> {
    if series.event == EventKind::Holders.name() {
        let what =
            "What threads did that had a lock, and which. A width is the time that others waited for it meanwhile.";
        return vec![what.into()];
    }
    if !is_of_wakers(series) {
        return Vec::new();
    }
    let (near, far) = if options.reverse { ("Above", "Below") } else { ("Below", "Above") };
    vec![
        format!(
            "{near} a yellow frame: the stack of the thread that waited, and why it did. A width is its time, in microseconds."
        ),
        format!(
            "{far} it: the stack of the thread that woke it, upside down, from the waking back to where that thread began."
        ),
    ]
}

fn title(profile: &Profile, series: &Series, options: &ExportOptions) -> String {
    let event = match series.event.as_str() {
        "cpu" => "CPU",
        "offcpu" => "Off-CPU",
        "offwake" => "Off-CPU and waker",
        "syscalls" => "System call",
        "io" => "Block I/O time",
        "io-bytes" => "Block I/O bytes",
        "files" => "File and socket",
        "faults" => "Page fault",
        "locks" => "Lock contention",
        "holders" => "Lock holder",
        "kernel-locks" => "Kernel lock",
        "memory" => "First-touched memory",
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
    if !is_time && series.unit != BYTES {
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
