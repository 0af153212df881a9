//! What is written is read back, whole or in slices; what is no recording is refused.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{collections::HashMap, path::PathBuf};

use perf_ebpf::histogram::{self, bucket};

use super::{
    SCHEMA_VERSION, Selection, StoreError, Writer,
    blob::{Entry, encode},
    read::{MAX_SAMPLES, read, read_counts},
    slice,
};
use crate::{
    collect::EventKind,
    drain::Tally,
    profile::{FoldOptions, Overhead, Profile, Recording},
    symbolize::{Function, Names},
    task::{LocatedKind, LocatedSample, LocatedWindow, ModuleId, Modules, RawFrame},
};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const START: u64 = 50 * SECOND;

/// Of things that took so long.
pub(super) fn lengths(ns: &[u64]) -> histogram::Lengths {
    let mut lengths =
        histogram::Lengths { count: ns.len() as u64, total_ns: ns.iter().sum(), ..histogram::Lengths::NONE };
    lengths.max_ns = ns.iter().copied().max().unwrap_or(0);
    ns.iter().for_each(|ns| lengths.buckets[bucket(*ns)] += 1);
    lengths
}

/// A recording of two seconds of this event.
pub(super) fn recorded_seconds(
    event: EventKind,
    second: impl Fn(u64) -> LocatedWindow,
) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.perfprobe");
    let mut writer = Writer::create(&path).unwrap();
    writer.event(event.name(), "nanoseconds", 1, "a test").unwrap();
    writer.describe(&Recording { complete: true, ..Recording::default() }, &Overhead::default(), START).unwrap();
    let mut names = Names::default();
    (0..2).for_each(|at| writer.window(&second(at), &mut names).unwrap());
    (directory, path)
}

pub(super) fn sample(tid: u32, comm: &str, addresses: &[u64], value: u64) -> LocatedSample {
    let frame = |address: &u64| RawFrame { module: ModuleId::JIT, address: *address, code: 0 };
    let frames = addresses.iter().map(frame).collect();
    LocatedSample { tgid: 7, tid, comm: comm.into(), process: "main".into(), first_ns: START, value, frames }
}

pub(super) fn window(second: u64, taken: u64, lost: u64, samples: Vec<LocatedSample>) -> LocatedWindow {
    LocatedWindow {
        queues: crate::drain::RawQueues::default(),
        start_ns: START + second * SECOND,
        end_ns: START + (second + 1) * SECOND,
        kinds: vec![LocatedKind {
            kind: EventKind::Cpu,
            samples,
            tally: Tally {
                taken,
                lost: vec![("counts_full", lost), ("stacks_full", 0)],
                facts: vec![("user_stack_truncated", second)],
            },
        }],
        modules: HashMap::from([(ModuleId::JIT, Modules::default().jit())]),
        generated: Vec::new(),
        calls: None,
        locks: None,
        timeline: None,
        block: None,
        file_calls: None,
        kernel_locks: None,
        memory: None,
        files: HashMap::new(),
    }
}

/// Two seconds: 5 + 3 samples of two threads, then 4 of one and 2 lost.
fn recorded(complete: bool) -> (tempfile::TempDir, PathBuf) {
    recorded_remembering(usize::MAX, complete)
}

/// The same, by a writer that remembers so many rows.
fn recorded_remembering(rows: usize, complete: bool) -> (tempfile::TempDir, PathBuf) {
    write(rows, complete, Vec::new())
}

/// The same, and more windows.
fn recorded_with(rows: usize, windows: Vec<LocatedWindow>) -> (tempfile::TempDir, PathBuf) {
    write(rows, true, windows)
}

