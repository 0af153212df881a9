//! Python's own frames, in every version of the interpreter that is installed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::time::Duration;

use tests::{Doctor, Folded, Lab, Launcher, Line, Python, Recording};

/// The lab and the interpreters, if this kernel can read their frames.
fn lab() -> Option<(Lab, Vec<Python>)> {
    let lab = Lab::open()?;
    if Doctor::ask(&lab, &Launcher::default()).check("Python frames").state != "ok" {
        Lab::skip("this kernel cannot read Python frames");
        return None;
    }
    Some((lab, Python::all()))
}

fn record(lab: &Lab, python: &Python, kind: &str, seconds: &str) -> Recording {
    let recording = lab.record().option("--unwind", "tables");
    recording.command(&python.program, &Python::arguments(kind, seconds)).run()
}

/// The samples in and below `leaf`, nearly all of which have to have `path` on their stacks, in this order.
fn assert_path(recording: &Recording, leaf: &str, path: &[&str]) {
    let all = recording.folded.count(|line| line.has(leaf));
    let found = recording.folded.count(|line| line.in_order(path));
    let top = recording.folded.top();
    assert!(all > 20 && found * 100 >= all * 97, "{found} of {all} samples of {leaf} are on {path:?}, in:\n{top}");
}

#[test]
fn a_split_of_70_30_is_reported_with_whole_stacks_in_order() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "split", "5");
        // Of what ran after the interpreter's own beginning.
        let main = recording.report.total_of("main") as f64;
        let share = 100.0 * recording.report.total_of("take_seventy") as f64 / main;
        assert!((share - 70.0).abs() < 3.0, "{share:.2} % in {}, in:\n{}", python.version, recording.folded.top());
        let both = recording.report.total_of("take_seventy") + recording.report.total_of("take_thirty");
        assert!(both as f64 > 0.97 * main, "{both} of {main}");
        let path = ["Py_RunMain", "<module>_[p]", "main_[p]", "split_[p]", "take_seventy_[p]", "burn_[p]"];
        assert_path(&recording, "take_seventy_[p]", &path);
        let native =
            recording.folded.count(|line| line.has("take_seventy_[p]") && line.has("_PyEval_EvalFrameDefault"));
        assert!(native * 100 <= recording.reported(), "{native} calls of the loop beside the frames in them");
        recording.assert_cpu_time(recording.logged_sum("cpu_ns"), 5.0);
    }
}

#[test]
fn frames_have_the_lines_that_ran() {
    let Some((lab, pythons)) = lab() else { return };
    let script = std::fs::read_to_string(Python::arguments("", "")[0]).unwrap();
    let line_of = |text: &str| script.lines().position(|line| line.trim() == text).unwrap() as u32 + 1;
    let (loop_line, body) = (line_of("for step in range(steps):"), line_of("total += step & 7"));
    for python in pythons {
        let recording = record(&lab, &python, "split", "1");
        let lines = lines_of(&recording, "burn");
        assert!(lines.contains(&loop_line) && lines.contains(&body), "{lines:?} in {}", python.version);
        assert!(lines.iter().all(|line| (loop_line - 2..=body + 1).contains(line)), "{lines:?} in {}", python.version);
        assert_eq!(lines_of(&recording, "take_seventy"), [line_of("burn(70_000)")], "in {}", python.version);
    }
}

/// The lines of a function's frames, each once, in a recording.
fn lines_of(recording: &Recording, function: &str) -> Vec<u32> {
    let file = rusqlite::Connection::open(&recording.path).unwrap();
    let sql = "SELECT DISTINCT line.line FROM line JOIN frame ON frame.id = line.frame
        JOIN module ON module.id = frame.module JOIN string ON string.id = line.function
        WHERE module.kind = 'python' AND module.path LIKE '%/python.py' AND string.text = ?1 ORDER BY 1";
    let mut statement = file.prepare(sql).unwrap();
    statement.query_map([function], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn threads_have_their_own_frames_with_and_without_the_lock() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "threads", "4");
        for function in ["first_thread_[p]", "second_thread_[p]"] {
            assert_path(&recording, function, &["Thread.run_[p]", function, "burn_[p]"]);
        }
        assert_path(&recording, "without_the_lock_[p]", &["Thread.run_[p]", "without_the_lock_[p]"]);
        let functions = ["first_thread_[p]", "second_thread_[p]", "without_the_lock_[p]"];
        let mixed = |line: &Line| functions.iter().filter(|function| line.has(function)).count() > 1;
        assert_eq!(recording.folded.count(mixed), 0, "no stack is of two threads, in:\n{}", recording.folded.top());
        // Hashing works outside of Python and without its lock.
        let hashing = |line: &Line| {
            line.has("without_the_lock_[p]") && line.frames().last().is_some_and(|leaf| !leaf.ends_with("_[p]"))
        };
        let (hashed, all) =
            (recording.folded.count(hashing), recording.folded.count(|line| line.has("without_the_lock_[p]")));
        assert!(hashed * 10 > all * 9, "{hashed} of {all} are in native code, in:\n{}", recording.folded.top());
    }
}

