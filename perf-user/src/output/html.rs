//! The page: the flame graph and the report's tables.

use std::io::Write;

use flamegraphs::{Column, Page, Picture, Section};

use super::{
    ExportOptions, OutputError, html_block, html_calls, html_files, html_kernel_locks, html_locks, html_memory,
    report_of, svg,
};
use crate::collect::{EventKind, NANOSECONDS};
use crate::profile::{Profile, Series};
use crate::report::human::{file_name, percent, thousands};
use crate::report::{
    FunctionReport, PlaceReport, ProcessReport, Report, SeriesReport, ThreadReport, accounting_line, amount,
};

/// The longest table.
const TOP: usize = 100;

pub(super) fn write(
    profile: &Profile,
    series: &Series,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<(), OutputError> {
    let report = report_of(profile, options, Some(TOP))?;
    let Picture { title, .. } = svg::picture(profile, series, options);
    let limit = report.limit.iter().map(|limit| format!("Limit: {}", limit.told().join("; ")));
    let mut summary: Vec<String> = [report.header()].into_iter().chain(limit).collect();
    summary.push(accounting_line(&series.accounting, &series.unit));
    let mut sections = Vec::new();
    if let Some(figures) = report.series.get(&series.event) {
        if figures.is_slice(&series.accounting) {
            let share = percent(figures.selected, series.accounting.reported);
            let selected = amount(figures.selected, &series.unit);
            let of = if series.unit == NANOSECONDS { "time" } else { &series.unit };
            summary.push(format!("This page is about {selected} of the {of}, {share} of what was reported."));
        } else if figures.selected > 0 {
            summary.extend(report.use_line(&series.event, figures, &series.accounting));
        }
        if figures.selected > 0 {
            sections.extend(places(&series.event, figures));
            sections.extend([functions(figures), processes(figures), threads(figures)]);
        }
        sections.push(quality(figures));
    }
    // First where they are what the page is about.
    let mut add = |more: Vec<Section>, is_first: bool| {
        let at = if is_first { 0 } else { sections.len() };
        sections.splice(at..at, more);
    };
    let is_of = |kind: EventKind| series.event == kind.name();
    let is_of_disks = is_of(EventKind::Io) || is_of(EventKind::IoBytes);
    add(report.block.iter().flat_map(html_block::sections).collect(), is_of_disks);
    add(report.file_calls.iter().flat_map(html_files::sections).collect(), is_of(EventKind::Files));
    add(report.locks.iter().flat_map(html_locks::sections).collect(), is_of(EventKind::Locks));
    add(report.kernel_locks.iter().flat_map(html_kernel_locks::sections).collect(), is_of(EventKind::KernelLocks));
    add(report.memory.iter().flat_map(html_memory::sections).collect(), is_of(EventKind::Memory));
    add(report.page_faults.iter().map(html_files::faults).collect(), is_of(EventKind::Faults));
    sections.extend(report.calls.iter().flat_map(html_calls::sections));
    sections.push(losses(&report, &series.event));
    sections.push(Section { heading: "Overhead".into(), text: report.overhead_lines(), ..Section::default() });
    let picture =
        Picture { title: format!("{} by stack", svg::unit(series)), ..svg::picture(profile, series, options) };
    let stacks = svg::stacks(profile, series, options);
    let page = Page { title, summary, warnings: report.warnings.clone(), picture, stacks, sections };
    flamegraphs::html(&page, out)?;
    Ok(())
}

/// A heading over values, which name their unit themselves where they are times.
fn unit(figures: &SeriesReport) -> &str {
    if figures.unit == NANOSECONDS { "time" } else { &figures.unit }
}

/// Where threads waited, or asked for requests; nothing for other events.
fn places(event: &str, figures: &SeriesReport) -> Option<Section> {
    let heading = match event {
        _ if event == EventKind::Io.name() => "Where requests were asked for",
        _ if event == EventKind::Files.name() => "Where calls on files were made",
        _ if event == EventKind::Faults.name() => "Where pages were needed",
        _ => "Where threads waited",
    };
    let row = |place: &PlaceReport| {
        vec![
            percent(place.value, figures.selected),
            amount(place.value, &figures.unit),
            place.function.clone(),
            place.called.clone().unwrap_or_default(),
            place.why.clone(),
            file_name(&place.module).to_owned(),
        ]
    };
    (!figures.places.is_empty()).then(|| Section {
        heading: heading.into(),
        text: more(
            "The innermost function of the program's own, and what it called.",
            figures.places_omitted,
            "places",
        ),
        columns: vec![
            Column::number("share"),
            Column::number("time"),
            Column::function("function"),
            Column::function("called"),
            Column::text("why"),
            Column::text("module"),
        ],
        rows: figures.places.iter().map(row).collect(),
    })
}

fn functions(figures: &SeriesReport) -> Section {
    let of_all = |value: u64| percent(value, figures.selected);
    let row = |function: &FunctionReport| {
        vec![
            of_all(function.self_value),
            amount(function.self_value, &figures.unit),
            of_all(function.total),
            function.name.clone(),
            format!("{:?}", function.kind).to_lowercase(),
            file_name(&function.module).to_owned(),
        ]
    };
    Section {
        heading: "Functions".into(),
        text: more(
            "Self: the function itself was running. Total: it or what it called. A click on a name finds it above.",
            figures.functions_omitted,
            "functions",
        ),
        columns: vec![
            Column::number("self %"),
            Column::number("self"),
            Column::number("total %"),
            Column::function("function"),
            Column::text("kind"),
            Column::text("module"),
        ],
        rows: figures.functions.iter().map(row).collect(),
    }
}

fn processes(figures: &SeriesReport) -> Section {
    let row = |process: &ProcessReport| {
        vec![
            percent(process.samples, figures.selected),
            amount(process.samples, &figures.unit),
            process.tgid.to_string(),
            process.threads.to_string(),
            process.process.clone(),
        ]
    };
    Section {
        heading: "Processes".into(),
        text: more("", figures.processes_omitted, "processes"),
        columns: vec![
            Column::number("share"),
            Column::number(unit(figures)),
            Column::number("tgid"),
            Column::number("threads"),
            Column::text("process"),
        ],
        rows: figures.processes.iter().map(row).collect(),
    }
}

fn threads(figures: &SeriesReport) -> Section {
    let row = |thread: &ThreadReport| {
        vec![
            percent(thread.samples, figures.selected),
            amount(thread.samples, &figures.unit),
            thread.tid.to_string(),
            thread.comm.clone(),
            format!("{} ({})", thread.process, thread.tgid),
        ]
    };
    Section {
        heading: "Threads".into(),
        text: more("", figures.threads_omitted, "threads"),
        columns: vec![
            Column::number("share"),
            Column::number(unit(figures)),
            Column::number("tid"),
            Column::text("thread"),
            Column::text("process"),
        ],
        rows: figures.threads.iter().map(row).collect(),
    }
}

/// Frames without a name, and what else is known about the quality of the stacks.
fn quality(figures: &SeriesReport) -> Section {
    let share = percent(figures.frames_unnamed, figures.frames);
    let text = match (figures.frames, figures.frames_unnamed) {
        (0, _) => Vec::new(),
        (_, 0) => vec![String::from("Every frame has a name.")],
        (frames, unnamed) => {
            vec![format!("{} of {} frames ({share}) have no name.", thousands(unnamed), thousands(frames))]
        }
    };
    let reasons = figures.unsymbolized.iter().map(|(name, count)| (format!("no name: {name}"), *count));
    let modules =
        figures.unsymbolized_modules.iter().map(|module| (format!("no name in {}", module.module), module.frames));
    let counters = figures.counters.iter().map(|(name, count)| (name.clone(), *count));
    let rows = reasons.chain(counters).map(|(name, count)| (name.replace('_', " "), count)).chain(modules);
    let rows: Vec<_> = rows.map(|(name, count)| vec![thousands(count), name]).collect();
    table_of_counts("Quality of the stacks", text, rows)
}

fn losses(report: &Report, event: &str) -> Section {
    let Some(accounting) = report.accounting.get(event) else { return Section::default() };
    let lost = accounting.lost.iter().filter(|(_, count)| **count > 0);
    let mut rows: Vec<_> = lost.map(|(cause, count)| vec![thousands(*count), cause.replace('_', " ")]).collect();
    let others = [
        ("requests to disks", report.block.as_ref().map(|block| &block.accounting)),
        ("calls on files", report.file_calls.as_ref().map(|calls| &calls.accounting)),
        ("locks of the kernel", report.kernel_locks.as_ref().map(|locks| &locks.accounting)),
        ("memory", report.memory.as_ref().map(|memory| &memory.accounting)),
        ("page faults", report.page_faults.as_ref().map(|faults| &faults.accounting)),
        ("system calls", report.calls.as_ref().map(|calls| &calls.accounting)),
    ];
    for (what, accounting) in others {
        let lost = accounting.iter().flat_map(|accounting| &accounting.lost).filter(|(_, count)| **count > 0);
        rows.extend(lost.map(|(cause, count)| vec![thousands(*count), format!("{what}: {}", cause.replace('_', " "))]));
    }
    let text = if rows.is_empty() { vec![String::from("Nothing was lost.")] } else { Vec::new() };
    table_of_counts("Losses", text, rows)
}

fn table_of_counts(heading: &str, text: Vec<String>, rows: Vec<Vec<String>>) -> Section {
    let columns = if rows.is_empty() { Vec::new() } else { vec![Column::number("count"), Column::text("what")] };
    Section { heading: heading.into(), text, columns, rows }
}

pub(super) fn more(text: &str, omitted: usize, what: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if !text.is_empty() {
        lines.push(String::from(text));
    }
    if omitted > 0 {
        lines.push(format!("{} more {what} are left out.", thousands(omitted as u64)));
    }
    lines
}
