//! Least privilege: what each capability is for, with exactly these; nothing that only root would notice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::ffi::OsStr;
use std::process::Command;

use tests::{
    CapabilityRow, Cgroup, Doctor, Lab, Launcher, Program, Recording, Report, Session, Setting, Workload, perfprobe,
};

/// All that recording needs.
const NEEDED: [&str; 2] = ["bpf", "perfmon"];

/// The share of a program's samples in its work that shows that it was recorded and named. Where everything takes long, as
/// in a guest, the rest goes to starting it.
const SEEN: f64 = 30.0;

fn with(further: &[&str]) -> Launcher {
    Launcher::nobody(&[&NEEDED, further].concat())
}

/// A lab on a kernel that leaves perf events to `CAP_PERFMON`, as all do but Debian's and Ubuntu's with their default.
fn open() -> Option<(Lab, Option<Setting>)> {
    let lab = Lab::open()?;
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap();
    if level.trim().parse::<i32>().unwrap() <= 2 {
        return Some((lab, None));
    }
    let refused = Session::start_by(&lab, &with(&[]), &["record", "--all", "-d", "1s", "-o", "x.folded"]).wait();
    if refused.code == Some(0) {
        return Some((lab, None));
    }
    refused.refused(1, &["perf_event_paranoid"]);
    let changed = Setting::at_most("kernel/perf_event_paranoid", 2)?;
    Some((lab, Some(changed)))
}

fn worker(name: &str) -> Program {
    Program::c_named("named.c", &format!("pp_{name}"), &[&format!("-DWORK=work_of_{name}")])
}

/// The percentage of the samples of threads called `comm` that have the frame `label`.
fn share_in(recording: &Recording, comm: &str, label: &str) -> f64 {
    let all = recording.folded.count(|line| line.comm() == comm);
    let wanted = recording.folded.count(|line| line.comm() == comm && line.has(label));
    assert!(all > 0, "no sample of {comm} in:\n{}", recording.folded.top());
    100.0 * wanted as f64 / all as f64
}

fn warned(recording: &Recording, words: &[&str]) -> bool {
    recording.report.warnings.iter().any(|warning| words.iter().all(|word| warning.contains(word)))
}

#[test]
fn two_capabilities_are_enough_for_every_kind_of_target() {
    let Some((lab, _setting)) = open() else { return };
    let split = lab.copy(&Program::c("split.c"));
    let recording = lab.record().by(&with(&[])).command(&split, &["1"]).run();
    recording.assert_at_least("take_seventy", SEEN);
    let running = lab.start_by(&Launcher::nobody(&[]), &split, &[]);
    let mut targets = vec![("--pid", running.pid().to_string()), ("--comm", "split".into())];
    let cgroup = Cgroup::create("perfprobe-test-user");
    if let Some(cgroup) = &cgroup {
        cgroup.take(running.pid());
        targets.push(("--cgroup", cgroup.path().to_str().unwrap().into()));
    }
    for (option, value) in targets {
        let recording = lab.record().by(&with(&[])).option(option, value).duration("1s").run();
        recording.assert_at_least("take_seventy", SEEN);
    }
    drop(running);
}

#[test]
fn the_whole_machine_with_two_capabilities_says_what_it_could_not_see() {
    let Some((lab, _setting)) = open() else { return };
    let (own, others, kernel) = (worker("own"), worker("others"), Program::c("kernel.c"));
    let running = [lab.start_by(&Launcher::nobody(&[]), &own, &[]), lab.start(&others, &[]), lab.start(&kernel, &[])];
    let recording = lab.record().by(&with(&[])).flag("--all").duration("2s").run();
    assert!(share_in(&recording, "pp_own", "work_of_own") >= SEEN, "{}", recording.folded.top());
    // Newer kernels (6.18, not 6.12) show the mappings of other users' processes to CAP_PERFMON.
    let named = share_in(&recording, "pp_others", "work_of_others") >= SEEN;
    let hidden = share_in(&recording, "pp_others", "[hidden]") >= SEEN && warned(&recording, &["CAP_SYS_PTRACE"]);
    assert!(named || hidden, "{:?}\n{}", recording.report.warnings, recording.folded.top());
    let unmapped = recording.folded.count(|line| line.comm() == "pp_others" && line.has("[unmapped]"));
    assert_eq!(unmapped, 0, "what is hidden is not called unmapped:\n{}", recording.folded.top());
    let symbols = Doctor::ask(&lab, &with(&[])).check("kernel symbols").state == "ok";
    assert_ne!(
        symbols,
        warned(&recording, &["kernel symbols hidden", "CAP_SYSLOG"]),
        "{:?}",
        recording.report.warnings
    );
    drop(running);
}

