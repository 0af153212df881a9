//! Things that come, change and go while they are recorded: processes, programs, libraries, files, threads, names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use tests::{Lab, Program, Workload, in_guest};

#[test]
fn a_process_of_50_ms_is_sampled_from_its_start_to_its_end() {
    let Some(lab) = Lab::open() else { return };
    let short = Program::c_named("burn.c", "short50", &["-DWORK=burn_fifty"]);
    let recording = lab.record().command(&short, &["50"]).run();
    let samples = recording.report.total_of("burn_fifty");
    assert!((42..=58).contains(&samples), "{samples} samples of 50 ms in:\n{}", recording.folded.top());
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 10.0);
}

#[test]
fn three_hundred_short_processes_in_a_row_are_all_seen_and_named() {
    let Some(lab) = Lab::open() else { return };
    let brief = Program::c_named("burn.c", "many_child", &["-DWORK=brief_work"]);
    let arguments = [OsStr::new("300"), brief.path().as_os_str(), OsStr::new("4")];
    let recording = lab.record().command(&Program::c("many.c"), &arguments).run();
    let expected = recording.logged_sum("work_ns") as f64 / recording.report.cpu.period_ns as f64;
    let named = recording.report.total_of("brief_work") as f64;
    assert!(
        (named - expected).abs() < 0.06 * expected,
        "{named} samples named, {expected:.0} expected:\n{}",
        recording.folded.top()
    );
    let rows = recording.report.cpu.threads.iter();
    let seen: BTreeSet<u32> = rows.filter(|thread| thread.comm == "many_child").map(|thread| thread.tgid).collect();
    assert!(seen.len() >= 297, "{} of 300 processes were seen", seen.len());
    // Until they execute the program they have their parent's name.
    let rows = recording.report.cpu.threads.iter().filter(|thread| seen.contains(&thread.tgid));
    let children: u64 = rows.map(|thread| thread.samples).sum();
    let used = recording.logged_sum("children_cpu_ns") as f64 / recording.report.cpu.period_ns as f64;
    assert!((children as f64 - used).abs() < 0.08 * used, "{children} samples of the children, {used:.0} expected");
}

#[test]
fn each_program_of_an_exec_chain_has_its_own_names() {
    let Some(lab) = Lab::open() else { return };
    let stages = ["one", "two", "three", "four"]
        .map(|stage| Program::c_named("execchain.c", &format!("stage_{stage}"), &[&format!("-DSTAGE=work_{stage}")]));
    let mut arguments = vec![OsStr::new("300")];
    arguments.extend(stages[1..].iter().map(|stage| stage.path().as_os_str()));
    let recording = lab.record().command(&stages[0], &arguments).run();
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 5.0);
    for stage in ["one", "two", "three", "four"] {
        recording.assert_share(&format!("work_{stage}"), 25.0, 4.0);
        let own = recording
            .folded
            .count(|line| line.comm() == format!("stage_{stage}") && line.has(&format!("work_{stage}")));
        let all = recording.report.total_of(&format!("work_{stage}"));
        assert_eq!(own, all, "work_{stage} ran as stage_{stage} only:\n{}", recording.folded.top());
    }
}

#[test]
fn a_library_that_is_cut_short_while_its_symbols_are_read_ends_nothing() {
    let Some(lab) = Lab::open() else { return };
    let plugin = Program::c_named("plugin.c", "libshrink.so", &["-shared", "-fPIC"]).copy_to(lab.file("libshrink.so"));
    // The first windows have the library parsed; at the end of the one in which it is cut short, the rest is missing.
    let milliseconds = if in_guest() { "6000" } else { "1000" };
    let arguments = [OsStr::new(milliseconds), plugin.path().as_os_str()];
    let recording = lab.record().command(&Program::c("shrink.c"), &arguments).run();
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 6.0);
    let (work, main) = (recording.report.total_of("plugin_work"), recording.report.total_of("spin_ms"));
    assert!(work > 500 && main > 100, "{work} samples in plugin_work, {main} in spin_ms:\n{}", recording.folded.top());
    let unnamed = &recording.report.cpu.unsymbolized;
    assert!(unnamed.contains_key("file was cut short"), "{unnamed:?}");
}

#[test]
fn libraries_that_take_turns_at_the_same_address_are_told_apart() {
    let Some(lab) = Lab::open() else { return };
    let [alpha, beta] = ["alpha", "beta"].map(|name| {
        let define = format!("-DPLUGIN=plugin_{name}");
        Program::c_named("plugin.c", &format!("libplugin_{name}.so"), &["-shared", "-fPIC", &define])
    });
    let loader = Program::c("dlopen.c");
    let arguments = [
        OsStr::new("3"),
        alpha.path().as_os_str(),
        OsStr::new("plugin_alpha"),
        beta.path().as_os_str(),
        OsStr::new("plugin_beta"),
    ];
    let recording = lab.record().command(&loader, &arguments).run();
    recording.assert_at_least("run_plugin", 95.0);
    recording.assert_share("plugin_alpha", 50.0, 7.0);
    recording.assert_share("plugin_beta", 50.0, 7.0);

    let running = Workload::start(&lab, loader.path(), &[&[OsStr::new("0")], &arguments[1..]].concat());
    let recording = lab.record().pid(running.pid()).duration("2s").run();
    recording.assert_share("plugin_alpha", 50.0, 8.0);
    recording.assert_share("plugin_beta", 50.0, 8.0);
}

