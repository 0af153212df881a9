//! The timeline: single samples and waits happened when they did, and add up to what is counted; what is lost is told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::path::Path;

use serde_json::Value;
use tests::{Lab, Program, Recording, in_guest, perfprobe};

const MS: u64 = 1_000_000;

/// How much slower than a machine the same work is.
fn slowness() -> u64 {
    if in_guest() { 30 } else { 1 }
}

/// A wait or, with no length, a sample, in nanoseconds after the recording's start.
#[derive(Clone, Debug)]
struct Event {
    name: String,
    start_ns: u64,
    length_ns: u64,
}

impl Event {
    fn end_ns(&self) -> u64 {
        self.start_ns + self.length_ns
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).expect("JSON")
}

/// Nanoseconds of a number of microseconds, which has three decimals.
fn ns(microseconds: &Value) -> u64 {
    (microseconds.as_f64().unwrap() * 1_000.0).round() as u64
}

/// All samples, and all waits, of a file of trace events.
fn trace(path: &Path) -> (Vec<Event>, Vec<Event>) {
    let file = json(path);
    let events = file["traceEvents"].as_array().unwrap();
    let frames = file["stackFrames"].as_object().unwrap();
    let of = |phase: &str| {
        let wanted = events.iter().filter(|event| event["ph"] == phase);
        let event = |event: &Value| {
            let stack = event.get("sf").map(Value::to_string);
            assert!(stack.is_none_or(|stack| frames.contains_key(&stack)), "{event} has a stack");
            let name = event["name"].as_str().unwrap().to_owned();
            let length_ns = event.get("dur").map_or(0, ns);
            Event { name, start_ns: ns(&event["ts"]), length_ns }
        };
        wanted.map(event).collect()
    };
    (of("i"), of("X"))
}

/// `CLOCK_MONOTONIC` at the recording's start.
fn start_ns(recording: &Recording) -> u64 {
    let file = rusqlite::Connection::open(&recording.path).unwrap();
    let text: String = file.query_row("SELECT value FROM meta WHERE key = 'start_ns'", [], |row| row.get(0)).unwrap();
    text.parse().unwrap()
}

/// The phases that the workload logged, in nanoseconds after the recording's start.
fn phases(recording: &Recording, key: &str) -> Vec<(u64, u64)> {
    let start_ns = start_ns(recording);
    let phase = |line: &String| {
        let (from, to) = line.split_once(' ').unwrap();
        let after = |text: &str| text.parse::<u64>().unwrap().saturating_sub(start_ns);
        (after(from), after(to))
    };
    recording.logged(key).iter().map(phase).collect()
}

fn record(lab: &Lab, timeline: &str, arguments: &[&str]) -> Recording {
    let recorder = lab.record().flag(timeline).option("--event", "cpu,offcpu,sched").output("out.trace.json");
    recorder.output("out.txt").command(&Program::c("phases.c"), arguments).run()
}

#[test]
fn samples_and_waits_are_in_the_phases_they_belong_to() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "--timeline", &["6", "1000", "500"]);
    let (samples, waits) = trace(&recording.finished.directory.join("out.trace.json"));
    let (burnt, slept) = (phases(&recording, "burnt"), phases(&recording, "slept"));
    assert!(burnt.len() >= 4 && slept.len() >= 4, "{burnt:?} {slept:?}");
    // How late a thread runs again after its nap is a wait for a CPU.
    let naps: Vec<&Event> = waits.iter().filter(|wait| wait.name == "sleep").collect();
    assert_eq!(naps.len(), slept.len(), "{naps:?} {slept:?}");
    for (nap, (from_ns, to_ns)) in naps.iter().zip(&slept) {
        // Others may have had the CPU between the look at the clock and the nap, or after it.
        let late_ns: u64 = waits
            .iter()
            .filter(|wait| wait.name == "waiting for a CPU" && wait.end_ns() > *from_ns && wait.start_ns < *to_ns)
            .map(|wait| wait.length_ns)
            .sum();
        let near = |found: u64, known: u64| found.abs_diff(known) <= 2 * MS * slowness() + late_ns;
        assert!(near(nap.start_ns, *from_ns), "{nap:?} began at {from_ns}, {late_ns} late");
        assert!(near(nap.end_ns(), *to_ns), "{nap:?} ended at {to_ns}, {late_ns} late");
        assert!(nap.start_ns >= *from_ns && nap.end_ns() <= *to_ns && nap.length_ns >= 500 * MS - MS, "{nap:?}");
    }
    let (first_ns, last_ns) = (burnt[0].0, slept.last().unwrap().1);
    let in_time: Vec<&Event> = samples.iter().filter(|sample| (first_ns..last_ns).contains(&sample.start_ns)).collect();
    let burning =
        |sample: &&Event| burnt.iter().any(|(from, to)| (from - from.min(&MS)..to + MS).contains(&sample.start_ns));
    let inside = in_time.iter().copied().filter(burning).count();
    // What writing the log takes between two phases is neither.
    assert!(inside * 1000 >= in_time.len() * 995, "{inside} of {} samples while it burned", in_time.len());
    assert!(inside > 200, "{inside} samples in {} phases of a second", burnt.len());
    assert_eq!(samples.len() as u64, recording.reported(), "all samples are in the timeline");
}

