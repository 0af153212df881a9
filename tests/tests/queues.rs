//! Accept queues: connections that nobody accepts.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use tests::{Lab, Program};

#[test]
fn accept_queues_without_room_are_told() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().frequency(99).option("--event", "cpu,files");
    let recording = recorder.command(&Program::c("unaccepted.c"), &["1"]).run();
    let known: u64 = recording.logged("no_room")[0].parse().unwrap();
    assert!(known > 0, "nobody accepts");
    let told = recording.report.warnings.iter().find(|warning| warning.contains("an accept queue had no room"));
    let told = told.unwrap_or_else(|| panic!("nothing of it in {:#?}", recording.report.warnings));
    // Other programs' are among them: the kernel counts those of a network namespace.
    let count: u64 = told.split_whitespace().next().unwrap().parse().unwrap();
    assert!(count >= known, "{known}: {told}");
}
