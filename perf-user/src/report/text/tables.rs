//! The tables of one series: why, in which functions, of which processes and threads.

use std::fmt::{self, Formatter};

use super::{MODULE, NAME, amount, is_time, write_more};
use crate::report::{
    SeriesReport,
    human::{file_name, line, percent, shorten, shorten_function},
};

pub(super) fn write_functions(f: &mut Formatter<'_>, series: &SeriesReport) -> fmt::Result {
    if series.functions.is_empty() {
        return writeln!(f, "\nNo sample has a stack, so there are no functions to show.");
    }
    writeln!(f, "\n self %      self  total %  {:<NAME$} {:<7} module", "function", "kind")?;
    for function in &series.functions {
        writeln!(
            f,
            "{:>7} {:>9} {:>8}  {:<NAME$} {:<7} {}",
            percent(function.self_value, series.selected),
            amount(function.self_value, &series.unit),
            percent(function.total, series.selected),
            shorten_function(&function.name, function.kind, NAME),
            format!("{:?}", function.kind).to_lowercase(),
            shorten(file_name(&function.module), MODULE),
        )?;
    }
    write_more(f, series.functions_omitted, "functions")?;
    if series.without_stack > 0 {
        let (share, count) =
            (percent(series.without_stack, series.selected), amount(series.without_stack, &series.unit));
        let what =
            if is_time(series) { "began before the recording, or has no stack" } else { "samples without a stack" };
        writeln!(f, "{share:>7} {count:>9}           ({what})")?;
    }
    Ok(())
}

pub(super) fn write_processes(f: &mut Formatter<'_>, series: &SeriesReport) -> fmt::Result {
    if !has_processes(series) {
        return Ok(());
    }
    writeln!(f, "\n  share {:>9}      tgid  threads  process", heading(series))?;
    for process in &series.processes {
        writeln!(
            f,
            "{:>7} {:>9} {:>9} {:>8}  {}",
            percent(process.samples, series.selected),
            amount(process.samples, &series.unit),
            process.tgid,
            process.threads,
            shorten(&process.process, NAME)
        )?;
    }
    write_more(f, series.processes_omitted, "processes")
}

/// Of processes that have but one thread, the table of processes tells all, unless there is none.
pub(super) fn write_threads(f: &mut Formatter<'_>, series: &SeriesReport) -> fmt::Result {
    let told = has_processes(series);
    let threads: Vec<_> = series.threads.iter().filter(|thread| !(told && thread.is_alone)).collect();
    let omitted = if told { series.threads_omitted_of_many } else { series.threads_omitted };
    if threads.is_empty() && omitted == 0 {
        return Ok(());
    }
    writeln!(f, "\n  share {:>9}       tid  thread           process", heading(series))?;
    for thread in threads {
        writeln!(
            f,
            "{:>7} {:>9} {:>9}  {:<16} {} ({})",
            percent(thread.samples, series.selected),
            amount(thread.samples, &series.unit),
            thread.tid,
            shorten(&thread.comm, 16),
            shorten(&thread.process, NAME),
            thread.tgid,
        )?;
    }
    write_more(f, omitted, "threads")
}

/// Whether there are several processes, so that they have a table.
fn has_processes(series: &SeriesReport) -> bool {
    series.processes.len() + series.processes_omitted > 1
}

fn heading(series: &SeriesReport) -> String {
    if is_time(series) { "time".into() } else { line(&series.unit) }
}

pub(super) fn write_waits(f: &mut Formatter<'_>, series: &SeriesReport) -> fmt::Result {
    if series.waits.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n  share      time  why")?;
    for wait in &series.waits {
        let (share, time) = (percent(wait.value, series.selected), amount(wait.value, &series.unit));
        writeln!(f, "{share:>7} {time:>9}  {}", line(&wait.why))?;
    }
    write_more(f, series.waits_omitted, "reasons")
}
