//! The page's tables of system calls.

use flamegraphs::{Column, Section};

use super::html::more;
use crate::report::{
    CallReport, CallsReport, SlowCallReport, accounting_line,
    human::{duration, thousands},
};

/// By process and call, the slowest, and those that have not returned.
pub(super) fn sections(calls: &CallsReport) -> Vec<Section> {
    let single = |heading: &str, calls: &[SlowCallReport]| {
        (!calls.is_empty()).then(|| Section {
            heading: heading.into(),
            columns: vec![
                Column::number("time"),
                Column::number("at"),
                Column::number("tid"),
                Column::text("thread"),
                Column::text("call"),
                Column::text("returned"),
            ],
            rows: calls.iter().map(row).collect(),
            ..Section::default()
        })
    };
    let kinds = Section {
        heading: "System calls".into(),
        text: more(&accounting_line(&calls.accounting, "calls"), calls.kinds_omitted, "kinds of calls"),
        columns: vec![
            Column::number("total"),
            Column::number("calls"),
            Column::number("p50"),
            Column::number("p99"),
            Column::number("max"),
            Column::function("call"),
            Column::text("process"),
            Column::text("errors"),
        ],
        rows: calls.kinds.iter().map(kind).collect(),
    };
    let slowest = single("Slowest system calls", &calls.slowest);
    let open = single("System calls that have not returned", &calls.open);
    [Some(kinds), slowest, open].into_iter().flatten().collect()
}

fn kind(kind: &CallReport) -> Vec<String> {
    vec![
        duration(kind.total_ns),
        thousands(kind.count),
        duration(kind.p50_ns),
        duration(kind.p99_ns),
        duration(kind.max_ns),
        kind.call.clone(),
        format!("{} ({})", kind.process, kind.tgid),
        kind.told_errors(),
    ]
}

fn row(call: &SlowCallReport) -> Vec<String> {
    let (length, start) = call.told_times();
    let (tid, returned) = (call.tid.to_string(), call.told_result().unwrap_or_default());
    vec![length, start, tid, call.comm.clone(), call.arguments.clone(), returned]
}
