//! Inside containers: what their namespaces, filters and file systems let through, and a sentence for what they do not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Folded, Lab, Launcher, Program, Session, Setting};

fn worker(name: &str) -> Program {
    Program::c_named("named.c", &format!("pp_{name}"), &[&format!("-DWORK=work_of_{name}")])
}

fn record(lab: &Lab, launcher: &Launcher, arguments: &[&str]) -> tests::Finished {
    Session::start_by(lab, launcher, &[&["record", "-o", "x.folded"], arguments].concat()).wait()
}

#[test]
fn a_seccomp_filter_is_named_with_the_option_that_lifts_it() {
    let Some(lab) = Lab::open() else { return };
    let refuse = Program::c("refuse.c");
    for calls in ["bpf", "perf_event_open", "bpf,perf_event_open"] {
        let launcher = Launcher::through(&[refuse.path().as_os_str(), calls.as_ref()]);
        let refused = record(&lab, &launcher, &["--all", "-d", "1s"]).ended_with(1).stderr;
        for word in calls.split(',').chain(["seccomp filter", "--security-opt seccomp=unconfined", "seccompProfile"]) {
            assert!(refused.contains(word), "no {word} in: {refused}");
        }
        let doctor = Doctor::ask(&lab, &launcher);
        let told = doctor.check("system calls");
        assert!(!doctor.can_record && told.state == "missing" && told.detail.contains("seccomp"), "{doctor:#?}");
    }
}

#[test]
fn a_user_namespace_is_named() {
    let Some(lab) = Lab::open() else { return };
    let launcher = Launcher::through(&["unshare", "--user", "--map-root-user"]);
    if Session::start_by(&lab, &launcher, &["--version"]).wait().code != Some(0) {
        Lab::skip("no user namespace can be made here");
        return;
    }
    record(&lab, &launcher, &["--all", "-d", "1s"]).refused(1, &["user namespace"]);
    assert_eq!(Doctor::ask(&lab, &launcher).check("user namespace").state, "missing");
}

#[test]
fn a_container_with_process_ids_of_its_own_is_refused_with_the_option_that_helps() {
    let Some(lab) = Lab::open() else { return };
    let launcher = Launcher::through(&["unshare", "--pid", "--fork", "--mount-proc"]);
    record(&lab, &launcher, &["--all", "-d", "1s"]).refused(1, &["--pid=host"]);
    assert_eq!(Doctor::ask(&lab, &launcher).check("PID namespace").state, "missing");
    // So far as nobody told it, /proc can be of another namespace than perfprobe itself.
    let hidden = Launcher::through(&["unshare", "--pid", "--fork"]);
    record(&lab, &hidden, &["--all", "-d", "1s"]).refused(1, &["--pid=host"]);
}

/// What stands for a container: a root of its own with nothing in it but a C library, /proc, /sys and what `lab` holds.
fn container(lab: &Lab) -> Launcher {
    let (root, lab) = (lab.file("root"), lab.path().display().to_string());
    std::fs::create_dir_all(&root).unwrap();
    let script = format!(
        "root={root}
         mount -t tmpfs root $root
         for folder in usr lib lib64 bin proc sys {lab}; do
             [ -d /${{folder#/}} ] && mkdir -p $root/$folder && mount --rbind /${{folder#/}} $root/$folder
         done
         set -- chroot $root sh -c 'cd {lab} && exec \"$@\"' sh \"$@\"",
        root = root.display()
    );
    Launcher::after(&script)
}

#[test]
fn a_container_with_the_process_ids_of_the_host_records_programs_it_does_not_have() {
    let Some(lab) = Lab::open() else { return };
    let Some(_setting) = Setting::at_most("kernel/perf_event_paranoid", 2) else { return };
    let place = tempfile::tempdir().expect("a directory that the container does not have");
    let outside = worker("outside").copy_to(place.path().join("pp_outside"));
    let running = lab.start(&outside, &[]);
    let pid = running.pid().to_string();
    let container = container(&lab);
    let seen =
        Session::start_by(&lab, &container, &["record", "-o", "x.folded", "--", "ls", place.path().to_str().unwrap()]);
    assert_eq!(seen.wait().code, Some(2), "the container has no such directory");
    let share = |launcher: &Launcher| {
        let finished = record(&lab, launcher, &["--pid", &pid, "-d", "1s", "-F", "999"]).succeeded();
        let share = Folded::read(&lab.file("x.folded")).share(|line| line.has("work_of_outside"));
        (share, finished.stderr)
    };
    let (all, said) = share(&container);
    assert!(all > 95.0, "{all} % with all privileges:\n{said}");
    let bounded = |further: &str| {
        let set = format!("--bounding-set=-all,+{},+bpf,+perfmon{further}", DOCKER.replace(' ', ",+"));
        container.clone().then(Launcher::through(&["setpriv", &set]))
    };
    let (least, said) = share(&bounded(",+sys_ptrace"));
    assert!(least > 95.0, "{least} % with the least:\n{said}");
    let (less, said) = share(&bounded(""));
    assert!(less == 0.0 && said.contains("CAP_SYS_PTRACE"), "{less} % with less:\n{said}");
}

/// The capabilities that Docker and containerd leave to a container's root.
const DOCKER: &str = "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod \
                      audit_write setfcap";

#[test]
fn processes_that_proc_hides_are_told_from_those_that_are_not_there() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&worker("hidden"), &[]);
    let pid = running.pid().to_string();
    let nobody = Launcher::nobody(&["bpf", "perfmon"]);
    let Some(_setting) = Setting::at_most("kernel/perf_event_paranoid", 2) else { return };
    for level in ["1", "2"] {
        let hidepid = Launcher::after(&format!("mount -t proc -o hidepid={level} proc /proc")).then(nobody.clone());
        record(&lab, &hidepid, &["--pid", &pid, "-d", "1s"]).refused(1, &["hidepid"]);
        record(&lab, &hidepid, &["--pid", "4194303", "-d", "1s"]).refused(1, &["no process 4194303"]);
        let recording = lab.record().by(&hidepid).flag("--all").duration("1s").run();
        let hidden = recording.folded.count(|line| line.comm() == "pp_hidden" && line.has("[hidden]"));
        assert!(hidden > 20, "{hidden} hidden samples in:\n{}", recording.folded.top());
        let warned = recording.report.warnings.iter().any(|warning| warning.contains("CAP_SYS_PTRACE"));
        assert!(warned, "{:?}", recording.report.warnings);
        let own = lab.copy(&worker("own"));
        lab.record().by(&hidepid).command(&own, &["1"]).run().assert_at_least("work_of_own", 30.0);
    }
}
