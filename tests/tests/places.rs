//! Waits in words of the program: where in it, and which of them are no trouble.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Program, Recording, perfprobe};

/// A recording of threads that wait, where stacks can be followed through the C library.
fn record(lab: &Lab, kind: &str) -> Option<Recording> {
    if !Doctor::walks_by_tables(lab) {
        Lab::leave_out("this kernel cannot walk stacks by tables");
        return None;
    }
    let recorder = lab.record().frequency(99).option("--event", "cpu,offcpu,sched,offwake");
    Some(recorder.command(&Program::c("waits.c"), &["3", kind]).run())
}

fn text(lab: &Lab, recording: &Recording, options: &[&str]) -> String {
    let arguments: Vec<&str> = ["report", recording.path_text()].into_iter().chain(options.iter().copied()).collect();
    let text = perfprobe(lab, &arguments).succeeded().stdout;
    assert!(text.lines().all(|line| line.starts_with("WARNING") || line.chars().count() <= 100), "{text}");
    text
}

#[test]
fn workers_without_work_are_idle_and_can_be_hidden() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, "pool") else { return };
    let (idle_ns, futex_ns) = (recording.report.waited_for("idle: pool"), recording.report.waited_for("futex"));
    assert!(idle_ns > 7_000_000_000, "three workers, three seconds: {idle_ns} ns idle, {futex_ns} ns of futexes");
    let whole = text(&lab, &recording, &[]);
    assert!(whole.contains("worker_loop (pthread_cond_wait)") && !whole.contains("Hidden "), "{whole}");
    let hidden = text(&lab, &recording, &["--hide-idle"]);
    let told = hidden.lines().find(|line| line.contains("`idle: pool`")).expect("what is hidden is told");
    assert!(told.starts_with("Hidden ") && told.contains("of 3 threads"), "{told}");
    assert!(!hidden.lines().any(|line| line.contains("worker_loop") && line.contains("idle: pool")), "{hidden}");
    // One of them alone is still known for what it is.
    let worker = recording.report.threads.iter().max_by_key(|thread| thread.blocked_ns.get("idle: pool")).unwrap();
    let alone = text(&lab, &recording, &["--thread", &worker.tid.to_string()]);
    assert!(alone.contains("idle: pool"), "{alone}");
}

#[test]
fn a_deadlock_is_not_idle() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, "deadlock") else { return };
    assert_eq!(recording.report.waited_for("idle: pool"), 0);
    let hidden = text(&lab, &recording, &["--hide-idle"]);
    let mut locked = hidden.lines().filter(|line| line.contains("want_the_other (pthread_mutex_lock)"));
    assert!(locked.any(|line| line.contains("futex")), "{hidden}");
}
