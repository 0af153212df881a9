//! Recordings with a timeline: written, read back, cut; those without are as they were.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::{
    SCHEMA_VERSION, Selection, Writer,
    read::read,
    slice,
    tests::{SECOND, START, sample, window},
};
use crate::{
    collect::EventKind,
    drain::Moment,
    profile::{Overhead, Recording, Timeline},
    symbolize::Names,
    task::LocatedTimeline,
};

/// Two seconds: a sample in each, and a wait of 1.2 s of another thread from 0.5 s on, which is kept in the second.
fn recorded() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.perfprobe");
    let mut writer = Writer::create_with_timeline(&path).unwrap();
    writer.event("cpu", "samples", 10_000_000, "cpu-clock").unwrap();
    writer.event("offcpu", "nanoseconds", 1, "scheduler").unwrap();
    let options = serde_json::json!({ "timeline_min_ns": 7 });
    let recording = Recording { options, complete: true, duration_ns: 2 * SECOND, ..Recording::default() };
    writer.describe(&recording, &Overhead::default(), START).unwrap();
    let mut names = Names::default();
    let place = |tid| sample(tid, "main", &[0x10, 0x20], 0);
    let moment = |place, start_ns, length_ns| Moment { place, start_ns, length_ns, is_record: true };
    for second in 0..2 {
        let mut window = window(second, 1, 0, vec![sample(7, "main", &[0x10, 0x20], 1)]);
        let mut places = vec![(EventKind::Cpu, place(7))];
        let mut events = vec![moment(0, START + second * SECOND + 100, 0)];
        if second == 1 {
            places.push((EventKind::OffCpu, place(8)));
            events.push(moment(1, START + SECOND / 2, SECOND * 12 / 10));
        }
        let lost = vec![("ring_full_waits", second)];
        window.timeline = Some(LocatedTimeline { places, taken: events.len() as u64 + second, events, lost });
        writer.window(&window, &mut names).unwrap();
    }
    (directory, path)
}

/// Beginning and length of all events, by kind.
fn moments(path: &std::path::Path, selection: Selection) -> [Vec<(u64, u64)>; 2] {
    let profile = read(path, Selection { moments: true, ..selection }).unwrap();
    ["cpu", "offcpu"].map(|event| {
        let moments = &profile.series(event).unwrap().moments;
        moments.iter().map(|moment| (moment.start_ns, moment.length_ns)).collect()
    })
}

#[test]
fn events_come_back_with_their_accounting() {
    let (_directory, path) = recorded();
    let wait = (SECOND / 2, SECOND * 12 / 10);
    assert_eq!(moments(&path, Selection::default()), [vec![(100, 0), (SECOND + 100, 0)], vec![wait]]);
    let profile = read(&path, Selection::default()).unwrap();
    assert!(profile.series("cpu").unwrap().moments.is_empty(), "nobody asked for them");
    let Timeline { min_ns, from_ns, to_ns, accounting } = profile.timeline.unwrap();
    assert_eq!((min_ns, from_ns, to_ns), (7, 0, 2 * SECOND));
    assert_eq!((accounting.taken, accounting.reported, accounting.lost["ring_full_waits"]), (4, 3, 1));
    assert!(accounting.balances());
    let all = read(&path, Selection { moments: true, ..Selection::default() }).unwrap();
    let (cpu, off) = (all.series("cpu").unwrap(), all.series("offcpu").unwrap());
    assert_eq!(all.threads[off.moments[0].thread.0 as usize].tid, 8);
    assert_eq!(cpu.moments[0].stack, cpu.samples[0].stack, "the stack that is counted");
}

#[test]
fn parts_of_the_time_hold_parts_of_waits() {
    let (_directory, path) = recorded();
    let first = Selection { to_ns: Some(SECOND), ..Selection::default() };
    assert_eq!(moments(&path, first), [vec![(100, 0)], vec![(SECOND / 2, SECOND / 2)]]);
    let second = Selection { from_ns: Some(SECOND), ..Selection::default() };
    assert_eq!(moments(&path, second), [vec![(SECOND + 100, 0)], vec![(SECOND, SECOND * 7 / 10)]]);
    let thread = Selection { tid: Some(8), ..Selection::default() };
    assert_eq!(moments(&path, thread), [vec![], vec![(SECOND / 2, SECOND * 12 / 10)]]);
    assert_eq!(moments(&path, Selection { tgid: Some(9), ..Selection::default() }), [vec![], vec![]]);
}

#[test]
fn a_slice_keeps_its_events() {
    let (directory, path) = recorded();
    let copy = directory.path().join("copy.perfprobe");
    slice(&path, &copy, Selection { from_ns: Some(SECOND), ..Selection::default() }).unwrap();
    assert_eq!(moments(&copy, Selection::default()), [vec![(SECOND + 100, 0)], vec![(SECOND, SECOND * 7 / 10)]]);
    slice(&path, &copy, Selection { tid: Some(7), ..Selection::default() }).unwrap();
    assert_eq!(moments(&copy, Selection::default()), [vec![(100, 0), (SECOND + 100, 0)], vec![]]);
}

#[test]
fn only_recordings_with_a_timeline_have_its_table() {
    let version = |path: &std::path::Path| -> String {
        let file = rusqlite::Connection::open(path).unwrap();
        file.query_row("SELECT value FROM meta WHERE key = 'schema_version'", [], |row| row.get(0)).unwrap()
    };
    let (directory, path) = recorded();
    assert_eq!(version(&path), SCHEMA_VERSION.to_string());
    let plain = directory.path().join("plain.perfprobe");
    let mut writer = Writer::create(&plain).unwrap();
    writer.event("cpu", "samples", 10_000_000, "cpu-clock").unwrap();
    writer.describe(&Recording::default(), &Overhead::default(), START).unwrap();
    writer.window(&window(0, 1, 0, vec![sample(7, "main", &[0x10], 1)]), &mut Names::default()).unwrap();
    drop(writer);
    assert_eq!(version(&plain), SCHEMA_VERSION.to_string());
    assert!(read(&plain, Selection { moments: true, ..Selection::default() }).unwrap().timeline.is_none());
}
