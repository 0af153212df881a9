//! What is hard on a recorder: many threads, endless exec, being stopped, running out of memory; and that nothing stays in the
//! kernel when it is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::{
    Lab, MemoryLimit, MovedClock, Program, Report, Workload, assert_bpf_programs_freed, bpf_programs_of,
    followed_processes, perfprobe,
};

/// Stack, kernel stack and bookkeeping of a thread, and room for everything else.
const BYTES_A_THREAD: u64 = 64 << 10;

/// Threads that this machine's memory holds, at most 20,000.
fn threads_that_fit() -> u64 {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let free: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    (free * 1024 / 2 / BYTES_A_THREAD).min(20_000)
}

#[test]
fn twenty_thousand_threads_are_recorded() {
    let Some(lab) = Lab::open() else { return };
    let crowd = Program::c("crowd.c");
    let threads = threads_that_fit().to_string();
    let recording = lab.record().command(&crowd, &["2", &threads]).run();
    let started = recording.logged_sum("threads");
    assert!(started >= 1000, "only {started} of {threads} threads could be started");
    // The end of so many threads is work, too, after the process has logged.
    let expected = recording.logged_sum("cpu_ns") / recording.report.cpu.period_ns;
    let reported = recording.reported();
    assert!(
        reported > expected / 20 * 19 && reported < 2 * expected,
        "{reported} samples, {expected} and some expected"
    );
    assert!(recording.report.total_of("main_work") > 500, "{}", recording.folded.top());

    let running = lab.start(&crowd, &["0", &threads]);
    let meter = running.meter();
    let recording = lab.record().pid(running.pid()).duration("2s").run();
    assert!(recording.report.total_of("main_work") > 300, "{}", recording.folded.top());
    recording.assert_cpu_time_of(meter, 10.0);
}

#[test]
fn a_target_that_executes_itself_in_a_loop_keeps_its_names() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("execloop.c"), &["400"]).run();
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 6.0);
    let (named, lost) = (recording.report.total_of("loop_work"), recording.report.cpu_accounting().lost_total());
    assert!(named > 400 && lost == 0, "{named} samples in loop_work, {lost} lost:\n{}", recording.folded.top());
}

#[test]
fn a_recorder_that_is_stopped_and_continued_goes_on() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let meter = running.meter();
    let mut session = lab.record().pid(running.pid()).start();
    session.wait_until_recording("out.perfprobe");
    session.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(3));
    session.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(1200));
    session.signal(Signal::INT);
    let recording = session.wait().succeeded().recording();
    // The kernel half goes on meanwhile.
    recording.assert_cpu_time_of(meter, 6.0);
    recording.assert_share("take_seventy", 70.0, 5.0);
}

#[test]
fn a_target_that_is_stopped_and_continued_is_recorded_to_its_end() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let meter = running.meter();
    let session = lab.record().pid(running.pid()).duration("3s").start();
    let target = Pid::from_raw(running.pid().cast_signed()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    kill_process(target, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    kill_process(target, Signal::CONT).unwrap();
    let recording = session.wait().succeeded().recording();
    recording.assert_cpu_time_of(meter, 8.0);
    recording.assert_share("take_seventy", 70.0, 5.0);
}

#[test]
fn a_clock_that_jumps_moves_nothing_but_the_date() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let mut session = lab.record().pid(running.pid()).duration("4s").start();
    session.wait_until_recording("out.perfprobe");
    std::thread::sleep(Duration::from_millis(500));
    for jump in [86_400, -3 * 86_400] {
        let Some(moved) = MovedClock::by(jump) else { return };
        std::thread::sleep(Duration::from_secs(1));
        drop(moved);
    }
    let recording = session.wait().succeeded().recording();
    let seconds = recording.report.recording.duration_ns as f64 / 1e9;
    assert!((3.9..6.0).contains(&seconds), "{seconds:.1} s of a recording of 4");
    // Nothing else wants the guest's second CPU.
    recording.assert_cpu_time(recording.report.recording.duration_ns, 10.0);
    recording.assert_share("take_seventy", 70.0, 5.0);
}

#[test]
fn processes_whose_end_was_missed_are_forgotten() {
    let Some(lab) = Lab::open() else { return };
    // Starts processes for four seconds, once it is told to.
    let script = "echo ready $$ >> $WORKLOAD_LOG; while [ ! -e $GO ]; do sleep 0.05; done; \
        end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do /bin/true; done; exec sleep 100";
    let go = lab.file("go");
    let script = script.replace("$GO", go.to_str().unwrap());
    let running = Workload::start(&lab, "sh".as_ref(), &["-c", &script]);
    let mut session = lab.record().pid(running.pid()).start();
    session.wait_until_recording("out.perfprobe");
    // Meanwhile the kernel tells more starts and ends than its rings have room for.
    session.signal(Signal::STOP);
    std::fs::write(go, "").unwrap();
    std::thread::sleep(Duration::from_millis(5500));
    let before = followed_processes(session.pid()).len();
    assert!(before > 50, "only {before} processes came and went");
    session.signal(Signal::CONT);
    std::thread::sleep(Duration::from_secs(4));
    let after = followed_processes(session.pid());
    assert!(after == [running.pid()], "{} of {before} processes are still followed", after.len());
    session.signal(Signal::INT);
    let _ = session.wait().succeeded().recording();
}

#[test]
fn a_recorder_killed_for_want_of_memory_leaves_a_recording_and_nothing_in_the_kernel() {
    let Some(lab) = Lab::open() else { return };
    let Some(memory) = MemoryLimit::create("perfprobe-test") else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let mut session = lab.record().pid(running.pid()).start();
    session.wait_until_recording("out.perfprobe");
    memory.take(session.pid());
    std::fs::write(format!("/proc/{}/oom_score_adj", session.pid()), "1000").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let programs = bpf_programs_of(session.pid());
    let hog = Program::c("hog.c");
    let mut hog = std::process::Command::new(hog.path()).spawn().unwrap();
    memory.take(hog.id());
    memory.leave(8 << 20);
    let finished = session.wait();
    let _ = hog.kill();
    let _ = hog.wait();
    assert_eq!(finished.signal, Some(9), "{}", finished.stderr);
    assert_bpf_programs_freed(&programs);
    let path = finished.directory.join("out.perfprobe");
    let report = perfprobe(&lab, &["report".as_ref(), path.as_os_str(), "--format".as_ref(), "json".as_ref()]);
    let report = Report::parse(&report.succeeded().stdout);
    let accounting = report.cpu_accounting();
    assert_eq!(accounting.taken, accounting.reported + accounting.lost_total(), "{accounting:?}");
    assert!(accounting.reported > 300, "{accounting:?}");
}

#[test]
fn a_recorder_that_ends_leaves_nothing_in_the_kernel() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    for signal in [Signal::INT, Signal::KILL, Signal::ABORT] {
        let mut session = lab.record().pid(running.pid()).start();
        session.wait_until_recording("out.perfprobe");
        let programs = bpf_programs_of(session.pid());
        session.signal(signal);
        let _ = session.wait();
        assert_bpf_programs_freed(&programs);
    }
}
