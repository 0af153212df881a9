//! Machines differ: file systems that are not mounted, CPUs, lockdowns. Each is recorded, or refused with a sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

use tests::{Doctor, Lab, Launcher, OfflineCpu, Program, Recording, Session, Workload, perfprobe};

fn worker(name: &str) -> Program {
    Program::c_named("named.c", &format!("pp_{name}"), &[&format!("-DWORK=work_of_{name}")])
}

fn record(lab: &Lab, launcher: &Launcher, arguments: &[&str]) -> tests::Finished {
    Session::start_by(lab, launcher, &[&["record", "-o", "x.folded"], arguments].concat()).wait()
}

/// The share of a program's samples in its work that shows that it was recorded and named. Where everything takes long, as
/// in a guest, the rest goes to starting it.
const SEEN: f64 = 30.0;

/// Records a command, and processes by their name: that takes every program of the kernel half.
fn records(lab: &Lab, launcher: &Launcher) -> Recording {
    let own = lab.copy(&worker("own"));
    lab.record().by(launcher).command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
    let _running = lab.start(&worker("other"), &[]);
    let recording = lab.record().by(launcher).option("--comm", "pp_other").duration("1s").run();
    recording.assert_at_least("work_of_other", SEEN);
    recording
}

#[test]
fn no_tracefs_debugfs_bpffs_or_securityfs_is_needed() {
    let Some(lab) = Lab::open() else { return };
    let script =
        "for at in tracing debug/tracing debug security; do umount -l /sys/kernel/$at 2>/dev/null || true; done
        umount -l /sys/fs/bpf 2>/dev/null || true
        ! grep -Eq '^[^ ]+ [^ ]+ (tracefs|debugfs|bpf|securityfs) ' /proc/self/mounts";
    let _ = records(&lab, &Launcher::after(script));
}

#[test]
fn without_proc_there_is_a_sentence() {
    let Some(lab) = Lab::open() else { return };
    record(&lab, &Launcher::after("mount -t tmpfs none /proc"), &["--all", "-d", "1s"]).refused(1, &["/proc"]);
}

#[test]
fn without_btf_children_cannot_be_followed_and_the_rest_works() {
    let Some(lab) = Lab::open() else { return };
    let without = Launcher::after("mount -t tmpfs none /sys/kernel/btf");
    let running = lab.start(&worker("other"), &[]);
    let pid = running.pid().to_string();
    record(&lab, &without, &["--pid", &pid, "-d", "1s"]).refused(1, &["CONFIG_DEBUG_INFO_BTF"]);
    record(&lab, &without, &["--", "true"]).refused(1, &["--no-inherit"]);
    let alone = lab.record().by(&without).pid(running.pid()).flag("--no-inherit").duration("1s").run();
    alone.assert_at_least("work_of_other", SEEN);
    lab.record().by(&without).flag("--all").duration("1s").run().assert_at_least("work_of_other", 5.0);
    let doctor = Doctor::ask(&lab, &without);
    assert!(doctor.can_record && doctor.check("BTF").state == "limited", "{doctor:#?}");
}

#[test]
fn a_read_only_root_needs_another_place_for_the_files() {
    let Some(lab) = Lab::open() else { return };
    let (place, own) = (lab.file("place"), lab.copy(&worker("own")));
    std::fs::create_dir(&place).unwrap();
    let script = format!("mount -t tmpfs tmpfs {0}; mount -o remount,bind,ro /; cd /", place.display());
    let read_only = Launcher::after(&script);
    let arguments = ["record", "--", own.path().to_str().unwrap(), "1"];
    let refused = Session::start_by(&lab, &read_only, &arguments).wait().ended_with(1).stderr;
    assert!(refused.contains("cannot write perfprobe-pp_own-") && refused.contains("--output"), "{refused}");
    let svg = place.join("x.svg");
    let arguments = [&["record", "-o", svg.to_str().unwrap()], &arguments[1..]].concat();
    let written = Session::start_by(&lab, &read_only, &arguments).wait().succeeded().stderr;
    assert!(written.contains(&format!("wrote {}", svg.display())), "{written}");
}

#[test]
fn without_cgroups_of_version_2_only_that_target_is_missing_and_the_remedy_helps() {
    let Some(lab) = Lab::open() else { return };
    let unmounted = "for at in $(awk '$3 == \"cgroup2\" { print $2 }' /proc/self/mounts); do umount -l $at; done";
    let version1 = Launcher::after(unmounted);
    let refused = record(&lab, &version1, &["--cgroup", "/", "-d", "1s"]).ended_with(1).stderr;
    let remedy = refused.split_once("mount one: ").unwrap_or_else(|| panic!("no remedy in: {refused}")).1.trim();
    let doctor = Doctor::ask(&lab, &version1);
    assert!(doctor.can_record && doctor.check("cgroup v2").state == "limited", "{doctor:#?}");
    let own = lab.copy(&worker("own"));
    lab.record().by(&version1).command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
    let mounted = Launcher::after(&format!("{unmounted}\n{remedy}"));
    let _ = lab.record().by(&mounted).option("--cgroup", "/").duration("1s").run();
}

