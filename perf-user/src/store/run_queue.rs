//! Waiting for a CPU in a recording: written window by window, read back as sums.

use rusqlite::{Transaction, params};

use super::{intern::Interner, lengths, read::Unreadable, rows::Rows};
use crate::{collect::target::comm_text, drain::RawQueues, profile::RunQueues};

/// Writes what was counted in a window.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    window: u32,
    queues: &RawQueues,
) -> rusqlite::Result<()> {
    for (key, times) in &queues.queues {
        let (count, total_ns, max_ns, buckets) = lengths::columns(times);
        let row = params![window, key.tgid, key.tid, key.cpu, count, total_ns, max_ns, buckets];
        transaction.prepare_cached("INSERT INTO run_queue VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(row)?;
    }
    for (key, ns) in &queues.takers {
        let comm = interner.text(transaction, &comm_text(&key.taker_comm))?;
        let row = params![window, key.tgid, key.tid, key.taker_tgid, key.taker_tid, comm, *ns as i64];
        transaction.prepare_cached("INSERT INTO taker VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(row)?;
    }
    Ok(())
}

/// Reads what these windows hold.
pub(super) fn load(rows: &Rows<'_>) -> Result<RunQueues, Unreadable> {
    let mut found = RunQueues::default();
    let sql = "SELECT window, tgid, tid, cpu, count, total_ns, max_ns, lengths FROM run_queue";
    rows.of_threads(sql, 2, |(tgid, tid), row| {
        lengths::add(found.waits.entry((tgid, tid, row.get(3)?)).or_default(), row, 4)
    })?;
    let sql = "SELECT window, tgid, tid, taker_tgid, taker_tid, taker_comm, ns FROM taker";
    rows.of_threads(sql, 2, |thread, row| {
        let taker = (row.get(3)?, row.get(4)?, rows.text(row, 5)?);
        let sum = found.takers.entry(thread).or_default().entry(taker).or_default();
        *sum = lengths::sum(*sum, row.get(6)?)?;
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::path::PathBuf;

    use perf_ebpf::{
        histogram::bucket,
        run_queue::{QueueKey, TakerKey},
    };

    use super::super::{
        Selection,
        read::read,
        slice,
        tests::{SECOND, assert_damage, lengths, recorded_seconds, sample, window},
    };
    use crate::collect::EventKind;

    fn recorded() -> (tempfile::TempDir, PathBuf) {
        recorded_seconds(EventKind::Sched, |second| {
            let mut window = window(second, 1, 0, vec![sample(7, "main", &[0x10], 1)]);
            for (tid, ns) in [(7, 1_000), (8, 4_000)] {
                let key = QueueKey { tgid: 7, tid, cpu: 1, reserved: 0 };
                window.queues.queues.push((key, lengths(&[ns; 2])));
                let taker = TakerKey {
                    tgid: 7,
                    tid,
                    taker_tgid: 9,
                    taker_tid: 9,
                    taker_comm: *b"hog\0\0\0\0\0\0\0\0\0\0\0\0\0",
                };
                window.queues.takers.push((taker, ns / 2));
            }
            window
        })
    }

    #[test]
    fn windows_add_up_and_are_cut() {
        let (directory, path) = recorded();
        let all = read(&path, Selection::default()).unwrap().run_queues;
        let of = &all.waits[&(7, 8, 1)];
        assert_eq!((of.count, of.total_ns, of.max_ns, of.buckets[bucket(4_000)]), (4, 16_000, 4_000, 4));
        assert_eq!(all.takers[&(7, 8)][&(9, 9, "hog".to_owned())], 4_000);
        let copy = directory.path().join("b.perfprobe");
        let selection = Selection { from_ns: Some(SECOND), tid: Some(7), ..Selection::default() };
        slice(&path, &copy, selection).unwrap();
        for (path, selection) in [(&path, selection), (&copy, Selection::default())] {
            let part = read(path, selection).unwrap().run_queues;
            assert_eq!(part.waits.iter().map(|(key, of)| (*key, of.count)).collect::<Vec<_>>(), [((7, 7, 1), 2)]);
            assert_eq!(part.takers.keys().collect::<Vec<_>>(), [&(7, 7)]);
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_damage() {
        for sql in
            ["UPDATE run_queue SET count = -1", "UPDATE taker SET ns = -5", "UPDATE run_queue SET lengths = x'ff01'"]
        {
            let (_directory, path) = recorded();
            assert_damage(&path, sql);
        }
    }
}