#[test]
fn a_program_deleted_and_replaced_before_the_recording_keeps_its_names() {
    let Some(lab) = Lab::open() else { return };
    let original = Program::c_named("named.c", "original", &["-DWORK=original_work"]).copy_to(lab.file("replaced"));
    let impostor = Program::c_named("named.c", "impostor", &["-DWORK=impostor_work"]);
    let running = lab.start(&original, &[]);
    std::fs::remove_file(original.path()).expect("delete the running program");
    let _replacement = impostor.copy_to(original.path().to_owned());
    let recording = lab.record().pid(running.pid()).duration("1s").run();
    recording.assert_at_least("original_work", 95.0);
    recording.assert_absent("impostor_work");
}

#[test]
fn a_program_deleted_and_replaced_during_the_recording_keeps_its_names() {
    let Some(lab) = Lab::open() else { return };
    let original = Program::c_named("named.c", "original", &["-DWORK=original_work"]).copy_to(lab.file("replaced"));
    let impostor = Program::c_named("named.c", "impostor", &["-DWORK=impostor_work"]);
    let mut running = lab.start(&original, &[]);
    let mut session = lab.record().pid(running.pid()).duration("2500ms").start();
    session.wait_until_recording("out.perfprobe");
    std::fs::remove_file(original.path()).expect("delete the running program");
    let _replacement = impostor.copy_to(original.path().to_owned());
    std::thread::sleep(std::time::Duration::from_millis(700));
    running.kill();
    let recording = session.wait().succeeded().recording();
    recording.assert_at_least("original_work", 95.0);
    recording.assert_absent("impostor_work");
}

#[test]
fn children_forked_during_the_recording_are_part_of_the_target() {
    let Some(lab) = Lab::open() else { return };
    let forks = lab.start(&Program::c("forks.c"), &[]);
    let recording = lab.record().pid(forks.pid()).duration("2s").run();
    recording.assert_share("parent_work", 50.0, 6.0);
    recording.assert_share("child_work", 50.0, 6.0);
    let processes: BTreeSet<u32> = recording.report.cpu.threads.iter().map(|thread| thread.tgid).collect();
    assert!(processes.len() > 10, "a process for each child, not {processes:?}");
}

#[test]
fn threads_that_come_and_go_are_sampled_all_the_time() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("churn.c"), &["2"]).run();
    recording.assert_at_least("brief_thread", 90.0);
    recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 5.0);
    let threads: BTreeSet<u32> = recording.report.cpu.threads.iter().map(|thread| thread.tid).collect();
    let started = recording.logged_sum("threads");
    assert!(threads.len() as f64 > 0.9 * started as f64, "{} of {started} threads were seen", threads.len());
}

#[test]
fn a_thread_that_changes_its_name_appears_under_both() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("rename.c"), &["2", "name_before", "name_after"]).run();
    let all = recording.logged_sum("cpu_ns") as f64;
    let before = 100.0 * recording.logged_sum("before_cpu_ns") as f64 / all;
    for (comm, function, percent) in
        [("name_before", "before_rename", before), ("name_after", "after_rename", 100.0 - before)]
    {
        let share = recording.folded.share(|line| line.comm() == comm && line.has(function));
        assert!(
            (share - percent).abs() < 3.0,
            "{share:.1} %, not {percent:.1} %, in {comm}:\n{}",
            recording.folded.top()
        );
    }
}

#[test]
fn odd_characters_in_names_break_no_output() {
    let Some(lab) = Lab::open() else { return };
    let odd = OsStr::from_bytes(b"a;b c\xff\n\"<&>");
    let running = Workload::start(&lab, Program::c("rename.c").path(), &[OsStr::new("0"), odd]);
    let recorder = lab.record().output("out.svg").output("out.html").output("out.txt").output("out.speedscope.json");
    let recording = recorder.output("out.pb.gz").pid(running.pid()).duration("1s").run();
    recording.assert_at_least("before_rename", 90.0);
    // Line::comm is what stands before the first semicolon: had the name's own stayed, it would be cut short here.
    let named = recording.folded.lines.iter().filter(|line| line.has("before_rename"));
    let comms: BTreeSet<&str> = named.map(tests::Line::comm).collect();
    let [comm] = comms.iter().collect::<Vec<_>>()[..] else { panic!("one name, not {comms:?}") };
    assert!(comm.starts_with('a') && comm.ends_with("<&>"), "the name is {comm:?}");
    for name in ["out.svg", "out.html"] {
        let text = std::fs::read_to_string(recording.finished.directory.join(name)).expect("text in UTF-8");
        assert!(!text.contains("\"<&>"), "the name stands unescaped in {name}");
    }
}

#[test]
fn arguments_that_are_no_text_reach_the_command() {
    let Some(lab) = Lab::open() else { return };
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let recording = lab.record().command(&Program::c("rename.c"), &[OsStr::new("0.5"), odd]).run();
    recording.assert_at_least("before_rename", 80.0);
}

#[test]
fn a_target_that_sleeps_gives_an_empty_recording_and_a_hint() {
    let Some(lab) = Lab::open() else { return };
    let sleeper = lab.start(&Program::c("sleeper.c"), &[]);
    let recording = lab.record().pid(sleeper.pid()).duration("1s").run();
    assert_eq!(recording.reported(), 0);
    let said = recording.finished.stderr.to_lowercase() + &recording.finished.stdout.to_lowercase();
    assert!(said.contains("sle") || said.contains("off-cpu"), "no hint that the target slept in:\n{said}");
}
