//! System calls in a recording: written window by window, read back as sums.

use rusqlite::{Transaction, params};

use super::{
    counts,
    intern::Interner,
    lengths::{self, number, sum},
    read::Unreadable,
    rows::Rows,
};
use crate::{
    collect::EventKind,
    profile::{Calls, SingleCall},
    symbolize::{arguments, call_label, error_label},
    task::{LocatedCalls, LocatedWindow},
};

#[cfg(test)]
mod tests;

/// The name in the table `counter` of the account of calls, which is no event of its own.
const COUNTED: &str = "calls";

/// Writes the calls of a window.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    id: u32,
    window: &LocatedWindow,
    calls: &LocatedCalls,
) -> rusqlite::Result<()> {
    let process = |tgid: &u32| calls.processes.get(tgid).map_or("", String::as_str);
    for ((tgid, call), sum) in &calls.sums {
        let name = interner.text(transaction, &call_label(*call))?;
        let process = interner.text(transaction, process(tgid))?;
        let (count, total_ns, max_ns, buckets) = lengths::columns(sum);
        transaction
            .prepare_cached("INSERT INTO call VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![id, tgid, process, name, count, total_ns, max_ns, buckets])?;
    }
    for ((tgid, call, error), count) in &calls.errors {
        let name = interner.text(transaction, &call_label(*call))?;
        let error = interner.text(transaction, &error_label(*error))?;
        transaction.prepare_cached("INSERT INTO call_error VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            id,
            tgid,
            name,
            error,
            *count as i64
        ])?;
    }
    let sql = "INSERT INTO slow_call VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    for located in &calls.slowest {
        let call = &located.call;
        let texts = [process(&call.tgid), &located.comm, &call_label(call.call), &arguments(located)];
        let [process, comm, name, told] = interner.texts(transaction, texts)?;
        let times = [call.start_ns as i64, call.length_ns as i64];
        let row = params![id, call.tgid, process, call.tid, comm, name, told, times[0], times[1], call.result];
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    for open in &calls.open {
        let name = call_label(open.call.call);
        let told = open.told.as_ref().map_or_else(|| name.clone(), arguments);
        let texts = [process(&open.call.tgid), &open.comm, &name, &told];
        let [process, comm, name, told] = interner.texts(transaction, texts)?;
        let (start_ns, tgid) = (open.call.start_ns, open.call.tgid);
        let length_ns = window.end_ns.saturating_sub(start_ns) as i64;
        let row = params![id, tgid, process, open.tid, comm, name, told, start_ns as i64, length_ns, None::<i64>];
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    counts::write(transaction, id, COUNTED, &calls.tally, calls.reported())
}

/// Reads the calls of these windows; `None` if none were recorded.
pub(super) fn load(rows: &Rows<'_>, start_ns: u64) -> Result<Option<Calls>, Unreadable> {
    if !counts::is_recorded(rows.connection, EventKind::Syscalls)? {
        return Ok(None);
    }
    let (accounting, counters) = counts::load(rows.connection, rows.windows, COUNTED)?;
    let mut calls = Calls { accounting, counters, ..Calls::default() };
    let sql = "SELECT window, tgid, process, name, count, total_ns, max_ns, lengths FROM call ORDER BY window";
    rows.of_processes(sql, |tgid, row| {
        calls.processes.insert(tgid, rows.text(row, 2)?);
        let kind = calls.kinds.entry((tgid, rows.text(row, 3)?)).or_default();
        lengths::add(&mut kind.lengths, row, 4)
    })?;
    rows.of_processes("SELECT window, tgid, name, error, count FROM call_error", |tgid, row| {
        if let Some(kind) = calls.kinds.get_mut(&(tgid, rows.text(row, 2)?)) {
            let count = kind.errors.entry(rows.text(row, 3)?).or_default();
            *count = sum(*count, row.get(4)?)?;
        }
        Ok(())
    })?;
    let sql = "SELECT window, tgid, process, tid, comm, name, arguments, start_ns, length_ns, result FROM slow_call ORDER BY window";
    rows.of_threads(sql, 3, |(tgid, tid), row| {
        let told = |at| rows.text(row, at);
        calls.slowest.push(SingleCall {
            tgid,
            process: told(2)?,
            tid,
            comm: told(4)?,
            name: told(5)?,
            arguments: told(6)?,
            start_ns: row.get::<_, i64>(7)?.saturating_sub(start_ns as i64),
            length_ns: number(row.get(8)?)?,
            result: row.get(9)?,
        });
        Ok(())
    })?;
    Ok(Some(calls))
}
