//! Shares: known divisions of CPU time, and the number of samples against the CPU time that the target itself used.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::HashMap;

use tests::{Lab, Program, Recording};

/// The bound that every share has to keep.
const POINTS: f64 = 2.0;

#[test]
fn a_split_of_70_20_10_is_reported_within_two_points() {
    let Some(lab) = Lab::open() else { return };
    let split = lab.start(&Program::c("split.c"), &[]);
    let meter = split.meter();
    let recording = lab.record().pid(split.pid()).duration("10s").run();
    recording.assert_share("take_seventy", 70.0, POINTS);
    recording.assert_share("take_twenty", 20.0, POINTS);
    recording.assert_share("take_ten", 10.0, POINTS);
    recording.assert_at_least("main", 97.0);
    recording.assert_no_warnings();
    recording.assert_cpu_time_of(meter, 3.0);
    assert_eq!(recording.report.cpu.unit, "samples");
    assert_eq!(recording.report.cpu.period_ns, 1_000_000_000 / 999);
    assert_own_samples_are_in_the_leaf(&recording);
}

/// The three functions only call spin_unit: its samples are its own, theirs are not.
fn assert_own_samples_are_in_the_leaf(recording: &Recording) {
    for function in &recording.report.cpu.functions {
        let own_percent = 100.0 * function.own as f64 / recording.reported() as f64;
        match function.name.as_str() {
            "spin_unit" => assert!(own_percent > 95.0, "{own_percent} % are spin_unit's own"),
            "take_seventy" | "take_twenty" | "take_ten" => {
                assert!(own_percent < 1.0, "{own_percent} % in {function:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn a_rust_program_started_by_perfprobe_has_its_shares_and_readable_names() {
    let Some(lab) = Lab::open() else { return };
    let split = Program::rust("split.rs", "split_rs", &[]);
    let recording = lab.record().command(&split, &["4"]).run();
    recording.assert_share("split_rs::hot::take_seventy", 70.0, 3.0);
    recording.assert_share("split_rs::hot::take_twenty", 20.0, 3.0);
    recording.assert_share("<split_rs::hot::Tenth as split_rs::hot::Share>::take", 10.0, 3.0);
    recording.assert_at_least("split_rs::main", 90.0);
    recording.assert_no_warnings();
}

#[test]
fn every_thread_has_the_split_of_the_whole() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("threads.c"), &["5", "same", "4"]).run();
    recording.assert_share("take_seventy", 70.0, POINTS);
    recording.assert_share("take_twenty", 20.0, POINTS);
    recording.assert_share("take_ten", 10.0, POINTS);
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 3.0);
    assert_threads_have_their_cpu_time(&recording, 4);
    for index in 0..4 {
        let comm = format!("same-{index}");
        let seventy = recording.folded.count(|line| line.comm() == comm && line.has("take_seventy"));
        let all = recording.folded.count(|line| line.comm() == comm);
        let percent = 100.0 * seventy as f64 / all.max(1) as f64;
        assert!(
            (percent - 70.0).abs() < 4.0,
            "{percent:.1} % of {comm} in take_seventy, in:\n{}",
            recording.folded.top()
        );
    }
}

#[test]
fn threads_with_one_function_each_are_told_apart() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("threads.c"), &["4", "own"]).run();
    assert_threads_have_their_cpu_time(&recording, 3);
    for name in ["seventy", "twenty", "ten"] {
        let (comm, function) = (format!("own-{name}"), format!("take_{name}"));
        let all = recording.folded.count(|line| line.comm() == comm);
        let own = recording.folded.count(|line| line.comm() == comm && line.has(&function));
        let elsewhere = recording.folded.count(|line| line.comm() != comm && line.has(&function));
        assert!(own as f64 >= 0.97 * all as f64 && all > 0, "{own} of {all} samples of {comm} are in {function}");
        assert_eq!(elsewhere, 0, "{function} runs in {comm} only, but:\n{}", recording.folded.top());
    }
}

#[test]
fn the_threads_of_a_rust_program_appear_by_name() {
    let Some(lab) = Lab::open() else { return };
    let split = lab.start(&Program::rust("split.rs", "split_rs", &[]), &["0", "3"]);
    let recording = lab.record().pid(split.pid()).duration("2s").run();
    recording.assert_share("split_rs::hot::take_seventy", 70.0, 4.0);
    for index in 0..3 {
        let comm = format!("rusty-{index}");
        let row = recording.report.cpu.threads.iter().find(|thread| thread.comm == comm);
        let row = row.unwrap_or_else(|| panic!("no thread {comm} in {:?}", recording.report.cpu.threads));
        assert_eq!(row.tgid, split.pid());
        assert_ne!(row.tid, split.pid());
        assert!(row.samples > 0);
    }
}

/// Holds each thread's samples against the CPU time that it logged by its own clock at its end.
fn assert_threads_have_their_cpu_time(recording: &Recording, count: usize) {
    // A thread begins under its parent's name: one more row, of a sample or two where threads start slowly.
    let rows: HashMap<(u32, &str), _> =
        recording.report.cpu.threads.iter().map(|thread| ((thread.tid, thread.comm.as_str()), thread)).collect();
    let logged = recording.logged("thread");
    assert_eq!(logged.len(), count, "threads in the workload's log");
    for line in logged {
        let [name, tid, cpu_ns] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("the log line {line:?}") };
        let cpu_ns: f64 = cpu_ns.parse().unwrap();
        let row = rows.get(&(tid.parse().unwrap(), name));
        let row = row.unwrap_or_else(|| panic!("no thread {tid} ({name}) in {rows:?}"));
        let expected = cpu_ns / recording.report.cpu.period_ns as f64;
        let allowed = 5.0 + 0.05 * expected;
        assert!(
            (row.samples as f64 - expected).abs() < allowed,
            "{row:?}, where its CPU time makes {expected:.0} ± {allowed:.0}"
        );
    }
}