fn write(rows: usize, complete: bool, windows: Vec<LocatedWindow>) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.perfprobe");
    let mut writer = Writer::create(&path).unwrap();
    writer.interned_limit = rows;
    let mut recording = Recording { target_label: "main (pid 7)".into(), ..Recording::default() };
    writer.event("cpu", "samples", 10_000_000, "cpu-clock").unwrap();
    writer.describe(&recording, &Overhead::default(), START).unwrap();
    let mut names = Names::default();
    let samples = vec![sample(7, "main", &[0x10, 0x20], 5), sample(8, "helper", &[0x10, 0x30], 3)];
    writer.window(&window(0, 8, 0, samples), &mut names).unwrap();
    writer.window(&window(1, 6, 2, vec![sample(7, "main", &[0x10, 0x20], 4)]), &mut names).unwrap();
    windows.iter().for_each(|window| writer.window(window, &mut names).unwrap());
    if complete {
        (recording.complete, recording.duration_ns) = (true, 2 * SECOND);
        writer.describe(&recording, &Overhead { bpf_ns: Some(9), ..Overhead::default() }, START).unwrap();
    }
    (directory, path)
}

fn folded(profile: &Profile) -> Vec<(String, u64)> {
    let series = profile.series("cpu").unwrap();
    profile.fold(series, FoldOptions::default()).into_iter().map(|(line, value)| (line.join(";"), value)).collect()
}

#[test]
fn a_whole_recording_comes_back_balanced() {
    let (_directory, path) = recorded(true);
    let profile = read(&path, Selection::default()).unwrap();
    let expected = [("helper;[jit+0x10]_[j];[jit+0x30]_[j]", 3), ("main;[jit+0x10]_[j];[jit+0x20]_[j]", 9)];
    assert_eq!(folded(&profile), expected.map(|(line, value)| (line.to_owned(), value)));
    let series = profile.series("cpu").unwrap();
    assert_eq!((series.accounting.taken, series.accounting.reported, series.accounting.lost_total()), (14, 12, 2));
    assert!(series.accounting.balances());
    assert_eq!(series.counters["user_stack_truncated"], 1);
    assert_eq!(series.unsymbolized["generated code"], 24, "two frames in each of twelve samples");
    assert_eq!(profile.overhead.bpf_ns, Some(9));
    assert_eq!(profile.recording.target_label, "main (pid 7)");
}

#[test]
fn what_was_forgotten_and_written_again_reads_the_same() {
    let rows = |path: &PathBuf, table: &str| -> i64 {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let tables = ["string", "module", "frame", "stack", "thread"];
    let ((_keep, all), (_keep_too, few)) = (recorded(true), recorded_remembering(1, true));
    assert!(tables.iter().all(|table| rows(&few, table) == rows(&all, table)), "what is still used is not forgotten");
    // A second in which none of it is used.
    let other = |second| window(second, 2, 0, vec![sample(9, "other", &[0x40], 2)]);
    let again = || window(4, 4, 0, vec![sample(7, "main", &[0x10, 0x20], 4)]);
    let windows = || vec![other(2), other(3), again()];
    let ((_keep, all), (_keep_too, few)) = (recorded_with(usize::MAX, windows()), recorded_with(1, windows()));
    for table in tables {
        assert!(rows(&few, table) > rows(&all, table), "{table}: nothing was forgotten");
    }
    let (all, few) = (read(&all, Selection::default()).unwrap(), read(&few, Selection::default()).unwrap());
    assert_eq!(folded(&few), folded(&all));
    assert_eq!((few.threads.len(), few.frames.len()), (all.threads.len(), all.frames.len()));
    assert_eq!(few.stacks.node_count(), all.stacks.node_count());
}

#[test]
fn stacks_are_stored_as_what_they_do_not_share() {
    let samples = [&[0x10, 0x20, 0x30][..], &[0x10, 0x20], &[0x10, 0x20, 0x40, 0x50], &[0x10, 0x20, 0x40, 0x60], &[]];
    let samples: Vec<_> = samples.iter().map(|frames| sample(7, "main", frames, 1)).collect();
    let (_directory, path) = recorded_with(usize::MAX, vec![window(2, 10, 0, [samples.clone(), samples].concat())]);
    let file = rusqlite::Connection::open(&path).unwrap();
    let mut stored = file.prepare("SELECT id, caller, kept, length(frames) FROM stack").unwrap();
    let rows = stored.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])).unwrap();
    let rows: Vec<[i64; 4]> = rows.map(Result::unwrap).collect();
    // The first two are of the windows before: 10 20, and 10 30.
    assert_eq!(rows, [[1, 0, 0, 2], [2, 1, 1, 1], [3, 1, 2, 1], [4, 1, 2, 2], [5, 4, 3, 1]]);
    let hashes = |table: &str| -> i64 { file.query_row(table, [], |row| row.get(0)).unwrap() };
    assert_eq!(hashes("SELECT count(DISTINCT hash) FROM stack"), 5);
    let profile = read(&path, Selection::default()).unwrap();
    let expected = [
        ("helper;[jit+0x10]_[j];[jit+0x30]_[j]", 3),
        ("main", 2),
        ("main;[jit+0x10]_[j];[jit+0x20]_[j]", 11),
        ("main;[jit+0x10]_[j];[jit+0x20]_[j];[jit+0x30]_[j]", 2),
        ("main;[jit+0x10]_[j];[jit+0x20]_[j];[jit+0x40]_[j];[jit+0x50]_[j]", 2),
        ("main;[jit+0x10]_[j];[jit+0x20]_[j];[jit+0x40]_[j];[jit+0x60]_[j]", 2),
    ];
    assert_eq!(folded(&profile), expected.map(|(line, value)| (line.to_owned(), value)));
}