#[test]
fn a_cgroup_of_version_1_is_told_from_one_of_version_2() {
    let Some(lab) = Lab::open() else { return };
    let place = lab.file("place");
    std::fs::create_dir(&place).unwrap();
    let place = place.to_str().unwrap();
    let mounted = Launcher::after(&format!("mount -t cgroup -o none,name=perfprobe-test none {place}"));
    record(&lab, &mounted, &["--cgroup", place, "-d", "1s"]).refused(1, &["version 2 hierarchy"]);
}

#[test]
fn one_cpu_is_enough() {
    let Some(lab) = Lab::open() else { return };
    let _offline = if online() == "0" {
        None
    } else {
        let Some(offline) = OfflineCpu::take() else { return };
        Some(offline)
    };
    assert_eq!(online(), "0");
    assert_eq!(records(&lab, &Launcher::default()).report.recording.cpus, 1);
}

fn online() -> String {
    std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap().trim().to_owned()
}

#[test]
fn a_cpu_that_goes_and_comes_back_costs_nothing_but_its_own_time() {
    let Some(lab) = Lab::open() else { return };
    let running = [lab.start(&worker("one"), &[]), lab.start(&worker("two"), &[])];
    let mut session = lab.record().frequency(99).flag("--all").duration("4s").start();
    session.wait_until_recording("out.perfprobe");
    let Some(offline) = OfflineCpu::take() else { return };
    std::thread::sleep(std::time::Duration::from_millis(1200));
    drop(offline);
    let recording = session.wait().succeeded().recording();
    recording.assert_at_least("work_of_one", 5.0);
    recording.assert_at_least("work_of_two", 5.0);
    let told = recording.report.warnings.iter().any(|warning| warning.contains("CPU 1 came online"));
    assert!(told, "{:?}", recording.report.warnings);
    drop(running);
}

#[test]
fn a_cpu_that_is_away_for_less_than_a_window_is_noticed() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&worker("one"), &[]);
    let mut session = lab.record().frequency(99).flag("--all").duration("6s").start();
    session.wait_until_recording("out.perfprobe");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let Some(offline) = OfflineCpu::take() else { return };
    drop(offline);
    // Two windows at the most, and then work on the CPU that was away.
    std::thread::sleep(std::time::Duration::from_millis(2200));
    let two = worker("two");
    let pinned = Workload::start(&lab, "taskset".as_ref(), &["-c".as_ref(), "1".as_ref(), two.path().as_os_str()]);
    let recording = session.wait().succeeded().recording();
    let told = recording.report.warnings.iter().any(|warning| warning.contains("CPU 1 came online"));
    assert!(told, "{:?}", recording.report.warnings);
    recording.assert_at_least("work_of_one", 5.0);
    recording.assert_at_least("work_of_two", 5.0);
    drop((running, pinned));
}

#[test]
fn a_kernel_that_is_locked_down_records_or_says_why_not() {
    let Some(lab) = Lab::open() else { return };
    let told = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let parameters = std::fs::read_to_string("/proc/cmdline").unwrap();
    let asked = parameters.split_whitespace().find_map(|word| word.strip_prefix("lockdown="));
    assert!(asked.is_none_or(|mode| told.contains(&format!("[{mode}]"))), "{asked:?} was asked for: {told}");
    let doctor = Doctor::ask(&lab, &Launcher::default());
    if told.contains("[confidentiality]") {
        let unmounted = Launcher::after("umount -l /sys/kernel/security");
        for launcher in [Launcher::default(), unmounted] {
            record(&lab, &launcher, &["--all", "-d", "1s"]).refused(1, &["locked down for confidentiality"]);
        }
        assert!(!doctor.can_record && doctor.check("lockdown").state == "missing", "{doctor:#?}");
        return;
    }
    let _ = records(&lab, &Launcher::default());
    assert_eq!(doctor.check("lockdown").state, "ok");
}

#[test]
fn a_recording_is_read_on_another_machine_without_its_binaries() {
    let Some(lab) = Lab::open() else { return };
    let place = lab.file("place");
    std::fs::create_dir(&place).unwrap();
    let inline = Program::c("inline.c").copy_to(place.join("pp_elsewhere"));
    let recording = lab.record().command(&inline, &["1"]).run();
    let here =
        perfprobe(&lab, &["report", recording.path_text(), "--format", "json", "--top", "999"]).succeeded().stdout;
    let folded = std::fs::read(recording.export(&lab, "here.folded", &[])).unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    // No program, no kernel, no processes: an empty machine, as another user's.
    let empty = "mount -t tmpfs none /proc; mount -t tmpfs none /sys; mount -t tmpfs none /boot 2>/dev/null || true";
    let elsewhere = Launcher::after(empty).then(Launcher::nobody(&[]));
    let path = lab.file("moved.perfprobe");
    std::fs::copy(&recording.path, &path).unwrap();
    // A recording is its maker's alone until they give it away.
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let path = path.to_str().unwrap();
    let there = Session::start_by(&lab, &elsewhere, &["report", path, "--format", "json", "--top", "999"])
        .wait()
        .succeeded()
        .stdout;
    assert_eq!(here, there);
    assert!(here.contains("outer_real") && here.contains("innermost_inlined"), "{here}");
    for name in ["there.folded", "there.svg", "there.html", "there.pb.gz"] {
        let _ = Session::start_by(&lab, &elsewhere, &["export", path, "-o", name]).wait().succeeded();
    }
    assert_eq!(folded, std::fs::read(lab.file("there.folded")).unwrap());
}