#[test]
fn all_events_add_up_to_what_is_counted() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "--timeline=0", &["3", "40", "20"]);
    let (samples, waits) = trace(&recording.finished.directory.join("out.trace.json"));
    assert_eq!(samples.len() as u64, recording.reported());
    let offcpu = &recording.report.accounting["offcpu"];
    let sum_ns: u64 = waits.iter().map(|wait| wait.length_ns).sum();
    // A command is stopped when perfprobe begins to listen, which is some time before the recording's start: that part of the
    // wait is counted, and the timeline begins at 0.
    let cut: Vec<&Event> = waits.iter().filter(|wait| wait.start_ns == 0).collect();
    assert!(cut.len() <= 1 && sum_ns <= offcpu.reported, "{cut:?}, {sum_ns} of {offcpu:?}");
    for wait in &recording.report.offcpu.as_ref().unwrap().waits {
        let sum: u64 = waits.iter().filter(|event| event.name == wait.why).map(|event| event.length_ns).sum();
        let is_cut = cut.iter().any(|event| event.name == wait.why);
        assert!(sum == wait.value || (is_cut && sum < wait.value), "{}: {sum}, not {}", wait.why, wait.value);
    }
    let slept = recording.report.waited_for("sleep");
    assert!(slept > 300 * MS, "most of it is exact: {slept}");
    let text = std::fs::read_to_string(recording.finished.directory.join("out.txt")).unwrap();
    assert!(text.contains("Timeline   from 0.0 s to"), "{text}");
    // The other formats tell of the same events.
    let firefox = json(&recording.export(&lab, "x.firefox.json", &[]));
    let threads = firefox["threads"].as_array().unwrap();
    let sum = |of: &dyn Fn(&Value) -> f64| threads.iter().map(of).sum::<f64>();
    let numbers = |column: &Value| column.as_array().unwrap().iter().filter_map(Value::as_f64).sum::<f64>();
    assert_eq!(sum(&|thread| numbers(&thread["samples"]["weight"])) as u64, recording.reported());
    let marked_ms = sum(&|thread| numbers(&thread["markers"]["endTime"]) - numbers(&thread["markers"]["startTime"]));
    assert!((marked_ms * 1e6 - sum_ns as f64).abs() < 1e3, "{marked_ms} ms, not {sum_ns} ns");
    let page = std::fs::read_to_string(recording.export(&lab, "x.heat.html", &["--event", "offcpu"])).unwrap();
    assert!(page.contains("id=\"data\"") && !page.contains("src=\"http"), "a page that needs nothing else");
}

#[test]
fn a_wait_that_has_not_ended_is_there() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().flag("--timeline").option("--event", "cpu,offcpu").output("out.trace.json");
    let recording = recorder.duration("2500ms").command(&Program::c("sleeper.c"), &["5"]).run();
    let (_, waits) = trace(&recording.finished.directory.join("out.trace.json"));
    let nap = waits.iter().find(|wait| wait.name == "sleep").expect("a nap");
    assert!(nap.length_ns > 2_000 * MS && nap.end_ns() <= recording.report.recording.duration_ns, "{nap:?}");
    assert_eq!(nap.end_ns(), recording.report.recording.duration_ns, "it lasts until the end of the recording");
}

#[test]
fn a_tiny_ring_loses_events_and_says_so() {
    let Some(lab) = Lab::open() else { return };
    // A byte to and fro, which is thousands of waits between two looks at the ring.
    let recorder = lab.record().flag("--timeline=0").option("--event", "cpu,offcpu,sched").output("out.txt");
    let recorder = recorder.environment("PERFPROBE_TEST_MAP_ENTRIES", "4000");
    let recording = recorder.command(&Program::c("waits.c"), &["2", "pingpong"]).run();
    let report = json(&recording.finished.directory.join("out.json"));
    let accounting = &report["timeline"]["accounting"];
    let lost: u64 = accounting["lost"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let [taken, reported] = ["taken", "reported"].map(|key| accounting[key].as_u64().unwrap());
    assert_eq!(taken, reported + lost, "{accounting}");
    assert!(accounting["lost"]["ring_full_waits"].as_u64().unwrap() > 0 && reported > 0, "{accounting}");
    let text = std::fs::read_to_string(recording.finished.directory.join("out.txt")).unwrap();
    assert!(text.contains("ring full waits") && text.contains("timeline: "), "{text}");
    // The sums have lost nothing.
    assert_eq!(recording.report.accounting["offcpu"].lost_total(), 0);
}

#[test]
fn without_a_timeline_the_remedy_is_told() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("phases.c"), &["1", "100", "50"]).run();
    for name in ["x.firefox.json", "x.trace.json", "x.heat.html"] {
        let output = lab.file(name);
        let finished = perfprobe(&lab, &["export", recording.path_text(), "-o", output.to_str().unwrap()]);
        assert_ne!(finished.code, Some(0), "{name}");
        assert!(finished.stderr.contains("record with --timeline"), "{}", finished.stderr);
        let finished = lab.record().output(name).command(&Program::c("phases.c"), &["1", "100", "50"]).finish();
        assert!(finished.stderr.contains("add --timeline"), "{}", finished.stderr);
    }
}

#[test]
fn slices_cut_waits_and_leave_out_what_is_not_in_them() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "--timeline", &["5", "1", "1500"]);
    let (_, waits) = trace(&recording.export(&lab, "x.trace.json", &["--from", "2s", "--to", "3s"]));
    let naps: Vec<&Event> = waits.iter().filter(|wait| wait.name == "sleep").collect();
    assert!(!naps.is_empty(), "a nap is going on at any time");
    for nap in naps {
        assert!(nap.start_ns >= 1_900 * MS && nap.end_ns() <= 4_200 * MS, "{nap:?} is in windows of the third second");
    }
    // A part that is a recording of its own has what ended in it.
    let part = recording.export(&lab, "part.perfprobe", &["--from", "2s"]);
    let part = Recording { path: part, ..recording };
    let (_, waits) = trace(&part.export(&lab, "y.trace.json", &[]));
    assert!(waits.iter().all(|wait| wait.end_ns() >= 1_900 * MS) && !waits.is_empty(), "{waits:?}");
}