#[test]
fn what_is_counted_is_read_without_the_values() {
    let (_directory, path) = recorded(true);
    let (counts, whole) = (read_counts(&path).unwrap(), read(&path, Selection::default()).unwrap());
    assert_eq!(counts.series("cpu").unwrap().accounting, whole.series("cpu").unwrap().accounting);
    assert_eq!((counts.recording.complete, counts.recording.duration_ns), (true, 2 * SECOND));
    assert!(counts.series("cpu").unwrap().samples.is_empty());
}

#[test]
fn slices_of_time_and_threads() {
    let (_directory, path) = recorded(true);
    let total = |selection| read(&path, selection).unwrap().series("cpu").unwrap().total();
    assert_eq!(total(Selection { from_ns: Some(SECOND), ..Selection::default() }), 4);
    assert_eq!(total(Selection { to_ns: Some(SECOND), ..Selection::default() }), 8);
    assert_eq!(total(Selection { tid: Some(8), ..Selection::default() }), 3);
    assert_eq!(total(Selection { tgid: Some(7), ..Selection::default() }), 12);
    assert_eq!(total(Selection { tgid: Some(8), ..Selection::default() }), 0);
    let second = read(&path, Selection { from_ns: Some(SECOND), ..Selection::default() }).unwrap();
    let accounting = &second.series("cpu").unwrap().accounting;
    assert_eq!((accounting.taken, accounting.lost_total()), (6, 2), "a slice of time has its own accounting");
}

#[test]
fn a_slice_is_a_recording() {
    let (directory, path) = recorded(true);
    let copy = directory.path().join("copy.perfprobe");
    let selections = [
        Selection::default(),
        Selection { from_ns: Some(SECOND), ..Selection::default() },
        Selection { tid: Some(8), ..Selection::default() },
        Selection { tgid: Some(8), ..Selection::default() },
    ];
    for selection in selections {
        slice(&path, &copy, selection).unwrap();
        let (cut, whole) = (read(&copy, Selection::default()).unwrap(), read(&path, selection).unwrap());
        assert_eq!(folded(&cut), folded(&whole), "{selection:?}");
        assert_eq!(cut.series[0].accounting, whole.series[0].accounting, "{selection:?}");
    }
}

