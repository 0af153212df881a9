//! Requests to devices in a recording: written window by window, read back as sums.

use perf_ebpf::{
    block::{FileKey, OpenRequest, SlowRequest},
    sample::Key,
};
use rusqlite::{Transaction, params};

use super::{
    counts,
    intern::Interner,
    lengths::{self, number, sum},
    read::Unreadable,
    rows::Rows,
};
use crate::{
    collect::{EventKind, target::comm_text},
    profile::{Block, SingleRequest},
    symbolize::operation_label,
    task::{LocatedBlock, LocatedWindow},
};

#[cfg(test)]
mod tests;

/// The name in the table `counter` of the account of requests.
const COUNTED: &str = "requests";

/// Writes the requests of a window.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    id: u32,
    window: &LocatedWindow,
    block: &LocatedBlock,
) -> rusqlite::Result<()> {
    let process = |tgid: &u32| block.processes.get(tgid).map_or("", String::as_str);
    let disk = |disk: &u32| block.disks.get(disk).map_or("", String::as_str);
    let sql = "INSERT INTO io VALUES
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
    for ((tgid, device, operation), sum) in &block.sums {
        let texts = [process(tgid), disk(device), operation_label(*operation)];
        let [process, disk, operation] = interner.texts(transaction, texts)?;
        let [whole, queue, device] = [&sum.whole, &sum.queue, &sum.device].map(lengths::columns);
        let row = params![
            id,
            tgid,
            process,
            disk,
            operation,
            sum.bytes as i64,
            sum.failed as i64,
            sum.requeues as i64,
            whole.0,
            whole.1,
            whole.2,
            whole.3,
            queue.0,
            queue.1,
            queue.2,
            queue.3,
            device.0,
            device.1,
            device.2,
            device.3
        ];
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    let path = |file: &FileKey| window.files.get(file).map_or("", |file| &file.text);
    for ((tgid, device, operation), file, sum) in &block.files {
        let texts = [disk(device), operation_label(*operation), path(file)];
        let [disk, operation, file] = interner.texts(transaction, texts)?;
        let [count, bytes, ns, max_ns] = [sum.count, sum.bytes, sum.ns, sum.max_ns].map(|value| value as i64);
        let row = params![id, tgid, disk, operation, file, count, bytes, ns, max_ns];
        transaction.prepare_cached("INSERT INTO io_file VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(row)?;
    }
    let open = block.open.iter().map(|open| (as_slow(open, window.end_ns), false));
    for (slow, complete) in block.slowest.iter().map(|slow| (*slow, true)).chain(open) {
        let comm = comm_text(&slow.comm);
        let file = path(&slow.file);
        let texts = [process(&slow.tgid), &comm, disk(&slow.device), operation_label(slow.operation), file];
        let [process, comm, disk, operation, file] = interner.texts(transaction, texts)?;
        let [start_ns, queue_ns, device_ns] = [slow.start_ns, slow.queue_ns, slow.device_ns].map(|ns| ns as i64);
        let (sector, bytes) = (slow.sector as i64, slow.bytes as i64);
        let sql = "INSERT INTO slow_io VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
        transaction.prepare_cached(sql)?.execute(params![
            id,
            slow.tgid,
            process,
            slow.tid,
            comm,
            disk,
            operation,
            start_ns,
            queue_ns,
            device_ns,
            sector,
            bytes,
            slow.requeues,
            slow.failed,
            complete,
            file
        ])?;
    }
    counts::write(transaction, id, COUNTED, &block.tally, block.reported())
}

/// A request that is not complete, as one that took until `now_ns`: one that has not been given to the device has waited all the
/// time.
fn as_slow(open: &OpenRequest, now_ns: u64) -> SlowRequest {
    let OpenRequest { key, start_ns, sector, bytes, device, requeues, failed, file, .. } = *open;
    let Key { tgid, tid, comm, why: operation, .. } = key;
    let [queue_ns, device_ns] = match open.times(now_ns) {
        [_, ns] if open.issue_ns == 0 => [ns, 0],
        times => times,
    };
    SlowRequest {
        start_ns,
        queue_ns,
        device_ns,
        sector,
        bytes,
        tgid,
        tid,
        comm,
        device,
        operation,
        requeues,
        failed,
        file,
    }
}

/// Reads the requests of these windows; `None` if none were recorded.
pub(super) fn load(rows: &Rows<'_>, start_ns: u64) -> Result<Option<Block>, Unreadable> {
    if !counts::is_recorded(rows.connection, EventKind::Io)? {
        return Ok(None);
    }
    let (accounting, counters) = counts::load(rows.connection, rows.windows, COUNTED)?;
    let mut block = Block { accounting, counters, ..Block::default() };
    rows.of_processes("SELECT * FROM io ORDER BY window", |tgid, row| {
        let told = |at| rows.text(row, at);
        block.processes.insert(tgid, told(2)?);
        let kind = block.sums.entry((tgid, told(3)?, told(4)?)).or_default();
        kind.bytes = sum(kind.bytes, row.get(5)?)?;
        kind.failed = sum(kind.failed, row.get(6)?)?;
        kind.requeues = sum(kind.requeues, row.get(7)?)?;
        lengths::add(&mut kind.whole, row, 8)?;
        lengths::add(&mut kind.queue, row, 12)?;
        lengths::add(&mut kind.device, row, 16)
    })?;
    rows.of_processes("SELECT * FROM io_file ORDER BY window", |tgid, row| {
        let told = |at| rows.text(row, at);
        let file = block.files.entry((tgid, told(2)?, told(3)?, told(4)?)).or_default();
        file.count = sum(file.count, row.get(5)?)?;
        file.bytes = sum(file.bytes, row.get(6)?)?;
        file.ns = sum(file.ns, row.get(7)?)?;
        file.max_ns = file.max_ns.max(number(row.get(8)?)?);
        Ok(())
    })?;
    rows.of_threads("SELECT * FROM slow_io ORDER BY window", 3, |(tgid, tid), row| {
        let told = |at| rows.text(row, at);
        block.slowest.push(SingleRequest {
            tgid,
            process: told(2)?,
            tid,
            comm: told(4)?,
            disk: told(5)?,
            operation: told(6)?,
            start_ns: row.get::<_, i64>(7)?.saturating_sub(start_ns as i64),
            queue_ns: number(row.get(8)?)?,
            device_ns: number(row.get(9)?)?,
            sector: number(row.get(10)?)?,
            bytes: number(row.get(11)?)?,
            requeues: row.get(12)?,
            failed: row.get::<_, i64>(13)? != 0,
            complete: row.get::<_, i64>(14)? != 0,
            file: told(15)?,
        });
        Ok(())
    })?;
    Ok(Some(block))
}
