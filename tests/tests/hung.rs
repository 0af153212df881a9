//! Where threads wait whose wait began before the recording, or before anything was known of their code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Program, Recording, in_guest};

const MS: u64 = 1_000_000;

/// Asserts that all of the silent thread's wait is in `take_byte`, and in the kernel's part of a read. It waits from within the
/// first milliseconds of the program on.
fn assert_stacks(recording: &Recording, lab: &Lab, main_tid: u32) {
    let report = &recording.report;
    let silent = report.threads.iter().find(|thread| thread.tid != main_tid && thread.wall_ns > 500 * MS);
    let waited_ns = silent.expect("the silent thread").blocked_ns["pipe/socket/terminal"];
    assert!(waited_ns > report.recording.duration_ns * 8 / 10, "{waited_ns} ns");
    let slack_ns = 10 * MS + waited_ns / 50;
    let in_kernel_ns = report.waited_in("ksys_read");
    assert!(in_kernel_ns + slack_ns > waited_ns, "{in_kernel_ns} of {waited_ns} ns in the kernel's read");
    if Doctor::walks_by_tables(lab) {
        let in_take_ns = report.waited_in("take_byte");
        assert!(in_take_ns + slack_ns > waited_ns, "{in_take_ns} of {waited_ns} ns in take_byte");
        // Where all is emulated, the C library's table may not be made before the end.
        let is_whole = in_guest() || report.waited_in("start_thread") + slack_ns > waited_ns;
        assert!(is_whole, "down to where the thread begins");
    }
}

#[test]
fn a_thread_that_hangs_already_shows_where() {
    let Some(lab) = Lab::open() else { return };
    let silent = lab.start(&Program::c("waits.c"), &["0", "silent"]);
    let recording = lab.record().option("--event", "cpu,offcpu,sched").pid(silent.pid()).duration("1500ms").run();
    assert_stacks(&recording, &lab, silent.pid());
}

#[test]
fn a_wait_that_began_before_its_code_was_known_shows_where() {
    let Some(lab) = Lab::open() else { return };
    let silent = Program::c("waits.c");
    // Nothing is known of the C library from before.
    let recorder = lab.record().environment("XDG_CACHE_HOME", lab.file("no-cache"));
    let recording = recorder.option("--event", "cpu,offcpu,sched").command(&silent, &["2", "silent"]).run();
    let main = recording.report.threads.iter().find(|thread| thread.tid == thread.tgid).expect("the main thread");
    assert_stacks(&recording, &lab, main.tid);
}

#[test]
fn a_wait_that_ends_soon_after_the_start_has_its_stack() {
    let Some(lab) = Lab::open() else { return };
    let silent = lab.start(&Program::c("waits.c"), &["0", "silent"]);
    let recording = lab.record().option("--event", "cpu,offcpu,sched").pid(silent.pid()).duration("1s").run();
    if Doctor::walks_by_tables(&lab) {
        // Naps of 50 ms, of which the first has begun before.
        let (asleep_ns, in_nap_ns) = (recording.report.waited_for("sleep"), recording.report.waited_in("nap"));
        assert!(asleep_ns > 900 * MS && in_nap_ns + MS > asleep_ns, "{in_nap_ns} of {asleep_ns} ns in nap");
    }
}

#[test]
fn what_a_command_waits_for_perfprobe_is_not_its_own() {
    let Some(lab) = Lab::open() else { return };
    // Until all is attached, it waits for a byte from a pipe, and for nothing in one afterwards.
    let recording = lab.record().option("--event", "cpu,offcpu,sched").shell("exec sleep 0.3").run();
    assert_eq!(recording.report.waited_for("pipe/socket/terminal"), 0, "{:?}", recording.report.threads);
    let main = recording.report.threads.iter().find(|thread| thread.tid == thread.tgid).expect("the main thread");
    assert!(main.blocked_ns["sleep"] >= 300 * MS && !main.blocked_ns.contains_key("blocked"), "{main:?}");
}
