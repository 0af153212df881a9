//! Every way to say what is recorded, and what is left out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::{Cgroup, Lab, OfflineCpu, Program, Recording, Workload};

fn processes(recording: &Recording) -> BTreeSet<u32> {
    recording.report.cpu.threads.iter().map(|thread| thread.tgid).collect()
}

fn worker(name: &str) -> Program {
    Program::c_named("named.c", &format!("pp_{name}"), &[&format!("-DWORK=work_of_{name}")])
}

#[test]
fn one_process_is_recorded_and_no_other() {
    let Some(lab) = Lab::open() else { return };
    let wanted = lab.start(&worker("wanted"), &[]);
    let _other = lab.start(&worker("other"), &[]);
    let meter = wanted.meter();
    let recording = lab.record().pid(wanted.pid()).duration("2s").run();
    assert_eq!(processes(&recording), BTreeSet::from([wanted.pid()]));
    recording.assert_at_least("work_of_wanted", 97.0);
    recording.assert_absent("work_of_other");
    recording.assert_cpu_time_of(meter, 5.0);
    let duration_ns = recording.report.recording.duration_ns;
    assert!((1_900_000_000..2_600_000_000).contains(&duration_ns), "2 s were asked for, not {duration_ns} ns");
}

#[test]
fn several_processes_are_recorded_together() {
    let Some(lab) = Lab::open() else { return };
    let [one, two, three] = ["one", "two", "three"].map(|name| lab.start(&worker(name), &[]));
    let recording = lab.record().pids(&[one.pid(), three.pid()]).duration("1500ms").run();
    assert_eq!(processes(&recording), BTreeSet::from([one.pid(), three.pid()]));
    recording.assert_at_least("work_of_one", 20.0);
    recording.assert_at_least("work_of_three", 20.0);
    recording.assert_absent("work_of_two");
    drop(two);
}

#[test]
fn processes_of_a_name_are_recorded_those_that_start_later_too() {
    let Some(lab) = Lab::open() else { return };
    let [named, other] = [worker("named"), worker("other")];
    let early = lab.start(&named, &[]);
    let _other = lab.start(&other, &[]);
    let mut session = lab.record().option("--comm", "pp_named").duration("3s").start();
    session.wait_until_recording("out.perfprobe");
    let late = lab.start(&named, &[]);
    let recording = session.wait().succeeded().recording();
    assert_eq!(processes(&recording), BTreeSet::from([early.pid(), late.pid()]));
    recording.assert_at_least("work_of_named", 95.0);
    recording.assert_absent("work_of_other");
}

#[test]
fn a_name_is_recorded_also_when_no_process_has_it_yet() {
    let Some(lab) = Lab::open() else { return };
    let mut session = lab.record().option("--comm", "pp_later").duration("2500ms").start();
    session.wait_until_recording("out.perfprobe");
    let later = lab.start(&worker("later"), &["1"]);
    let recording = session.wait().succeeded().recording();
    assert_eq!(processes(&recording), BTreeSet::from([later.pid()]));
    recording.assert_at_least("work_of_later", 90.0);
}

#[test]
fn a_name_is_cut_off_where_the_kernel_cuts_it() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&worker("name_longer_than_fifteen"), &[]);
    let recording = lab.record().option("--comm", "pp_name_longer_than_fifteen").duration("1s").run();
    assert_eq!(processes(&recording), BTreeSet::from([running.pid()]));
}

#[test]
fn a_cgroup_is_recorded_with_those_below_it() {
    let Some(lab) = Lab::open() else { return };
    let Some(outer) = Cgroup::create("perfprobe-test") else { return };
    let inner = outer.child("inner");
    {
        let [outside, direct, below] = ["outside", "direct", "below"].map(|name| lab.start(&worker(name), &[]));
        outer.take(direct.pid());
        inner.take(below.pid());
        let recording = lab.record().option("--cgroup", outer.path()).duration("2s").run();
        assert_eq!(processes(&recording), BTreeSet::from([direct.pid(), below.pid()]));
        recording.assert_at_least("work_of_direct", 25.0);
        recording.assert_at_least("work_of_below", 25.0);
        recording.assert_absent("work_of_outside");
        drop(outside);
    }
    drop(inner);
}

#[test]
fn the_whole_machine_is_recorded() {
    let Some(lab) = Lab::open() else { return };
    let [one, two] = ["one", "two"].map(|name| lab.start(&worker(name), &[]));
    let recording = lab.record().flag("--all").duration("2s").run();
    assert!(processes(&recording).is_superset(&BTreeSet::from([one.pid(), two.pid()])));
    recording.assert_at_least("work_of_one", 5.0);
    recording.assert_at_least("work_of_two", 5.0);
    let cpu_ns = recording.report.recording.duration_ns * u64::from(recording.report.recording.cpus);
    let possible = cpu_ns / recording.report.cpu.period_ns;
    assert!(
        recording.reported() <= possible + possible / 50 + 5,
        "{} samples, {possible} possible",
        recording.reported()
    );
}

#[test]
fn without_inheritance_children_are_left_out() {
    let Some(lab) = Lab::open() else { return };
    let forks = lab.start(&Program::c("forks.c"), &[]);
    let recording = lab.record().pid(forks.pid()).flag("--no-inherit").duration("2s").run();
    assert_eq!(processes(&recording), BTreeSet::from([forks.pid()]));
    recording.assert_at_least("parent_work", 90.0);
    recording.assert_absent("child_work");
}

