//! The page's tables of the kernel's own locks.

use flamegraphs::{Column, Section};

use super::html::more;
use crate::report::{
    KernelLocksReport, accounting_line,
    human::{duration, thousands},
};

/// By process and lock, and where threads waited.
pub(super) fn sections(kernel: &KernelLocksReport) -> Vec<Section> {
    let numbers = ["time", "waits", "p50", "p99", "max"].map(Column::number);
    let locks = Section {
        heading: "Locks of the kernel".into(),
        text: more(&accounting_line(&kernel.accounting, "waits"), kernel.locks_omitted, "locks"),
        columns: numbers.into_iter().chain(["lock", "process"].map(Column::text)).collect(),
        rows: kernel
            .locks
            .iter()
            .map(|lock| {
                let of = &lock.lengths;
                let lengths = [of.p50_ns, of.p99_ns, of.max_ns].map(duration);
                let named = [lock.lock.clone(), format!("{} ({})", lock.process, lock.tgid)];
                [duration(of.total_ns), thousands(lock.waits)].into_iter().chain(lengths).chain(named).collect()
            })
            .collect(),
    };
    let places = Section {
        heading: "Where threads waited for locks of the kernel".into(),
        text: more(
            "An estimate: from all waits of 100 us or longer, and of shorter ones some by chance.",
            kernel.places_omitted,
            "places",
        ),
        columns: vec![
            Column::number("time"),
            Column::function("taken in"),
            Column::function("for"),
            Column::function("called"),
            Column::text("kind"),
        ],
        rows: kernel
            .places
            .iter()
            .map(|place| {
                let of = &place.place;
                let called = of.called.clone().unwrap_or_default();
                vec![duration(of.value), place.kernel.clone(), of.function.clone(), called, of.why.clone()]
            })
            .collect(),
    };
    let threads = Section {
        heading: "Threads that waited for locks of the kernel".into(),
        text: more("", kernel.threads_omitted, "threads"),
        columns: vec![Column::number("time"), Column::number("tid"), Column::text("thread"), Column::text("process")],
        rows: kernel
            .threads
            .iter()
            .map(|thread| {
                let process = format!("{} ({})", thread.process, thread.tgid);
                vec![duration(thread.samples), thread.tid.to_string(), thread.comm.clone(), process]
            })
            .collect(),
    };
    [locks, places, threads].into_iter().filter(|section| !section.rows.is_empty()).collect()
}
