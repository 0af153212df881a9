//! System calls in a recording: written window by window, read back as sums.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};

use super::{
    Selection,
    counts::{self, Counted},
    intern::Interner,
    lengths::{self, number, sum},
    outline::Windows,
    read::{Unreadable, each, text},
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
    let counted = Counted { taken: calls.taken, reported: calls.reported(), lost: &calls.lost, facts: &calls.facts };
    counts::write(transaction, id, COUNTED, &counted)
}

/// Reads the calls of these windows; `None` if none were recorded.
pub(super) fn load(
    connection: &Connection,
    windows: &Windows,
    strings: &HashMap<u32, String>,
    selection: Selection,
    start_ns: u64,
) -> Result<Option<Calls>, Unreadable> {
    if !counts::is_recorded(connection, EventKind::Syscalls)? {
        return Ok(None);
    }
    let (accounting, counters) = counts::load(connection, windows, COUNTED)?;
    let mut calls = Calls { accounting, counters, ..Calls::default() };
    let wanted = |tgid: u32| selection.tgid.is_none_or(|wanted| wanted == tgid);
    // Which thread made a call is told of the slowest only.
    let sums = selection.tid.is_none();
    let sql = "SELECT window, tgid, process, name, count, total_ns, max_ns, lengths FROM call ORDER BY window";
    each(connection, sql, |row| {
        let tgid: u32 = row.get(1)?;
        if !sums || !windows.contains_key(&row.get(0)?) || !wanted(tgid) {
            return Ok(());
        }
        calls.processes.insert(tgid, text(strings, row.get(2)?).to_owned());
        let kind = calls.kinds.entry((tgid, text(strings, row.get(3)?).to_owned())).or_default();
        lengths::add(&mut kind.lengths, row, 4)?;
        Ok(())
    })?;
    each(connection, "SELECT window, tgid, name, error, count FROM call_error", |row| {
        let key = (row.get(1)?, text(strings, row.get(2)?).to_owned());
        if let Some(kind) = calls.kinds.get_mut(&key).filter(|_| windows.contains_key(&row.get(0).unwrap_or(-1))) {
            let count = kind.errors.entry(text(strings, row.get(3)?).to_owned()).or_default();
            *count = sum(*count, row.get(4)?)?;
        }
        Ok(())
    })?;
    let sql = "SELECT window, tgid, process, tid, comm, name, arguments, start_ns, length_ns, result FROM slow_call ORDER BY window";
    each(connection, sql, |row| {
        let (tgid, tid): (u32, u32) = (row.get(1)?, row.get(3)?);
        let chosen = wanted(tgid) && selection.tid.is_none_or(|wanted| wanted == tid);
        if !chosen || !windows.contains_key(&row.get(0)?) {
            return Ok(());
        }
        let told = |at: usize| -> rusqlite::Result<String> { Ok(text(strings, row.get(at)?).to_owned()) };
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