#[test]
fn sys_ptrace_gives_names_in_namespaces_of_other_users() {
    let Some((lab, _setting)) = open() else { return };
    let place = lab.file("place");
    std::fs::create_dir(&place).unwrap();
    let script = "mount -t tmpfs tmpfs \"$1\" && cp \"$2\" \"$1/pp_boxed\" && exec \"$1/pp_boxed\" 0";
    let worker = worker("boxed");
    let arguments: [&OsStr; 7] = [
        "--mount".as_ref(),
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        place.as_ref(),
        worker.path().as_ref(),
    ];
    let running = Workload::start(&lab, "unshare".as_ref(), &arguments);
    let record = |further: &[&str]| lab.record().by(&with(further)).pid(running.pid()).duration("1s").run();
    let without = record(&[]);
    without.assert_absent("work_of_boxed");
    assert!(warned(&without, &["want of a privilege", "CAP_SYS_PTRACE"]), "{:?}", without.report.warnings);
    record(&["sys_ptrace"]).assert_at_least("work_of_boxed", SEEN);
}

#[test]
fn dac_read_search_gives_names_from_files_that_only_others_may_read() {
    let Some((lab, _setting)) = open() else { return };
    let secret = lab.copy(&worker("secret"));
    let changed = Command::new("chmod").arg("0711").arg(secret.path()).status().unwrap();
    assert!(changed.success());
    let running = lab.start(&secret, &[]);
    let record = |further: &[&str]| lab.record().by(&with(further)).pid(running.pid()).duration("1s").run();
    let without = record(&["sys_ptrace"]);
    without.assert_absent("work_of_secret");
    assert!(warned(&without, &["want of a privilege", "CAP_DAC_READ_SEARCH"]), "{:?}", without.report.warnings);
    record(&["sys_ptrace", "dac_read_search"]).assert_at_least("work_of_secret", SEEN);
}

#[test]
fn checkpoint_restore_gives_names_from_deleted_libraries() {
    let Some((lab, _setting)) = open() else { return };
    let plugin = Program::c_named("plugin.c", "libdeleted.so", &["-shared", "-fPIC", "-DPLUGIN=deleted_work"]);
    let plugin = lab.copy(&plugin);
    let arguments = ["0", plugin.path().to_str().unwrap(), "deleted_work"];
    let running = lab.start_by(&Launcher::nobody(&[]), &Program::c("caller.c"), &arguments);
    std::fs::remove_file(plugin.path()).unwrap();
    let record = |further: &[&str]| lab.record().by(&with(further)).pid(running.pid()).duration("1s").run();
    let without = record(&[]);
    without.assert_absent("deleted_work");
    assert!(warned(&without, &["want of a privilege", "CAP_CHECKPOINT_RESTORE"]), "{:?}", without.report.warnings);
    record(&["checkpoint_restore"]).assert_at_least("deleted_work", SEEN);
}

#[test]
fn syslog_gives_names_of_kernel_functions_and_sys_admin_the_cost() {
    let Some((lab, _setting)) = open() else { return };
    let restrict = std::fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap();
    let running = lab.start(&Program::c("kernel.c"), &[]);
    let record = |further: &[&str]| lab.record().by(&with(further)).pid(running.pid()).duration("1s").run();
    let reads = |recording: &Recording| {
        recording
            .folded
            .share(|line| line.frames().iter().any(|frame| frame.ends_with("_[k]") && frame.contains("read")))
    };
    let syslog = record(&["syslog"]);
    assert_eq!(reads(&syslog) >= SEEN, restrict.trim() != "2", "{}", syslog.folded.top());
    assert_eq!(syslog.report.overhead.bpf_ns, None);
    let admin = record(&["sys_admin"]);
    assert!(admin.report.overhead.bpf_ns.is_some_and(|ns| ns > 0), "{:?}", admin.report.overhead);
}

#[test]
fn doctor_tells_each_capability_and_a_remedy_for_what_is_missing() {
    let Some((lab, _setting)) = open() else { return };
    let doctor = Doctor::ask(&lab, &with(&["syslog"]));
    assert!(doctor.can_record, "{doctor:#?}");
    let names = |wanted: fn(&CapabilityRow) -> bool| -> Vec<&str> {
        doctor.capabilities.iter().filter(|row| wanted(row)).map(|row| row.name.as_str()).collect()
    };
    assert_eq!(names(|row| row.has), ["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"]);
    assert_eq!(names(|row| row.needed), ["CAP_BPF", "CAP_PERFMON"]);
    assert!(doctor.capabilities.iter().all(|row| !row.enables.is_empty()));
    let others = |further: &[&str]| Doctor::ask(&lab, &with(further)).check("other processes").state.clone();
    assert_eq!([others(&[]), others(&["sys_ptrace"])], ["limited", "ok"]);

    let doctor = Doctor::ask(&lab, &Launcher::user());
    let missing = doctor.check("privileges");
    assert!(!doctor.can_record && missing.state == "missing", "{doctor:#?}");
    let remedy = missing.remedy.as_deref().unwrap();
    let setcap =
        format!("setcap cap_bpf,cap_perfmon+ep {}", lab.path().canonicalize().unwrap().join("perfprobe").display());
    assert!(remedy.contains(&setcap), "{remedy}");
}

