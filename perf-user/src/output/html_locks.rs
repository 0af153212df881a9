//! The page's tables of locks.

use flamegraphs::{Column, Section};

use super::html::more;
use crate::report::{
    DeadlockReport, HolderReport, LockReport, LocksReport, WaiterReport,
    human::{duration, thousands},
};

/// Deadlocks, locks, who waits for them and who has them.
pub(super) fn sections(locks: &LocksReport) -> Vec<Section> {
    let deadlocks = (!locks.deadlocks.is_empty()).then(|| Section {
        heading: "Deadlocks".into(),
        text: vec!["None of these threads can go on.".into()],
        columns: ["thread", "waits for", "had by", "in"].into_iter().map(Column::text).collect(),
        rows: locks.deadlocks.iter().flat_map(deadlock).collect(),
    });
    if locks.locks.is_empty() {
        return deadlocks.into_iter().collect();
    }
    let numbers = ["waits", "waited", "p50", "p99", "max", "at once", "held", "longest"].map(Column::number);
    let table = Section {
        heading: "Locks".into(),
        text: more(
            "How often and how long threads waited for a lock, and how long it was held after a wait.",
            locks.omitted,
            "locks",
        ),
        columns: numbers.into_iter().chain(["kind", "lock", "process"].map(Column::text)).collect(),
        rows: locks.locks.iter().map(lock).collect(),
    };
    let waiters = Section {
        heading: "Who waited for locks".into(),
        columns: vec![Column::number("time"), Column::function("in"), Column::text("lock")],
        rows: each(locks, |lock| &lock.waiters, waiter),
        ..Section::default()
    };
    let holders = Section {
        heading: "Who had locks".into(),
        text: vec!["For how long others waited for it meanwhile; inferred: it is who woke them.".into()],
        columns: vec![
            Column::number("time"),
            Column::text("thread"),
            Column::text("waited itself"),
            Column::function("in"),
            Column::text("lock"),
        ],
        rows: each(locks, |lock| &lock.holders, holder),
    };
    deadlocks.into_iter().chain([table, waiters, holders]).collect()
}

/// A row for each part of each lock, with the name of that at its end.
fn each<T>(
    locks: &LocksReport,
    parts: impl Fn(&LockReport) -> &Vec<T>,
    row: impl Fn(&T) -> Vec<String>,
) -> Vec<Vec<String>> {
    let of = |lock| parts(lock).iter().map(&row).map(move |row| row.into_iter().chain([lock.label()]).collect());
    locks.locks.iter().flat_map(of).collect()
}

fn lock(lock: &LockReport) -> Vec<String> {
    let of = lock.counted.clone().unwrap_or_default();
    let times = [lock.wait_ns, of.p50_ns, of.p99_ns, of.max_wait_ns].map(duration);
    let held = [of.hold_ns / of.holds.max(1), of.hold_max_ns].map(duration);
    let numbers = [thousands(of.waits)].into_iter().chain(times).chain([thousands(of.most_waiting)]).chain(held);
    numbers.chain([lock.kind.into(), lock.name.clone(), format!("{} ({})", lock.process, lock.tgid)]).collect()
}

fn waiter(waiter: &WaiterReport) -> Vec<String> {
    vec![duration(waiter.wait_ns), waiter.place.clone().unwrap_or_default()]
}

fn holder(holder: &HolderReport) -> Vec<String> {
    let inferred = if holder.inferred { " (inferred)" } else { "" };
    vec![
        duration(holder.blamed_ns),
        format!("{}{inferred}", holder.thread),
        holder.waited.clone().unwrap_or_default(),
        holder.place.clone().unwrap_or_default(),
    ]
}

fn deadlock(deadlock: &DeadlockReport) -> Vec<Vec<String>> {
    let row = deadlock.threads.iter().enumerate().map(|(at, thread)| {
        let place = thread.place.clone().unwrap_or_default();
        vec![thread.thread(), thread.waits_for.clone(), deadlock.told_owner(at), place]
    });
    row.collect()
}
