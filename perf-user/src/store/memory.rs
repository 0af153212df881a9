//! How much memory processes have, in a recording: written window by window, read back as series.

use std::collections::BTreeSet;

use rusqlite::{Row, Transaction, params};

use super::{
    counts,
    intern::Interner,
    read::{Unreadable, each},
    rows::Rows,
};
use crate::{
    collect::EventKind,
    host::{
        memory_limits::MEMBER,
        memory_use::{MappingUse, MemoryUse},
    },
    profile::{GaugePoints, Memory},
    task::{LocatedMemory, ProcessMappings},
};

/// Writes what was read at the end of a window.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    id: u32,
    memory: &LocatedMemory,
) -> rusqlite::Result<()> {
    for process in &memory.processes {
        let [name] = interner.texts(transaction, [process.process.as_str()])?;
        let MemoryUse { anonymous, file, shared, swapped } = process.told;
        let row = params![
            id,
            process.tgid,
            name,
            process.at_ns as i64,
            anonymous as i64,
            file as i64,
            shared as i64,
            swapped as i64
        ];
        let sql = "INSERT INTO memory VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    for ProcessMappings { tgid, at_ns, sums, .. } in &memory.mappings {
        for (name, told) in sums {
            let [name] = interner.texts(transaction, [name.as_str()])?;
            let MappingUse { resident, anonymous, huge, swapped } = *told;
            let row =
                params![id, tgid, name, *at_ns as i64, resident as i64, anonymous as i64, huge as i64, swapped as i64];
            let sql = "INSERT INTO memory_mapping VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            transaction.prepare_cached(sql)?.execute(row)?;
        }
    }
    for (at_ns, gauge) in &memory.gauges {
        let [subject, name] = interner.texts(transaction, [gauge.subject.as_str(), gauge.name])?;
        let row = params![id, subject, name, *at_ns as i64, gauge.value as i64];
        transaction.prepare_cached("INSERT INTO gauge VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(row)?;
    }
    Ok(())
}

/// Processes, mappings and figures that are told apart at most: more would take more memory than a report is worth.
const MAX_NAMES: usize = 1 << 18;

/// Reads the memory of these windows; `None` if it was not recorded.
pub(super) fn load(rows: &Rows<'_>, start_ns: u64) -> Result<Option<Memory>, Unreadable> {
    if !counts::is_recorded(rows.connection, EventKind::Memory)? {
        return Ok(None);
    }
    let mut memory = Memory::default();
    let few = |count: usize| if count > MAX_NAMES { Err(Unreadable::TooMuch("figures of memory")) } else { Ok(()) };
    let after = |row: &Row<'_>, at| Ok::<_, Unreadable>(number(row, at)?.saturating_sub(start_ns));
    rows.of_processes("SELECT * FROM memory ORDER BY at_ns", |tgid, row| {
        let process = memory.processes.entry(tgid).or_default();
        process.process = rows.text(row, 2)?;
        let [anonymous, file, shared, swapped] = numbers(row, 4)?;
        process.add_point(after(row, 3)?, MemoryUse { anonymous, file, shared, swapped });
        few(memory.processes.len())
    })?;
    let mut mappings = 0;
    rows.of_processes("SELECT * FROM memory_mapping ORDER BY at_ns", |tgid, row| {
        let [resident, anonymous, huge, swapped] = numbers(row, 4)?;
        let told = MappingUse { resident, anonymous, huge, swapped };
        memory.processes.entry(tgid).or_default().add_mapping(after(row, 3)?, rows.text(row, 2)?, told);
        mappings += 1;
        few(mappings / PER_PROCESS)
    })?;
    let begins_ns = rows.windows.values().map(|(from_ns, _)| *from_ns).min().unwrap_or(0);
    each(rows.connection, "SELECT * FROM gauge ORDER BY at_ns", |row| {
        let (subject, name) = (rows.text(row, 1)?, rows.text(row, 2)?);
        let point = (after(row, 3)?, number(row, 4)?);
        if name == MEMBER {
            memory.members.entry(subject).or_default().extend(u32::try_from(point.1));
            return few(memory.members.values().map(BTreeSet::len).sum());
        }
        let is_selected = rows.windows.contains_key(&row.get(0)?);
        // What was before tells what was new.
        if is_selected || point.0 <= begins_ns {
            let gauge = memory.gauges.entry((subject, name)).or_insert(GaugePoints::of(point));
            if point.0 <= begins_ns {
                *gauge = GaugePoints::of(point);
            }
            (gauge.last, gauge.most) = (point, gauge.most.max(point.1));
        }
        few(memory.gauges.len())
    })?;
    Ok(Some(memory))
}

/// Mappings of a process that are read at most, beside.
const PER_PROCESS: usize = 64;

fn number(row: &Row<'_>, at: usize) -> Result<u64, Unreadable> {
    u64::try_from(row.get::<_, i64>(at)?).map_err(|_| Unreadable::Insane("it has memory below zero"))
}

fn numbers(row: &Row<'_>, at: usize) -> Result<[u64; 4], Unreadable> {
    Ok([number(row, at)?, number(row, at + 1)?, number(row, at + 2)?, number(row, at + 3)?])
}