#[test]
fn generators_stand_under_what_asks_them() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "generators", "2");
        let path = [
            "main_[p]",
            "Consumer.consume_[p]",
            "Consumer.consume.<locals>.<genexpr>_[p]",
            "transform_[p]",
            "produce_[p]",
            "burn_[p]",
        ];
        assert_path(&recording, "produce_[p]", &path);
    }
}

#[test]
fn a_recursion_of_two_hundred_and_thirty_calls_is_whole() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "deep", "2");
        let deep = recording.folded.count(|line| line.has("bottom_[p]"));
        let dives = |line: &Line| line.frames().iter().filter(|frame| *frame == "dive_[p]").count();
        let whole = |line: &Line| line.has("bottom_[p]") && dives(line) == 231 && line.has("<module>_[p]");
        let whole = recording.folded.count(whole);
        assert!(
            deep > 100 && whole == deep,
            "{whole} of {deep} in {}, in:\n{}",
            python.version,
            recording.folded.top()
        );
    }
}

#[test]
fn a_recursion_deeper_than_what_is_kept_says_so() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "deeper", "2");
        let deep = recording.folded.count(|line| line.has("bottom_[p]"));
        let told = |line: &Line| line.in_order(&["[more Python frames than are kept]", "dive_[p]", "bottom_[p]"]);
        let told = recording.folded.count(told);
        assert!(deep > 100 && told == deep, "{told} of {deep} in {}, in:\n{}", python.version, recording.folded.top());
        assert!(recording.report.cpu.counters["python_stack_truncated"] >= deep);
        assert!(
            recording.report.warnings.iter().any(|warning| warning.contains("Python")),
            "{:?}",
            recording.report.warnings
        );
    }
}

#[test]
fn native_functions_that_call_back_stand_between() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "natives", "3");
        let main = ["main_[p]", "natives_[p]"];
        assert_path(&recording, "key_of_[p]", &[&main[..], &["by_sorting_[p]", "key_of_[p]"]].concat());
        assert_path(&recording, "replacement_[p]", &[&main[..], &["by_matching_[p]", "replacement_[p]"]].concat());
        assert_path(&recording, "hook_[p]", &[&main[..], &["by_parsing_[p]", "hook_[p]"]].concat());
        // What calls back is native: it stands right under each of them.
        for (called, caller) in [("key_of_[p]", "by_sorting_[p]"), ("hook_[p]", "JSONDecoder.raw_decode_[p]")] {
            let direct = recording.folded.count(|line| line.has_chain(&[caller, called]));
            assert_eq!(direct, 0, "{caller} does not call {called} itself, in:\n{}", recording.folded.top());
        }
    }
}

#[test]
fn a_program_that_ends_at_once_has_its_names() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let arguments = Python::arguments("split", "0.3");
        let recording = lab.record().option("--unwind", "tables").command(&python.program, &arguments).run();
        // Python's own start has a function `main`, too.
        let own = |line: &Line| line.has("main_[p]") && !line.has("addsitepackages_[p]");
        let (main, burning) = (recording.folded.count(own), recording.folded.count(|line| line.has("burn_[p]")));
        assert!(main > 100 && burning * 10 > main * 9, "{burning} of {main}, in:\n{}", recording.folded.top());
        assert_path(&recording, "burn_[p]", &["<module>_[p]", "main_[p]", "burn_[p]"]);
        let unread = recording.report.cpu.unsymbolized.get("Python code could not be read").copied().unwrap_or(0);
        assert_eq!(unread, 0, "all code was told of");
    }
}

#[test]
fn code_in_the_place_of_other_code_has_its_own_name() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "fresh", "3");
        let number = |line: &Line, name: &str| {
            line.frames().iter().find_map(|frame| frame.strip_prefix(name)?.strip_suffix("_[p]").map(str::to_owned))
        };
        let fresh: Vec<_> = recording.folded.lines.iter().filter(|line| number(line, "inner_").is_some()).collect();
        let numbers: std::collections::HashSet<_> = fresh.iter().map(|line| number(line, "inner_")).collect();
        assert!(numbers.len() > 100, "{} in {}", numbers.len(), python.version);
        let wrong: Vec<_> = fresh.iter().filter(|line| number(line, "outer_") != number(line, "inner_")).collect();
        assert!(wrong.is_empty(), "{} of {} stacks are mixed up, like {:?}", wrong.len(), fresh.len(), wrong[0]);
    }
}