#[test]
fn a_recording_whose_recorder_was_killed_tells_what_it_has() {
    let (_directory, path) = recorded(false);
    let profile = read(&path, Selection::default()).unwrap();
    assert!(!profile.recording.complete);
    assert_eq!(profile.recording.duration_ns, 2 * SECOND, "up to the end of its last window");
    assert_eq!(profile.series("cpu").unwrap().total(), 12);
}

#[test]
fn what_is_no_recording_is_refused_by_name() {
    let (directory, path) = recorded(true);
    let other = directory.path().join("other");
    assert!(matches!(read(&other, Selection::default()), Err(StoreError::Open { .. })));
    std::fs::write(&other, "comm;main 7\n").unwrap();
    assert!(matches!(read(&other, Selection::default()), Err(StoreError::Foreign { .. })));
    rusqlite::Connection::open(directory.path().join("db")).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(read(&directory.path().join("db"), Selection::default()), Err(StoreError::Foreign { .. })));
    let whole = std::fs::read(&path).unwrap();
    for len in [100, 4096, whole.len() / 2] {
        std::fs::write(&other, &whole[..len]).unwrap();
        let refused = read(&other, Selection::default());
        assert!(matches!(refused, Err(StoreError::Damaged { .. } | StoreError::Foreign { .. })), "{len}: {refused:?}");
    }
}

#[test]
fn a_recording_of_another_version_is_refused_not_misread() {
    let (_directory, path) = recorded(true);
    let connection = rusqlite::Connection::open(&path).unwrap();
    for (version, remedy) in [(SCHEMA_VERSION + 1, "newer perfprobe"), (SCHEMA_VERSION - 1, "record it again")] {
        connection.execute("UPDATE meta SET value = ?1 WHERE key = 'schema_version'", [version]).unwrap();
        let refused = read(&path, Selection::default()).unwrap_err();
        assert!(matches!(refused, StoreError::OtherVersion { found, .. } if found == version));
        assert!(refused.to_string().contains(remedy), "{refused}");
    }
}