#[test]
fn without_inheritance_all_threads_of_the_process_still_count() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().flag("--no-inherit").command(&Program::c("churn.c"), &["1"]).run();
    recording.assert_at_least("brief_thread", 90.0);
}

#[test]
fn user_only_shows_no_kernel_frame() {
    let Some(lab) = Lab::open() else { return };
    let kernel = lab.start(&Program::c("kernel.c"), &[]);
    let recording = lab.record().pid(kernel.pid()).flag("--user-only").duration("1s").run();
    assert_eq!(recording.folded.count(|line| line.frames().iter().any(|frame| frame.ends_with("_[k]"))), 0);
    recording.assert_at_least("pull_zeroes", 90.0);
}

#[test]
fn kernel_only_shows_no_user_frame() {
    let Some(lab) = Lab::open() else { return };
    let kernel = lab.start(&Program::c("kernel.c"), &[]);
    let recording = lab.record().pid(kernel.pid()).flag("--kernel-only").duration("1s").run();
    assert!(recording.reported() > 100, "{} samples of kernel work", recording.reported());
    let user = recording.folded.count(|line| line.frames().iter().any(|frame| !frame.ends_with("_[k]")));
    assert_eq!(user, 0, "user frames in:\n{}", recording.folded.top());
}

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    let Some(lab) = Lab::open() else { return };
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)] {
        let finished = lab.record().shell(script).finish();
        assert_eq!(finished.code, Some(code), "for {script:?}; perfprobe said:\n{}", finished.stderr);
        let recording = finished.recording();
        assert!(recording.path.exists(), "a recording of {script:?}");
    }
}

#[test]
fn the_command_keeps_its_standard_output() {
    let Some(lab) = Lab::open() else { return };
    let finished = lab.record().flag("--quiet").shell("echo said by the command").finish().succeeded();
    assert_eq!(finished.stdout, "said by the command\n");
    assert_eq!(finished.stderr, "", "--quiet says nothing where nothing is wrong");
}

#[test]
fn a_command_is_recorded_with_the_processes_it_starts() {
    let Some(lab) = Lab::open() else { return };
    let worker = worker("started");
    let script = format!("{0} 0.5 & {0} 0.5; wait", worker.path().display());
    let recording = lab.record().shell(&script).run();
    recording.assert_at_least("work_of_started", 85.0);
    assert!(processes(&recording).len() >= 2, "two workers in {:?}", recording.report.cpu.threads);
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 10.0);
}

#[test]
fn children_that_run_already_are_recorded_on_request_and_noted_otherwise() {
    let Some(lab) = Lab::open() else { return };
    let worker = worker("nursed");
    // A child, and a grandchild below another shell.
    let script = format!("{0} & sh -c '{0} & wait' & wait", worker.path().display());
    let parent = Workload::start(&lab, Path::new("/bin/sh"), &["-c", &script]);
    while parent.logged("ready").len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let without = lab.record().pid(parent.pid()).duration("1s").run();
    assert_eq!(without.reported(), 0, "{:?}", without.report.cpu.threads);
    let said = &without.finished.stderr;
    assert!(said.contains("(pp_nursed)") && said.contains("add --with-children"), "{said}");
    let with = lab.record().pid(parent.pid()).flag("--with-children").duration("1s").run();
    with.assert_at_least("work_of_nursed", 95.0);
    assert_eq!(processes(&with).len(), 2, "{:?}", with.report.cpu.threads);
    assert!(!with.finished.stderr.contains("--with-children"), "{}", with.finished.stderr);
}

#[test]
fn a_cpu_that_comes_online_is_sampled_or_the_report_says_that_it_is_not() {
    let Some(lab) = Lab::open() else { return };
    let Some(cpu) = OfflineCpu::take() else { return };
    // Compiled before, which takes seconds where all is emulated.
    let worker = worker("pinned");
    let mut session = lab.record().flag("--all").duration("3s").output("out.txt").start();
    session.wait_until_recording("out.perfprobe");
    drop(cpu);
    let worker = lab.start(&worker, &[]);
    let meter = worker.meter();
    let pinned = Command::new("taskset").args(["-p", "2", &worker.pid().to_string()]).output().expect("run taskset");
    assert!(pinned.status.success(), "pin the workload to CPU 1");
    let recording = session.wait().succeeded().recording();
    let text = std::fs::read_to_string(recording.finished.directory.join("out.txt")).expect("the report as text");
    let told = format!("{text}\n{}", recording.finished.stderr).to_lowercase();
    assert!(!told.contains("cpu 0 "), "CPU 0 was there all the time:\n{text}");
    let told_as_left_out = told.contains("cpu 1 ") && told.contains("not sampled");
    let end_ns = recording.report.recording.started_unix_ns + recording.report.recording.duration_ns;
    let used_ns = meter.used_between(recording.report.recording.started_unix_ns, end_ns).ns;
    let seen_ns = recording.report.total_of("work_of_pinned") * recording.report.cpu.period_ns;
    // A CPU is noticed at the end of a window, up to a second late.
    assert!(
        told_as_left_out || seen_ns > used_ns / 3,
        "{seen_ns} of {used_ns} ns on the new CPU, no word of it in:\n{text}"
    );
}