#[test]
fn odd_names_are_shown_so_that_they_do_no_harm() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let recording = record(&lab, &python, "odd", "2");
        for label in ["[unnamed]_[p]", "кириллица_[p]", "\u{1f40d}_[p]", "é_[p]"] {
            assert_path(&recording, label, &["odd_[p]", label, "burn_[p]"]);
        }
        let long = recording
            .folded
            .count(|line| line.frames().iter().any(|frame| frame.starts_with("longlong") && frame.ends_with("…_[p]")));
        assert!(long > 20, "{long} in {}, in:\n{}", python.version, recording.folded.top());
        let text = std::fs::read_to_string(recording.export(&lab, "odd.folded", &[])).unwrap();
        assert!(!text.contains('\x1b'), "no escapes");
    }
}

#[test]
fn two_interpreters_at_once_are_told_apart() {
    let Some((lab, pythons)) = lab() else { return };
    let (first, last) = (pythons.first().unwrap(), pythons.last().unwrap());
    let (split, natives) = (
        lab.start(&first.program, &Python::arguments("split", "60")),
        lab.start(&last.program, &Python::arguments("natives", "60")),
    );
    let pids = format!("{},{}", split.pid(), natives.pid());
    let recording = lab.record().option("--pid", &pids).option("--unwind", "tables").duration("3s").run();
    assert_path(&recording, "take_seventy_[p]", &["main_[p]", "split_[p]", "take_seventy_[p]"]);
    assert_path(&recording, "key_of_[p]", &["main_[p]", "natives_[p]", "by_sorting_[p]", "key_of_[p]"]);
    assert_eq!(recording.folded.count(|line| line.has("split_[p]") && line.has("natives_[p]")), 0);
}

#[test]
fn without_tables_python_frames_are_there_and_what_is_missing_is_marked() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let running = lab.start(&python.program, &Python::arguments("natives", "60"));
        let recording = lab.record().option("--unwind", "fp").pid(running.pid()).duration("2s").run();
        assert_path(
            &recording,
            "key_of_[p]",
            &["<module>_[p]", "main_[p]", "natives_[p]", "by_sorting_[p]", "key_of_[p]", "burn_[p]"],
        );
    }
}

#[test]
fn a_program_that_hangs_already_shows_in_which_functions() {
    let Some((lab, pythons)) = lab() else { return };
    for python in pythons {
        let hung = lab.start(&python.program, &Python::arguments("hang", "60"));
        // The interpreter's own beginning, and the barrier.
        std::thread::sleep(Duration::from_millis(500));
        let recorder = lab.record().option("--event", "cpu,offcpu,sched").option("--unwind", "tables");
        let recording = recorder.pid(hung.pid()).duration("1500ms").run();
        let waits = Folded::read(&recording.export(&lab, "waits.folded", &["--event", "offcpu"]));
        for function in ["wants_second_[p]", "wants_first_[p]"] {
            let found_ns =
                waits.count(|line| line.in_order(&["Thread._bootstrap_[p]", "Thread.run_[p]", function, "futex_[w]"]));
            let known_ns = recording.report.recording.duration_ns;
            assert!(found_ns * 10 > known_ns * 9, "{found_ns} of {known_ns} ns in {function}, in:\n{}", waits.top());
        }
        let path = ["<module>_[p]", "main_[p]", "hang_[p]", "Thread.join_[p]", "futex_[w]"];
        assert!(waits.count(|line| line.in_order(&path)) > 0, "{}, in:\n{}", python.version, waits.top());
        let places = &recording.report.threads;
        assert!(
            places.iter().any(|thread| thread.longest.as_ref().is_some_and(|place| place.function == "wants_first"))
        );
    }
}

#[test]
fn python_frames_can_be_left_out() {
    let Some((lab, pythons)) = lab() else { return };
    let running = lab.start(&pythons.first().unwrap().program, &Python::arguments("split", "60"));
    let recording =
        lab.record().flag("--no-python").option("--unwind", "tables").pid(running.pid()).duration("1s").run();
    assert_eq!(recording.folded.count(|line| line.frames().iter().any(|frame| frame.ends_with("_[p]"))), 0);
    recording.assert_at_least("_PyEval_EvalFrameDefault", 90.0);
}