pub(super) fn change(path: &std::path::Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Asserts that a recording is refused after this change.
pub(super) fn assert_damage(path: &std::path::Path, sql: &str) {
    change(path, sql);
    let refused = read(path, Selection::default());
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{sql}: {refused:?}");
}

#[test]
fn a_file_that_is_more_than_its_tables_is_no_recording() {
    let computed = "DROP TABLE string;
        CREATE TABLE string (id INTEGER PRIMARY KEY, text TEXT AS (printf('%.*c', 900000000, 'x')))";
    for sql in [
        computed,
        "CREATE VIEW v AS SELECT * FROM string",
        "CREATE TRIGGER t AFTER DELETE ON sample BEGIN DELETE FROM meta; END",
        "CREATE INDEX i ON string (upper(text))",
        "ALTER TABLE module ADD COLUMN more TEXT DEFAULT 'x'",
        "CREATE TABLE more (a)",
        "DROP TABLE window",
    ] {
        let (_directory, path) = recorded(true);
        change(&path, sql);
        assert!(matches!(read(&path, Selection::default()), Err(StoreError::Foreign { .. })), "{sql}");
        assert!(matches!(
            slice(&path, &path.with_extension("copy"), Selection::default()),
            Err(StoreError::Foreign { .. })
        ));
    }
}

#[test]
fn a_page_that_is_used_twice_is_damage_not_an_endless_file() {
    let (_directory, path) = recorded(true);
    // The root page of one table becomes that of another.
    change(
        &path,
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage =
            (SELECT rootpage FROM sqlite_master WHERE name = 'frame') WHERE name = 'stack'",
    );
    let refused = read(&path, Selection::default());
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
}

#[test]
fn numbers_that_cannot_be_are_damage() {
    for sql in [
        "UPDATE stack SET frames = x'80'",
        "UPDATE counter SET value = -1 WHERE kind = 'taken'",
        "UPDATE counter SET value = 9223372036854775807",
        "UPDATE sample SET data = x'00ff'",
        "UPDATE meta SET value = '{}' WHERE key = 'recording'",
    ] {
        let (_directory, path) = recorded(true);
        assert_damage(&path, sql);
    }
    let (_directory, path) = recorded(true);
    set_samples(&path, &[(1, 1 << 63), (2, 1 << 63)]);
    let refused = read(&path, Selection::default());
    assert!(matches!(&refused, Err(StoreError::Damaged { why, .. }) if why.contains("too large")), "{refused:?}");
}

/// Makes all windows hold these stacks and values, of some thread.
fn set_samples(path: &std::path::Path, samples: &[(u32, u64)]) {
    let file = rusqlite::Connection::open(path).unwrap();
    let thread = file.query_row("SELECT min(id) FROM thread", [], |row| row.get(0)).unwrap();
    let entries = samples.iter().map(|(stack, value)| Entry { thread, stack: *stack, value: *value }).collect();
    file.execute("UPDATE sample SET data = ?1", [encode(entries)]).unwrap();
}

#[test]
fn stacks_that_go_round_or_on_forever_end() {
    let (_directory, path) = recorded(true);
    for lost in ["kept = 9", "kept = 0", "caller = 3"] {
        change(&path, &format!("UPDATE stack SET {lost} WHERE id = 2"));
        assert!(read(&path, Selection::default()).is_ok());
    }
    let chain = "WITH RECURSIVE n(i) AS (VALUES(100) UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
        INSERT INTO stack SELECT i, i - 1, i - 99, x'02', 0 FROM n;
        INSERT INTO stack VALUES (99, 0, 0, x'02', 0)";
    change(&path, chain);
    set_samples(&path, &[(9000, 1)]);
    let refused = read(&path, Selection::default());
    assert!(matches!(&refused, Err(StoreError::Damaged { why, .. }) if why.contains("deep")), "{refused:?}");
}

#[test]
fn small_files_that_unpack_to_much_are_refused() {
    let (_directory, path) = recorded(true);
    let mut bomb = vec![1];
    // Entries of nothing, which hardly take room.
    bomb.extend(zstd::bulk::compress(&vec![0; 3 * MAX_SAMPLES / 4], 3).unwrap());
    assert!(bomb.len() < 1000);
    let file = rusqlite::Connection::open(&path).unwrap();
    for tgid in 1000..1005 {
        file.execute("INSERT INTO sample VALUES (0, 'cpu', ?1, ?2)", rusqlite::params![tgid, bomb]).unwrap();
    }
    drop(file);
    let refused = read(&path, Selection::default());
    assert!(matches!(refused, Err(StoreError::TooMuch { .. })), "{refused:?}");
    assert!(read(&path, Selection { from_ns: Some(SECOND), ..Selection::default() }).is_ok(), "without that window");
}

#[test]
fn a_frame_that_is_named_later_has_the_name_in_all_windows_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.perfprobe");
    let (mut writer, mut names) = (Writer::create(&path).unwrap(), Names::default());
    writer.event("cpu", "samples", 1, "cpu-clock").unwrap();
    writer.describe(&Recording::default(), &Overhead::default(), START).unwrap();
    let mut store = |writer: &mut Writer, second| {
        let samples = vec![sample(7, "main", &[0x10, 0x20], 1)];
        writer.window(&window(second, 1, 0, samples), &mut names).unwrap();
    };
    store(&mut writer, 0);
    let frame = RawFrame { module: ModuleId::JIT, address: 0x20, code: 0 };
    writer.rename(&[(frame, Function { name: "late".into(), ..Function::default() })]).unwrap();
    store(&mut writer, 1);
    let profile = read(&path, Selection::default()).unwrap();
    let expected = [("main;[jit+0x10]_[j];[jit+0x20]_[j]", 1), ("main;[jit+0x10]_[j];late_[j]", 1)];
    assert_eq!(folded(&profile), expected.map(|(line, value)| (line.to_owned(), value)));
    assert_eq!(profile.series("cpu").unwrap().unsymbolized["generated code"], 3);
}
