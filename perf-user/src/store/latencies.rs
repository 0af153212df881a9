//! How long things took, window by window, in a recording.

use std::collections::HashMap;

use super::{
    lengths::{self, TOO_LARGE},
    read::Unreadable,
    rows::Rows,
};
use crate::{
    collect::EventKind,
    profile::{Latencies, Lengths},
    symbolize::is_fault,
};

/// Parts that the time covered is told in, at most: more than a picture has room for, or one eye.
const PARTS: usize = 300;

/// What is told apart, at most.
const MAPS: usize = 2_048;

/// A query of windows, processes, what it was, in two columns, and lengths; by which event that is told, if its name is not that of
/// a page fault.
const QUERIES: [(EventKind, &str); 6] = [
    (EventKind::Io, "SELECT window, tgid, operation, disk, count, total_ns, max_ns, lengths FROM io"),
    (EventKind::Files, "SELECT window, tgid, name, NULL, count, total_ns, max_ns, lengths FROM file_call"),
    (EventKind::Files, "SELECT window, tgid, NULL, peer, count, total_ns, max_ns, lengths FROM peer WHERE count > 0"),
    (EventKind::Syscalls, "SELECT window, tgid, name, NULL, count, total_ns, max_ns, lengths FROM call"),
    (EventKind::KernelLocks, "SELECT window, tgid, name, NULL, count, total_ns, max_ns, lengths FROM kernel_lock"),
    (EventKind::Sched, "SELECT window, tgid, NULL, NULL, count, total_ns, max_ns, lengths FROM run_queue"),
];

/// Reads what the selected windows hold.
pub(super) fn load(rows: &Rows<'_>) -> Result<Latencies, Unreadable> {
    let mut windows: Vec<(i64, (u64, u64))> = rows.windows.iter().map(|(id, times)| (*id, *times)).collect();
    windows.sort_by_key(|(_, times)| *times);
    let each = windows.len().div_ceil(PARTS).max(1);
    let parts: Vec<(u64, u64)> = windows.chunks(each).map(span).collect();
    let places = windows.iter().enumerate().map(|(at, (id, _))| (*id, (at / each) as u32));
    let places: HashMap<i64, u32> = places.collect();
    let of_thread = rows.selection.tid.is_some();
    let mut found = Latencies { parts, of_thread, ..Latencies::default() };
    for (kind, sql) in QUERIES {
        rows.of_processes(sql, |_, row| {
            let Some(&part) = places.get(&row.get(0)?) else { return Ok(()) };
            let text = |at| row.get::<_, Option<i64>>(at).and_then(|id| id.map(|_| rows.text(row, at)).transpose());
            let (event, label) = match (text(2)?, text(3)?) {
                (Some(fault), None) if kind == EventKind::Files && is_fault(&fault) => (EventKind::Faults, fault),
                (Some(name), None) => (kind, name),
                (Some(operation), Some(disk)) => (kind, format!("{operation} {disk}")),
                (None, Some(peer)) => (kind, format!("answers of {peer}")),
                (None, None) => (kind, "waiting for a CPU".to_owned()),
            };
            let mut lengths = Lengths::default();
            lengths::add(&mut lengths, row, 4)?;
            // Of peers and paths there may be any number.
            let is_new = !found.maps.contains_key(&(event.name(), label.clone()));
            let label = if is_new && found.maps.len() >= MAPS { "all others".to_owned() } else { label };
            let map = found.maps.entry((event.name(), label)).or_default();
            map.all.add(&lengths);
            for (bucket, count) in (0_u8..).zip(lengths.buckets).filter(|(_, count)| *count > 0) {
                let cell = map.cells.entry((part, bucket)).or_default();
                *cell = cell.checked_add(count).ok_or(TOO_LARGE)?;
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// From when the first of some windows is to when the last is.
fn span(windows: &[(i64, (u64, u64))]) -> (u64, u64) {
    let times = || windows.iter().map(|(_, times)| times);
    (times().map(|(from, _)| *from).min().unwrap_or(0), times().map(|(_, to)| *to).max().unwrap_or(0))
}

#[cfg(test)]
mod tests;