#[test]
fn a_refusal_names_what_is_missing_what_for_and_a_way_to_get_it() {
    let Some(lab) = Lab::open() else { return };
    let record =
        |launcher: &Launcher| Session::start_by(&lab, launcher, &["record", "-o", "x.folded", "--", "true"]).wait();
    let one = record(&Launcher::nobody(&["bpf"])).ended_with(1).stderr;
    assert!(one.contains("CAP_PERFMON (sampling every process and the kernel)") && !one.contains("CAP_BPF ("), "{one}");
    assert!(
        one.contains("docker run --cap-add=BPF --cap-add=PERFMON"),
        "a container's capabilities are bounded: {one}"
    );
    let both = record(&Launcher::user()).ended_with(1).stderr;
    assert!(both.contains("CAP_BPF (loading") && both.contains("sudo setcap cap_bpf,cap_perfmon+ep /"), "{both}");
    let confined =
        record(&Launcher::user().then(Launcher::through(&["setpriv", "--no-new-privs"]))).ended_with(1).stderr;
    assert!(
        confined.contains("no_new_privs") && confined.contains("AmbientCapabilities=CAP_BPF CAP_PERFMON"),
        "{confined}"
    );
    assert!(!lab.file("x.folded").exists());
}

#[test]
fn file_capabilities_let_an_ordinary_user_record_and_pass_nothing_on() {
    let Some((lab, _setting)) = open() else { return };
    let doctor = Doctor::ask(&lab, &Launcher::user());
    assert!(!doctor.can_record, "before");
    let set = Command::new("setcap").arg("cap_bpf,cap_perfmon+ep").arg(lab.file("perfprobe")).status();
    if !set.is_ok_and(|status| status.success()) {
        Lab::skip("setcap (package libcap2-bin) does not work here");
        return;
    }
    assert!(Doctor::ask(&lab, &Launcher::user()).can_record, "after");
    let split = lab.copy(&Program::c("split.c"));
    let recording = lab.record().by(&Launcher::user()).command(&split, &["1"]).run();
    recording.assert_at_least("take_seventy", SEEN);
    let running = lab.start_by(&Launcher::user(), &split, &[]);
    let recording = lab.record().by(&Launcher::user()).pid(running.pid()).duration("1s").run();
    recording.assert_at_least("take_seventy", SEEN);
    let variables = Launcher::through(&["env", "LD_PRELOAD=/no/such/library.so"]);
    let preloaded = Session::start_by(&lab, &Launcher::user().then(variables), &["--version"]).wait().succeeded();
    assert_eq!(preloaded.stderr, "", "the loader ignores what could change the program");
    // The vDSO comes from perfprobe's own memory, which such a program may not open.
    let clock = lab.copy(&Program::c("clock.c"));
    let recording = lab.record().by(&Launcher::user()).command(&clock, &["1"]).run();
    let inside = recording.folded.share(|line| line.frames().iter().any(|frame| frame.contains("clock_gettime")));
    assert!(inside >= SEEN, "{inside} %:\n{}", recording.folded.top());
    let said =
        lab.record().by(&Launcher::user()).flag("--quiet").shell("grep Cap /proc/self/status").finish().succeeded();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(
            said.stdout.contains(&format!("{set}:\t0000000000000000")),
            "the command has capabilities: {}",
            said.stdout
        );
    }
}

#[test]
fn reports_and_exports_need_no_capability() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("split.c"), &["1"]).run();
    let path = lab.file("readable.perfprobe");
    std::fs::copy(&recording.path, &path).unwrap();
    let changed = Command::new("chmod").arg("0444").arg(&path).status().unwrap();
    assert!(changed.success());
    let path = path.to_str().unwrap();
    let nobody = Launcher::nobody(&[]);
    let own = perfprobe(&lab, &["report", path, "--format", "json", "--top", "999"]).succeeded().stdout;
    let theirs = Session::start_by(&lab, &nobody, &["report", path, "--format", "json", "--top", "999"])
        .wait()
        .succeeded()
        .stdout;
    assert_eq!(own, theirs, "everybody reads the same");
    assert!(Report::parse(&theirs).total_of("take_seventy") > 0);
    for name in ["x.svg", "x.html", "x.folded", "x.pb.gz", "x.json", "x.txt"] {
        let _ = Session::start_by(&lab, &nobody, &["export", path, "-o", name]).wait().succeeded();
        assert!(lab.file(name).exists(), "{name}");
    }
}
