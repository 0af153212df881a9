//! Targets that are not as most are: in namespaces of their own, without a main thread, moved, replaced, watched twice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::ffi::OsStr;

use tests::{Cgroup, Lab, Program, Workload};

fn worker(name: &str) -> Program {
    Program::c_named("named.c", &format!("pp_{name}"), &[&format!("-DWORK=work_of_{name}")])
}

#[test]
fn a_program_in_a_mount_namespace_of_its_own_has_its_own_names() {
    let Some(lab) = Lab::open() else { return };
    let (hidden, visible) = (worker("hidden"), worker("visible"));
    let place = lab.file("place");
    std::fs::create_dir(&place).unwrap();
    // Where the recorder looks, another program has the path of the one that runs.
    let _visible = visible.copy_to(place.join("program"));
    let script = "mount -t tmpfs tmpfs \"$1\" && cp \"$2\" \"$1/program\" && exec \"$1/program\" 0";
    let arguments = [
        OsStr::new("--mount"),
        OsStr::new("sh"),
        OsStr::new("-c"),
        OsStr::new(script),
        OsStr::new("sh"),
        place.as_os_str(),
        hidden.path().as_os_str(),
    ];
    let running = Workload::start(&lab, "unshare".as_ref(), &arguments);
    let recording = lab.record().pid(running.pid()).duration("1s").run();
    recording.assert_at_least("work_of_hidden", 95.0);
    recording.assert_absent("work_of_visible");
}

#[test]
fn processes_in_a_pid_namespace_go_by_their_ids_outside() {
    let Some(lab) = Lab::open() else { return };
    let worker = worker("boxed");
    let arguments = ["--pid", "--fork", worker.path().to_str().unwrap(), "0"];
    let running = Workload::start(&lab, "unshare".as_ref(), &arguments);
    assert_eq!(running.logged("ready"), ["1"], "inside, the process is the first one");
    let recording = lab.record().option("--comm", "pp_boxed").duration("1s").run();
    recording.assert_at_least("work_of_boxed", 95.0);
    let outside = recording.report.cpu.threads.iter().map(|thread| thread.tgid);
    let named =
        |tgid| std::fs::read_to_string(format!("/proc/{tgid}/comm")).is_ok_and(|comm| comm.trim() == "pp_boxed");
    assert!(outside.clone().count() > 0 && outside.clone().all(named), "{:?}", recording.report.cpu.threads);
}

#[test]
fn a_process_without_its_main_thread_is_recorded() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("leaderless.c"), &["2.5"]).run();
    recording.assert_at_least("orphan_work", 95.0);
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 5.0);
}

#[test]
fn a_process_that_lost_its_main_thread_before_can_be_a_target() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("leaderless.c"), &[]);
    let recording = lab.record().pid(running.pid()).duration("1s").run();
    recording.assert_at_least("orphan_work", 95.0);
}

#[test]
fn a_program_started_by_a_thread_in_place_of_its_process_is_followed() {
    let Some(lab) = Lab::open() else { return };
    let worker = worker("successor");
    let arguments = [worker.path().as_os_str(), OsStr::new("1")];
    let recording = lab.record().command(&Program::c("threadexec.c"), &arguments).run();
    recording.assert_at_least("work_of_successor", 90.0);
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 5.0);
}

#[test]
fn programs_of_one_name_at_the_same_addresses_are_told_apart_across_an_exec() {
    let Some(lab) = Lab::open() else { return };
    let stages = ["one", "two", "three"].map(|stage| {
        Program::c_named("execchain.c", "stage", &["-static", "-no-pie", &format!("-DSTAGE=work_{stage}")])
    });
    let mut arguments = vec![OsStr::new("200")];
    arguments.extend(stages[1..].iter().map(|stage| stage.path().as_os_str()));
    let recording = lab.record().command(&stages[0], &arguments).run();
    for stage in ["one", "two", "three"] {
        recording.assert_share(&format!("work_{stage}"), 33.3, 4.0);
    }
}

#[test]
fn a_process_that_moves_into_the_cgroup_is_recorded_from_then_on() {
    let Some(lab) = Lab::open() else { return };
    let Some(cgroup) = Cgroup::create("perfprobe-test-late") else { return };
    let running = lab.start(&worker("moved"), &[]);
    let mut session = lab.record().option("--cgroup", cgroup.path()).duration("2s").start();
    session.wait_until_recording("out.perfprobe");
    cgroup.take(running.pid());
    let recording = session.wait().succeeded().recording();
    recording.assert_at_least("work_of_moved", 95.0);
    assert!(recording.reported() > 150, "{} samples", recording.reported());
    drop(running);
}

#[test]
fn two_recorders_of_one_process_do_not_disturb_each_other() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let meter = running.meter();
    let first = lab.record().pid(running.pid()).duration("3s").start();
    let second = lab.record().pid(running.pid()).frequency(499).duration("2s").run();
    let first = first.wait().succeeded().recording();
    first.assert_share("take_seventy", 70.0, 4.0);
    second.assert_share("take_seventy", 70.0, 6.0);
    first.assert_cpu_time_of(meter, 5.0);
}

#[test]
fn low_and_high_frequencies_are_kept() {
    let Some(lab) = Lab::open() else { return };
    for frequency in [49, 4999] {
        let recording = lab.record().frequency(frequency).command(&Program::c("split.c"), &["2"]).run();
        assert_eq!(recording.report.cpu.period_ns, 1_000_000_000 / u64::from(frequency));
        recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 5.0);
        assert_eq!(recording.report.cpu_accounting().lost_total(), 0, "{:?}", recording.report.cpu_accounting());
    }
}
