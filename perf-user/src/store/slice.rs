//! A part of a recording as a recording of its own.

use std::{io, path::Path};

use rusqlite::{Connection, OpenFlags, params};

use super::{
    Selection, StoreError,
    blob::{decode, encode},
    open::{meta, open},
    timeline,
};
use crate::{
    collect::EventKind,
    host::{
        files::{PRIVATE, Place},
        memory_limits::MEMBER,
    },
};

/// Copies the selected part of the recording `from` to `to`, which is replaced. Windows keep their times, and their counts
/// of what was taken and lost: those are not known for single threads.
///
/// # Errors
/// When `from` cannot be read, or `to` not be written.
pub fn slice(from: &Path, to: &Path, selection: Selection) -> Result<(), StoreError> {
    let source = open(from)?;
    let failed = |source| StoreError::Copy { path: to.to_owned(), source };
    source.execute_batch("COMMIT").map_err(failed)?;
    // VACUUM INTO writes only to an empty file; one that exists may have any contents.
    let created = |error: io::Error| StoreError::Create { path: to.to_owned(), why: error.to_string() };
    let place = Place::of(to).map_err(created)?;
    place.open(PRIVATE).and_then(|file| file.set_len(0)).map_err(created)?;
    let _rights = place.rights().map_err(created)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(failed)?;
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    cut(&mut copy, selection).map_err(failed)
}

/// The tables that have rows of a window and a process, beside the samples: of which thread they are is not told.
const OF_PROCESSES: [&str; 11] = [
    "call",
    "call_error",
    "lock",
    "deadlock",
    "io",
    "io_file",
    "file_call",
    "peer",
    "kernel_lock",
    "memory",
    "memory_mapping",
];
/// Those of which it is.
const OF_THREADS: [&str; 4] = ["slow_call", "slow_io", "run_queue", "taker"];

fn cut(copy: &mut Connection, selection: Selection) -> rusqlite::Result<()> {
    let start_ns: u64 = meta(copy, "start_ns")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let transaction = copy.transaction()?;
    let windows: Vec<(i64, i64)> = transaction
        .prepare("SELECT id, start_ns FROM window")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let has_timeline = timeline::exists(&transaction)?;
    let others: Vec<&str> =
        OF_PROCESSES.into_iter().chain(OF_THREADS).chain(has_timeline.then_some("timeline")).collect();
    for (id, _) in windows.iter().filter(|(_, at)| !selection.holds((*at as u64).saturating_sub(start_ns))) {
        for table in ["sample WHERE window", "counter WHERE window", "window WHERE id"] {
            transaction.execute(&format!("DELETE FROM {table} = ?1"), [id])?;
        }
        for table in &others {
            transaction.execute(&format!("DELETE FROM {table} WHERE window = ?1"), [id])?;
        }
    }
    // Of figures the last before is kept: it tells what was new. In which groups processes are, all.
    let first =
        windows.iter().map(|(_, at)| *at).filter(|at| selection.holds((*at as u64).saturating_sub(start_ns))).min();
    transaction.execute(
        "DELETE FROM gauge WHERE window NOT IN (SELECT id FROM window)
            AND name NOT IN (SELECT id FROM string WHERE text = ?2)
            AND rowid NOT IN (SELECT max(rowid) FROM gauge WHERE at_ns <= ?1 GROUP BY subject, name)",
        params![first.unwrap_or(0), MEMBER],
    )?;
    if let Some(tgid) = selection.tgid {
        for table in others.iter().chain(&["sample"]) {
            transaction.execute(&format!("DELETE FROM {table} WHERE tgid != ?1"), [tgid])?;
        }
    }
    if let Some(tid) = selection.tid {
        // Who had the locks that it waited for was another.
        transaction.execute("DELETE FROM sample WHERE event = ?1", [EventKind::Holders.name()])?;
        // Which thread made a call, or asked for a request, is told of the slowest only.
        for table in OF_PROCESSES {
            transaction.execute(&format!("DELETE FROM {table}"), [])?;
        }
        for table in OF_THREADS {
            transaction.execute(&format!("DELETE FROM {table} WHERE tid != ?1"), [tid])?;
        }
        let threads: Vec<u32> = transaction
            .prepare("SELECT id FROM thread WHERE tid = ?1")?
            .query_map([tid], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        rewrite(&transaction, "sample", |data| {
            let mut entries = decode(data)?;
            entries.retain(|entry| threads.contains(&entry.thread));
            Some(encode(entries))
        })?;
        if has_timeline {
            rewrite(&transaction, "timeline", |data| timeline::keep_threads(data, &threads))?;
        }
    }
    transaction.commit()?;
    copy.execute_batch("VACUUM")
}

/// Replaces the data in all rows of a table, which `kept` makes of them; `None` when they are damaged.
fn rewrite(connection: &Connection, table: &str, kept: impl Fn(&[u8]) -> Option<Vec<u8>>) -> rusqlite::Result<()> {
    let rows: Vec<(i64, String, u32, Vec<u8>)> = connection
        .prepare(&format!("SELECT window, event, tgid, data FROM {table}"))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let sql = format!("UPDATE {table} SET data = ?4 WHERE window = ?1 AND event = ?2 AND tgid = ?3");
    for (window, event, tgid, data) in rows {
        let data = kept(&data).ok_or(rusqlite::Error::InvalidQuery)?;
        connection.execute(&sql, params![window, event, tgid, data])?;
    }
    Ok(())
}
