//! Nothing is lost silently: with maps made far too small, every loss is counted under its cause and said.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Lab, Program};

#[test]
fn tiny_maps_lose_samples_and_say_so() {
    let Some(lab) = Lab::open() else { return };
    // A recursion of many depths makes more distinct stacks in a second than the maps have places for.
    let recorder = lab.record().environment("PERFPROBE_TEST_MAP_ENTRIES", "4").output("out.txt");
    let recording = recorder.command(&Program::c("stacks.c"), &["3", "100"]).run();
    let accounting = recording.report.cpu_accounting();
    assert!(accounting.lost_total() > 0, "4 places hold 100 stacks: {accounting:?}");
    assert!(accounting.reported > 0, "what found a place is kept: {accounting:?}");
    assert!(accounting.lost.values().all(|count| *count > 0) || accounting.lost.len() < 10, "{accounting:?}");
    let warning = recording.finished.stderr.to_lowercase();
    assert!(warning.contains("lost"), "no warning about {accounting:?} in:\n{warning}");
    let text = std::fs::read_to_string(recording.finished.directory.join("out.txt")).unwrap();
    let causes: Vec<&String> =
        accounting.lost.iter().filter(|(_, count)| **count > 0).map(|(cause, _)| cause).collect();
    for cause in &causes {
        assert!(text.contains(&cause.replace('_', " ")), "the report names the cause {cause}:\n{text}");
    }
    recording.assert_taken_cpu_time(recording.logged_sum("cpu_ns"), 5.0);
}

#[test]
fn maps_of_the_usual_size_lose_nothing() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("stacks.c"), &["3", "100"]).run();
    let accounting = recording.report.cpu_accounting();
    assert_eq!(accounting.lost_total(), 0, "{accounting:?}");
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 3.0);
    let depths = 1..=100_usize;
    let dives = |line: &tests::Line| line.frames().iter().filter(|frame| *frame == "dive").count();
    let seen: std::collections::BTreeSet<usize> = recording.folded.lines.iter().map(dives).collect();
    let missing = depths.clone().filter(|depth| !seen.contains(depth)).count();
    assert!(missing <= 5, "{missing} of the depths {depths:?} are missing");
}
