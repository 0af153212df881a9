//! Wrong use gets a sentence and an exit code, never a panic or a silent nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::ffi::OsStr;

use tests::{Lab, Launcher, Program, Session, Workload, perfprobe};

fn record(lab: &Lab, arguments: &[&str]) -> tests::Finished {
    perfprobe(lab, &[&["record"], arguments].concat())
}

/// A process to point at that does no harm.
fn sleeper(lab: &Lab) -> Workload {
    lab.start(&Program::c("sleeper.c"), &[])
}

#[test]
fn no_target_or_two_are_wrong_use() {
    let Some(lab) = Lab::open() else { return };
    record(&lab, &[]).refused(2, &["target", "--pid"]);
    record(&lab, &["--pid", "1", "--all"]).refused(2, &["cannot be used with", "one target", "--all"]);
    record(&lab, &["--pid", "1", "--", "true"]).refused(2, &["cannot be used with", "one target", "--pid"]);
    record(&lab, &["--comm", "sh", "--cgroup", "/"]).refused(2, &["cannot be used with", "one target", "--cgroup"]);
}

#[test]
fn frequencies_and_durations_out_of_reason_are_wrong_use() {
    let Some(lab) = Lab::open() else { return };
    for frequency in ["0", "-1", "1000000000", "many"] {
        record(&lab, &["--all", "-d", "1s", "-F", frequency]).refused(2, &["frequency", "unexpected argument"]);
    }
    for duration in ["0s", "0", "-1s", "soon", "1e99h", "10 parsecs"] {
        record(&lab, &["--all", &format!("--duration={duration}")]).refused(2, &["duration"]);
    }
}

#[test]
fn targets_that_cannot_be_recorded_are_named() {
    let Some(lab) = Lab::open() else { return };
    record(&lab, &["--pid", "4194303", "-d", "1s"]).refused(1, &["4194303"]);
    record(&lab, &["--pid", "0", "-d", "1s"]).refused(1, &["no process 0"]);
    record(&lab, &["--pid", "2", "-d", "1s"]).refused(1, &["kernel thread", "thread of the kernel"]);
    for pid in ["-5", "self", "1,,2", "99999999999"] {
        record(&lab, &[&format!("--pid={pid}"), "-d", "1s"]).refused(2, &["pid"]);
    }
    record(&lab, &["--cgroup", "/no/such/cgroup", "-d", "1s"]).refused(1, &["/no/such/cgroup"]);
    record(&lab, &["--cgroup", "/proc", "-d", "1s"]).refused(1, &["cgroup"]);
    record(&lab, &["--comm", "", "-d", "1s"]).refused(2, &["comm", "name"]);
}

#[test]
fn a_thread_id_is_refused_with_the_id_of_its_process() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("threads.c"), &["0", "same", "2"]);
    let pid = running.pid().to_string();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().file_name());
    let tid = tasks.map(|name| name.into_string().unwrap()).find(|tid| *tid != pid).expect("a second thread");
    record(&lab, &["--pid", &tid, "-d", "1s"]).refused(1, &[&pid]);
}

#[test]
fn one_missing_process_of_several_is_named() {
    let Some(lab) = Lab::open() else { return };
    let running = sleeper(&lab);
    record(&lab, &["--pid", &format!("{},4194303", running.pid()), "-d", "1s"]).refused(1, &["4194303"]);
}

