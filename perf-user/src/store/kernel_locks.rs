//! Waits for locks of the kernel in a recording: written window by window, read back as sums.

use rusqlite::{Transaction, params};

use super::{counts, intern::Interner, lengths, read::Unreadable, rows::Rows};
use crate::{collect::EventKind, profile::KernelLocks, task::LocatedKernelLocks};

/// The name in the table `counter` of the account of these waits, which is that of no event.
const COUNTED: &str = "kernel_lock_waits";

/// Writes the waits of a window.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    id: u32,
    locks: &LocatedKernelLocks,
) -> rusqlite::Result<()> {
    for ((tgid, name), sum) in &locks.sums {
        let process = locks.processes.get(tgid).map_or("", String::as_str);
        let [process, name] = interner.texts(transaction, [process, name])?;
        let (count, total_ns, max_ns, buckets) = lengths::columns(sum);
        let row = params![id, tgid, process, name, count, total_ns, max_ns, buckets];
        let sql = "INSERT INTO kernel_lock VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    counts::write(transaction, id, COUNTED, &locks.tally, locks.reported())
}

/// Reads the waits of these windows; `None` if they were not recorded.
pub(super) fn load(rows: &Rows<'_>) -> Result<Option<KernelLocks>, Unreadable> {
    if !counts::is_recorded(rows.connection, EventKind::KernelLocks)? {
        return Ok(None);
    }
    let (accounting, _) = counts::load(rows.connection, rows.windows, COUNTED)?;
    let mut locks = KernelLocks { accounting, ..KernelLocks::default() };
    rows.of_processes("SELECT * FROM kernel_lock ORDER BY window", |tgid, row| {
        locks.processes.insert(tgid, rows.text(row, 2)?);
        lengths::add(locks.sums.entry((tgid, rows.text(row, 3)?)).or_default(), row, 4)
    })?;
    Ok(Some(locks))
}
