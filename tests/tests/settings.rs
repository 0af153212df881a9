//! Settings and limits of the kernel that differ between machines: each is heeded, or named by a sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Finished, Lab, Launcher, Program, Recording, Session, Setting};

fn worker(name: &str) -> Program {
    Program::c_named("named.c", &format!("pp_{name}"), &[&format!("-DWORK=work_of_{name}")])
}

fn record(lab: &Lab, launcher: &Launcher, arguments: &[&str]) -> Finished {
    Session::start_by(lab, launcher, &[&["record", "-o", "x.folded"], arguments].concat()).wait()
}

/// The share of a program's samples in its work that shows that it was recorded and named. Where everything takes long, as
/// in a guest, the rest goes to starting it.
const SEEN: f64 = 30.0;

fn has_kernel_names(recording: &Recording) -> bool {
    let read = |frame: &String| frame.ends_with("_[k]") && frame.contains("read");
    recording.folded.share(|line| line.frames().iter().any(read)) > 75.0
}

#[test]
fn a_small_limit_of_locked_memory_is_raised_or_named() {
    let Some(lab) = Lab::open() else { return };
    let own = lab.copy(&worker("own"));
    let limited = |capabilities: &[&str]| {
        Launcher::nobody(capabilities).then(Launcher::through(&["prlimit", "--memlock=65536:65536"]))
    };
    let nobody = limited(&["bpf", "perfmon", "sys_admin"]);
    let finished = lab.record().by(&nobody).command(&own, &["1"]).finish();
    let doctor = Doctor::ask(&lab, &nobody);
    if finished.code == Some(0) {
        finished.recording().assert_at_least("work_of_own", SEEN);
        assert_eq!(doctor.check("locked memory").state, "ok", "{doctor:#?}");
        return;
    }
    // Linux before 5.11 takes BPF maps from it.
    finished.refused(1, &["locked memory"]);
    assert_eq!(doctor.check("locked memory").state, "limited", "{doctor:#?}");
    let raised = limited(&["bpf", "perfmon", "sys_admin", "sys_resource"]);
    lab.record().by(&raised).command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
}

#[test]
fn buffers_of_task_events_shrink_to_what_a_user_may_lock() {
    let Some(lab) = Lab::open() else { return };
    let own = lab.copy(&worker("own"));
    let Some(_setting) = Setting::change("kernel/perf_event_mlock_kb", "64") else { return };
    let nobody = |further: &[&str]| {
        let capabilities = [&["bpf", "perfmon", "sys_admin"], further].concat();
        Launcher::nobody(&capabilities).then(Launcher::through(&["prlimit", "--memlock=0:0"]))
    };
    if lab.record().by(&nobody(&["ipc_lock"])).command(&own, &["0.1"]).finish().code != Some(0) {
        println!("this kernel takes BPF maps from locked memory: the limit of that is found first");
        return;
    }
    lab.record().by(&nobody(&[])).command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
    drop(_setting);
    let Some(_setting) = Setting::change("kernel/perf_event_mlock_kb", "8") else { return };
    let refused = record(&lab, &nobody(&[]), &["--", "true"]).ended_with(1).stderr;
    assert!(refused.contains("perf_event_mlock_kb") && refused.contains("CAP_IPC_LOCK"), "{refused}");
    lab.record().by(&nobody(&["ipc_lock"])).command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
}

#[test]
fn settings_of_perf_and_bpf_are_heeded_or_named() {
    let Some(lab) = Lab::open() else { return };
    let (own, nobody) = (lab.copy(&worker("own")), Launcher::nobody(&["bpf", "perfmon"]));
    for level in ["-1", "0", "1", "2", "3", "4"] {
        let Some(_setting) = Setting::change("kernel/perf_event_paranoid", level) else { return };
        let finished = lab.record().by(&nobody).command(&own, &["1"]).finish();
        if finished.code == Some(0) {
            finished.recording().assert_at_least("work_of_own", SEEN);
            continue;
        }
        assert!(matches!(level, "3" | "4"), "{}", finished.stderr);
        finished.refused(1, &["perf_event_paranoid"]);
        lab.record().command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
    }
    let Some(_paranoid) = Setting::change("kernel/perf_event_paranoid", "2") else { return };
    // 1 stays until the machine is started again.
    for level in ["0", "2", "1"] {
        if let Some(_setting) = Setting::change("kernel/unprivileged_bpf_disabled", level) {
            lab.record().by(&nobody).command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
        }
    }
}

#[test]
fn hidden_kernel_symbols_are_said_with_the_setting_that_hides_them() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("kernel.c"), &[]);
    for level in ["0", "1", "2"] {
        let Some(_setting) = Setting::change("kernel/kptr_restrict", level) else { return };
        let recording = lab.record().pid(running.pid()).duration("1s").run();
        let warned = recording.report.warnings.iter().any(|warning| warning.contains("kernel.kptr_restrict"));
        assert_eq!(has_kernel_names(&recording), level != "2", "{level}:\n{}", recording.folded.top());
        assert_eq!(warned, level == "2", "{level}: {:?}", recording.report.warnings);
        let doctor = Doctor::ask(&lab, &Launcher::default());
        assert_eq!(doctor.check("kernel symbols").state == "ok", level != "2", "{level}: {doctor:#?}");
    }
}

#[test]
fn a_low_limit_of_samples_lowers_the_default_and_refuses_more() {
    let Some(lab) = Lab::open() else { return };
    let own = lab.copy(&worker("own"));
    let Some(_share) = Setting::change("kernel/perf_cpu_time_max_percent", "1") else { return };
    lab.record().command(&own, &["1"]).run().assert_at_least("work_of_own", SEEN);
    let Some(_setting) = Setting::change("kernel/perf_event_max_sample_rate", "50") else { return };
    let recording = lab.record().default_frequency().command(&own, &["2"]).run();
    assert_eq!(recording.report.cpu.period_ns, 1_000_000_000 / 50);
    let warned = recording.report.warnings.iter().any(|warning| warning.contains("perf_event_max_sample_rate"));
    assert!(warned, "{:?}", recording.report.warnings);
    record(&lab, &Launcher::default(), &["-F", "99", "--", "true"]).refused(2, &["perf_event_max_sample_rate"]);
}
