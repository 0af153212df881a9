//! How a recording ends: by signals, by being killed, with its target, with a full disk.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Lab, Program, Report, SmallDisk, perfprobe};

fn report_of(lab: &Lab, path: &std::path::Path) -> Report {
    let finished = perfprobe(lab, &["report".as_ref(), path.as_os_str(), "--format".as_ref(), "json".as_ref()]);
    Report::parse(&finished.succeeded().stdout)
}

#[test]
fn an_interrupt_or_a_request_to_terminate_ends_the_recording_properly() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    for signal in [Signal::INT, Signal::TERM] {
        let mut session = lab.record().pid(running.pid()).output("out.svg").start();
        session.wait_until_recording("out.perfprobe");
        session.signal(signal);
        let recording = session.wait().succeeded().recording();
        recording.assert_at_least("take_seventy", 55.0);
        assert!(recording.finished.directory.join("out.svg").exists(), "all outputs are written after {signal:?}");
    }
}

#[test]
fn an_interrupted_recorder_of_a_command_leaves_a_recording() {
    let Some(lab) = Lab::open() else { return };
    let mut session = lab.record().command(&Program::c("split.c"), &["30"]).start();
    session.wait_until_recording("out.perfprobe");
    session.signal(Signal::INT);
    let recording = session.wait().recording();
    recording.assert_at_least("take_seventy", 55.0);
}

#[test]
fn an_interrupt_of_perfprobe_and_its_command_together_ends_both() {
    let Some(lab) = Lab::open() else { return };
    let mut session = lab.record().command(&Program::c("split.c"), &["30"]).start();
    session.wait_until_recording("out.perfprobe");
    session.signal_group(Signal::INT);
    let finished = session.wait();
    assert_eq!(finished.code, Some(128 + 2), "the command's own end is passed on:\n{}", finished.stderr);
    finished.recording().assert_at_least("take_seventy", 55.0);
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let mut session = lab.record().pid(running.pid()).start();
    session.wait_until_recording("out.perfprobe");
    // The second interrupt may cost the window that is not over yet, never one that is.
    std::thread::sleep(Duration::from_secs(2));
    session.signal(Signal::INT);
    session.signal(Signal::INT);
    // Whether the first one's work was done by then is a matter of luck; that there is an end is not.
    let finished = session.wait();
    assert!(report_of(&lab, &finished.directory.join("out.perfprobe")).cpu_accounting().taken > 0);
}

#[test]
fn a_killed_recorder_leaves_what_it_had() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let mut session = lab.record().pid(running.pid()).start();
    session.wait_until_recording("out.perfprobe");
    let path = session.directory().join("out.perfprobe");
    let reported = || report_of(&lab, &path).cpu_accounting().reported;
    let deadline = Instant::now() + Duration::from_secs(20);
    // A recording can be read while it grows, by a window a second.
    while reported() <= 500 {
        assert!(Instant::now() < deadline, "the recording does not grow: {} samples", reported());
        std::thread::sleep(Duration::from_millis(200));
    }
    session.signal(Signal::KILL);
    let finished = session.wait();
    assert_eq!(finished.signal, Some(9));
    let report = report_of(&lab, &finished.directory.join("out.perfprobe"));
    let accounting = report.cpu_accounting();
    assert_eq!(accounting.taken, accounting.reported + accounting.lost_total(), "{accounting:?}");
    assert!(accounting.reported > 500, "two windows of a second at least, not {accounting:?}");
    let share = 100.0 * report.total_of("take_seventy") as f64 / accounting.reported as f64;
    assert!((share - 70.0).abs() < 6.0, "{share:.1} % in take_seventy: names survive the kill, too");
    assert_eq!(report.thread_samples(), accounting.reported);
    let text =
        perfprobe(&lab, &["report".as_ref(), finished.directory.join("out.perfprobe").as_os_str()]).succeeded().stdout;
    assert!(["incomplete", "killed", "stopped before"].iter().any(|word| text.contains(word)), "{text}");
}

#[test]
fn who_reads_the_recording_for_long_does_not_end_it() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let mut session = lab.record().pid(running.pid()).start();
    session.wait_until_recording("out.perfprobe");
    // Longer than SQLite itself waits for a reader: 5 s.
    let script = "import sqlite3, sys, time
file = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, timeout=60, isolation_level=None)
file.execute('BEGIN')
file.execute('SELECT count(*) FROM window').fetchall()
time.sleep(8)";
    let path = session.directory().join("out.perfprobe");
    let reader = Command::new("python3").args(["-c", script]).arg(&path).status().expect("python3");
    assert!(reader.success());
    std::thread::sleep(Duration::from_millis(1500));
    session.signal(Signal::INT);
    let recording = session.wait().succeeded().recording();
    let accounting = recording.report.cpu_accounting();
    assert_eq!(accounting.lost_total(), 0, "all windows waited: {accounting:?}");
    assert!(recording.report.recording.duration_ns > 8_000_000_000);
    recording.assert_share("take_seventy", 70.0, 6.0);
}

#[test]
fn a_target_that_dies_ends_the_recording() {
    let Some(lab) = Lab::open() else { return };
    let mut running = lab.start(&Program::c("split.c"), &[]);
    let mut session = lab.record().pid(running.pid()).start();
    session.wait_until_recording("out.perfprobe");
    std::thread::sleep(Duration::from_millis(500));
    running.kill();
    let recording = session.wait().succeeded().recording();
    recording.assert_share("take_seventy", 70.0, 6.0);
}

#[test]
fn a_recording_of_two_ends_with_the_second() {
    let Some(lab) = Lab::open() else { return };
    let split = Program::c("split.c");
    let (mut first, mut second) = (lab.start(&split, &[]), lab.start(&split, &[]));
    let mut session = lab.record().pids(&[first.pid(), second.pid()]).start();
    session.wait_until_recording("out.perfprobe");
    first.kill();
    std::thread::sleep(Duration::from_millis(800));
    second.kill();
    let recording = session.wait().succeeded().recording();
    let of = |pid| {
        recording.report.cpu.threads.iter().filter(|thread| thread.tgid == pid).map(|thread| thread.samples).sum()
    };
    let (first, second): (u64, u64) = (of(first.pid()), of(second.pid()));
    assert!(first > 0 && second > first, "{first} and {second} samples");
}

#[test]
fn a_full_disk_ends_the_recording_with_a_sentence_and_keeps_what_there_is() {
    let Some(lab) = Lab::open() else { return };
    let disk = SmallDisk::mount(&lab, 2048);
    let running = lab.start(&Program::c("split.c"), &[]);
    let path = disk.path().join("out.perfprobe");
    let recorder = lab.record().only_output(&path).pid(running.pid()).duration("10s");
    let mut session = recorder.start();
    session.wait_until_recording(path.to_str().unwrap());
    std::thread::sleep(Duration::from_millis(2500));
    disk.fill();
    session.wait().refused(1, &["space", "full"]);
    let report = report_of(&lab, &path);
    let accounting = report.cpu_accounting();
    assert_eq!(accounting.taken, accounting.reported + accounting.lost_total(), "{accounting:?}");
    assert!(accounting.reported > 300, "what was written before is kept: {accounting:?}");
}
