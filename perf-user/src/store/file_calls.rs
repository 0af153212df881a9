//! System calls on files and sockets in a recording: written window by window, read back as sums.

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
    profile::FileCalls,
    symbolize::{call_label, is_fault},
    task::{FileText, LocatedFileCalls, LocatedWindow},
};

#[cfg(test)]
mod tests;

/// The name in the table `counter` of the account of these calls.
const COUNTED: &str = "file_calls";

/// And that of the account of page faults.
const FAULTS_COUNTED: &str = "page_faults";

/// Writes the calls of a window.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    id: u32,
    window: &LocatedWindow,
    calls: &LocatedFileCalls,
) -> rusqlite::Result<()> {
    let process = |tgid: &u32| calls.processes.get(tgid).map_or("", String::as_str);
    let unknown = FileText::default();
    for ((tgid, call, file), sum) in &calls.sums {
        let file = window.files.get(file).unwrap_or(&unknown);
        let texts = [process(tgid), file.kind.name(), &file.text, &call_label(*call)];
        let [process, kind, file, name] = interner.texts(transaction, texts)?;
        let (count, total_ns, max_ns, buckets) = lengths::columns(&sum.lengths);
        let [bytes, errors, from_disk] = [sum.bytes, sum.errors, sum.from_disk].map(|value| value as i64);
        let row =
            params![id, tgid, process, kind, file, name, bytes, errors, from_disk, count, total_ns, max_ns, buckets];
        let sql = "INSERT INTO file_call VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    for ((tgid, socket), peer) in &calls.peers {
        let peer_text = window.files.get(socket).map_or("", |file| &file.text);
        let [process, name] = interner.texts(transaction, [process(tgid), peer_text])?;
        let (count, total_ns, max_ns, buckets) = lengths::columns(&peer.answers);
        let of = &peer.connections;
        let [retransmits, sent, received] =
            [of.retransmits, of.resets_sent, of.resets_received].map(|value| value as i64);
        let [connects, ns, max, failed] =
            [of.connects, of.connect_ns, of.connect_max_ns, of.connects_failed].map(|value| value as i64);
        let row = params![
            id,
            tgid,
            process,
            name,
            retransmits,
            sent,
            received,
            connects,
            ns,
            max,
            failed,
            count,
            total_ns,
            max_ns,
            buckets
        ];
        let sql = "INSERT INTO peer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    let [reported, faults] = calls.reported();
    counts::write(transaction, id, COUNTED, &calls.tally, reported)?;
    counts::write(transaction, id, FAULTS_COUNTED, &calls.faults, faults)
}

/// Reads the calls of these windows, and the page faults; `None` for those that were not recorded.
pub(super) fn load(rows: &Rows<'_>) -> Result<[Option<FileCalls>; 2], Unreadable> {
    let recorded = [EventKind::Files, EventKind::Faults].map(|kind| counts::is_recorded(rows.connection, kind));
    let [are_calls, are_faults] = recorded;
    let (are_calls, are_faults) = (are_calls?, are_faults?);
    if !are_calls && !are_faults {
        return Ok([None, None]);
    }
    let account = |name| {
        let (accounting, counters) = counts::load(rows.connection, rows.windows, name)?;
        Ok::<_, Unreadable>(FileCalls { accounting, counters, ..FileCalls::default() })
    };
    let (mut calls, mut faults) = (account(COUNTED)?, account(FAULTS_COUNTED)?);
    rows.of_processes("SELECT * FROM file_call ORDER BY window", |tgid, row| {
        let told = |at| rows.text(row, at);
        let name = told(5)?;
        let of = if is_fault(&name) { &mut faults } else { &mut calls };
        of.processes.insert(tgid, told(2)?);
        let call = of.sums.entry((tgid, told(3)?, told(4)?, name)).or_default();
        call.bytes = sum(call.bytes, row.get(6)?)?;
        call.errors = sum(call.errors, row.get(7)?)?;
        call.from_disk = sum(call.from_disk, row.get(8)?)?;
        lengths::add(&mut call.lengths, row, 9)
    })?;
    rows.of_processes("SELECT * FROM peer ORDER BY window", |tgid, row| {
        calls.processes.insert(tgid, rows.text(row, 2)?);
        let peer = calls.peers.entry((tgid, rows.text(row, 3)?)).or_default();
        let of = &mut peer.connections;
        of.retransmits = sum(of.retransmits, row.get(4)?)?;
        of.resets_sent = sum(of.resets_sent, row.get(5)?)?;
        of.resets_received = sum(of.resets_received, row.get(6)?)?;
        of.connects = sum(of.connects, row.get(7)?)?;
        of.connect_ns = sum(of.connect_ns, row.get(8)?)?;
        of.connect_max_ns = of.connect_max_ns.max(number(row.get(9)?)?);
        of.connects_failed = sum(of.connects_failed, row.get(10)?)?;
        lengths::add(&mut peer.answers, row, 11)
    })?;
    Ok([are_calls.then_some(calls), are_faults.then_some(faults)])
}
