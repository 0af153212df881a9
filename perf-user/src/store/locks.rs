//! Locks in a recording: written window by window, read back as sums.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::{
    intern::Interner,
    lengths::{self, number, sum},
    read::Unreadable,
    rows::Rows,
};
use crate::{
    drain::HeldUp,
    profile::{Deadlocked, Locks},
    task::LocatedLocks,
};

/// Writes what happened in a window.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    window: u32,
    locks: &LocatedLocks,
) -> rusqlite::Result<()> {
    for ((tgid, address), name, sum) in &locks.sums {
        let name = interner.text(transaction, name)?;
        let (count, total_ns, max_ns, buckets) = lengths::columns(&sum.waits);
        let [handed_on, holds, hold_ns, hold_max_ns, contended_ns, most_waiting] =
            [sum.handed_on, sum.holds, sum.hold_ns, sum.hold_max_ns, sum.contended_ns, sum.most_waiting]
                .map(|value| i64::try_from(value).unwrap_or(0));
        let row = params![
            window,
            tgid,
            *address as i64,
            name,
            handed_on,
            holds,
            hold_ns,
            hold_max_ns,
            contended_ns,
            most_waiting,
            count,
            total_ns,
            max_ns,
            buckets
        ];
        let sql = "INSERT INTO lock VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    for (cycle, threads) in (0_u32..).zip(&locks.deadlocks) {
        for (step, (thread, comm, lock)) in (0_u32..).zip(threads) {
            let [comm, lock] = interner.texts(transaction, [comm.as_str(), lock])?;
            let (address, since_ns) = (thread.lock as i64, thread.since_ns as i64);
            let HeldUp { tgid, tid, how, owner, .. } = *thread;
            let row = params![window, tgid, cycle, step, tid, comm, address, lock, how, since_ns, owner];
            let sql = "INSERT INTO deadlock VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
            transaction.prepare_cached(sql)?.execute(row)?;
        }
    }
    Ok(())
}

/// Reads what these windows hold, of a recording that began at `start_ns`.
pub(super) fn load(rows: &Rows<'_>, start_ns: u64) -> Result<Locks, Unreadable> {
    let mut found = Locks::default();
    rows.of_processes("SELECT * FROM lock ORDER BY window", |tgid, row| {
        let address = row.get::<_, i64>(2)? as u64;
        let lock = found.sums.entry((tgid, address)).or_default();
        lock.name = rows.text(row, 3)?;
        lock.handed_on = sum(lock.handed_on, row.get(4)?)?;
        lock.holds = sum(lock.holds, row.get(5)?)?;
        lock.hold_ns = sum(lock.hold_ns, row.get(6)?)?;
        lock.hold_max_ns = lock.hold_max_ns.max(number(row.get(7)?)?);
        lock.contended_ns = sum(lock.contended_ns, row.get(8)?)?;
        lock.most_waiting = lock.most_waiting.max(number(row.get(9)?)?);
        lengths::add(&mut lock.waits, row, 10)
    })?;
    let mut cycles: BTreeMap<(u32, u32), Vec<Deadlocked>> = BTreeMap::new();
    rows.of_processes("SELECT * FROM deadlock ORDER BY window, cycle, step", |tgid, row| {
        let thread = Deadlocked {
            tgid,
            tid: row.get(4)?,
            comm: rows.text(row, 5)?,
            address: row.get::<_, i64>(6)? as u64,
            lock: rows.text(row, 7)?,
            how: row.get(8)?,
            since_ns: number(row.get(9)?)?.saturating_sub(start_ns),
            owner: row.get(10)?,
        };
        cycles.entry((row.get(0)?, row.get(2)?)).or_default().push(thread);
        Ok(())
    })?;
    found.deadlocks = cycles.into_values().collect();
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::path::PathBuf;

    use perf_ebpf::lock::LockSum;

    use super::super::{
        Selection,
        read::read,
        slice,
        tests::{SECOND, START, assert_damage, lengths, recorded_seconds, sample, window},
    };
    use crate::{collect::EventKind, drain::HeldUp, task::LocatedLocks};

    fn recorded() -> (tempfile::TempDir, PathBuf) {
        recorded_seconds(EventKind::Locks, |second| {
            let mut window = window(second, 1, 0, vec![sample(7, "main", &[0x10], 1)]);
            let waits = lengths(&[500, 1_500 + second]);
            let sum = LockSum { waits, holds: 3, hold_max_ns: 40 - second, most_waiting: second, ..LockSum::NONE };
            let held_up =
                |tid| HeldUp { tgid: 7, tid, comm: [0; 16], lock: 0x1000, since_ns: START + 5, owner: 0, how: 0 };
            let cycle = [7, 8].map(|tid| (held_up(tid), format!("thread {tid}"), "a".to_owned())).to_vec();
            let deadlocks = if second == 1 { vec![cycle] } else { Vec::new() };
            let sums = vec![((7, u64::MAX), "a".to_owned(), sum), ((9, 0x1000), "b".to_owned(), sum)];
            window.locks = Some(LocatedLocks { sums, deadlocks, ..LocatedLocks::default() });
            window
        })
    }

    #[test]
    fn windows_add_up_and_are_cut() {
        let (directory, path) = recorded();
        let all = read(&path, Selection::default()).unwrap().locks;
        let lock = &all.sums[&(7, u64::MAX)];
        assert_eq!((lock.name.as_str(), lock.waits.count, lock.waits.max_ns), ("a", 4, 1_501));
        assert_eq!((lock.holds, lock.hold_max_ns, lock.most_waiting), (6, 40, 1));
        let told: Vec<_> = all.deadlocks[0].iter().map(|thread| (thread.tid, thread.since_ns)).collect();
        assert_eq!((all.deadlocks.len(), told), (1, vec![(7, 5), (8, 5)]));
        let copy = directory.path().join("b.perfprobe");
        let selection = Selection { to_ns: Some(SECOND), tgid: Some(7), ..Selection::default() };
        slice(&path, &copy, selection).unwrap();
        for (path, selection) in [(&path, selection), (&copy, Selection::default())] {
            let part = read(path, selection).unwrap().locks;
            assert_eq!(
                part.sums.iter().map(|(key, of)| (*key, of.waits.count)).collect::<Vec<_>>(),
                [((7, u64::MAX), 2)]
            );
            assert!(part.deadlocks.is_empty());
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_damage() {
        for sql in
            ["UPDATE lock SET count = -1", "UPDATE lock SET hold_max_ns = -1", "UPDATE deadlock SET since_ns = -5"]
        {
            let (_directory, path) = recorded();
            assert_damage(&path, sql);
        }
    }
}