#[test]
fn a_command_that_cannot_be_started_is_named() {
    let Some(lab) = Lab::open() else { return };
    record(&lab, &["--", "no-such-command"]).refused(127, &["no-such-command"]);
    let text = lab.file("no-program");
    std::fs::write(&text, "just text").unwrap();
    record(&lab, &["--", text.to_str().unwrap()]).refused(127, &["no-program"]);
    let left: Vec<_> = std::fs::read_dir(lab.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let recordings = left.iter().filter(|name| name.to_string_lossy().ends_with(".perfprobe")).count();
    assert_eq!(recordings, 0, "nothing was recorded, so nothing is left: {left:?}");
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_the_recording() {
    let Some(lab) = Lab::open() else { return };
    let running = sleeper(&lab);
    let pid = running.pid().to_string();
    for name in ["x.docx", "x", "x.gz", ".perfprobe/x.bmp"] {
        record(&lab, &["--pid", &pid, "-o", name]).refused(2, &[".perfprobe", "format", "extension"]);
    }
    // Without a duration: a recorder that finds out only at the end would hang here.
    for name in ["/no/such/directory/x.perfprobe", "/no/such/directory/x.svg", "/proc/x.json"] {
        record(&lab, &["--pid", &pid, "-o", name]).refused(1, &[name]);
    }
}

#[test]
fn events_that_do_not_exist_are_wrong_use() {
    let Some(lab) = Lab::open() else { return };
    record(&lab, &["--all", "-d", "1s", "-e", "moonphase"]).refused(2, &["moonphase"]);
}

#[test]
fn both_kinds_of_only_are_wrong_use() {
    let Some(lab) = Lab::open() else { return };
    record(&lab, &["--all", "-d", "1s", "--user-only", "--kernel-only"]).refused(2, &["only"]);
}

fn read_with_all_commands(lab: &Lab, file: &OsStr, words: &[&str]) {
    perfprobe(lab, &["report".as_ref(), file]).refused(1, words);
    let output = lab.file("exported.folded");
    perfprobe(lab, &["export".as_ref(), file, "-o".as_ref(), output.as_os_str()]).refused(1, words);
    assert!(!output.exists(), "nothing is exported from {file:?}");
}

#[test]
fn files_that_are_no_recordings_are_named() {
    let lab = Lab::open_unprivileged();
    let text = lab.file("text.perfprobe");
    std::fs::write(&text, "this is no recording\n".repeat(500)).unwrap();
    let empty = lab.file("empty.perfprobe");
    std::fs::write(&empty, "").unwrap();
    let foreign = lab.file("foreign.perfprobe");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE shopping (item TEXT)").unwrap();
    for path in [text, empty, foreign] {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        read_with_all_commands(&lab, path.as_os_str(), &[&name]);
    }
    read_with_all_commands(&lab, lab.file("missing.perfprobe").as_os_str(), &["missing.perfprobe"]);
    read_with_all_commands(&lab, lab.path().as_os_str(), &["directory", "recording"]);
}

#[test]
fn a_truncated_recording_and_one_of_a_newer_schema_are_refused() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("split.c"), &["1"]).run();
    let bytes = std::fs::read(&recording.path).unwrap();
    let truncated = lab.file("truncated.perfprobe");
    std::fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    read_with_all_commands(&lab, truncated.as_os_str(), &["truncated.perfprobe"]);

    let newer = lab.file("newer.perfprobe");
    std::fs::copy(&recording.path, &newer).unwrap();
    let connection = rusqlite::Connection::open(&newer).unwrap();
    let changed = connection.execute("UPDATE meta SET value = '99999' WHERE key = 'schema_version'", []).unwrap();
    assert_eq!(changed, 1, "a recording has its schema's version");
    drop(connection);
    read_with_all_commands(&lab, newer.as_os_str(), &["newer", "version"]);
}

#[test]
fn slices_and_filters_that_select_nothing_are_said() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("split.c"), &["1"]).run();
    let path = recording.path.to_str().unwrap();
    perfprobe(&lab, &["report", path, "--from", "5s", "--to", "2s"]).refused(2, &["--from", "before", "after"]);
    perfprobe(&lab, &["report", path, "--thread", "4194303"]).refused(2, &["4194303"]);
    perfprobe(&lab, &["report", path, "--process", "4194303"]).refused(2, &["4194303"]);
    perfprobe(&lab, &["report", path, "--format", "morse"]).refused(2, &["morse"]);
    perfprobe(&lab, &["export", path]).refused(2, &["--output", "-o"]);
    perfprobe(&lab, &["export", path, "-o", "x.docx"]).refused(2, &[".perfprobe", "format", "extension"]);
    perfprobe(&lab, &["export", path, "-o", "x.folded", "-e", "moonphase"]).refused(2, &["moonphase"]);
}

#[test]
fn a_user_without_privileges_is_told_what_is_missing() {
    let Some(lab) = Lab::open() else { return };
    let words = ["cap_bpf", "cap_perfmon", "cap_sys_admin", "root", "sudo"];
    let arguments = ["record", "-o", "x.perfprobe", "--", "true"];
    Session::start_by(&lab, &Launcher::user(), &arguments).wait().refused(1, &words);
    let finished = Session::start_by(&lab, &Launcher::user(), &["doctor"]).wait();
    let said = (finished.stdout + &finished.stderr).to_lowercase();
    assert!(words.iter().any(|word| said.contains(word)), "doctor names what is missing:\n{said}");
}

#[test]
fn unknown_commands_and_help_end_as_everywhere() {
    let lab = Lab::open_unprivileged();
    perfprobe(&lab, &["recrod"]).refused(2, &["recrod"]);
    for arguments in
        [&["--help"][..], &["--version"], &["record", "--help"], &["report", "--help"], &["export", "--help"]]
    {
        let finished = perfprobe(&lab, arguments).succeeded();
        assert!(!finished.stdout.is_empty(), "{arguments:?} says something");
    }
}
