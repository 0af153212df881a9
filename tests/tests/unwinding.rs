//! Stacks of programs that keep no frame pointers, walked by tables of their call frame information.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Line, Program, Recording};

const FRAMELESS: &[&str] = &["-fomit-frame-pointer"];

/// The lab, if this kernel can walk by tables.
fn lab() -> Option<Lab> {
    let lab = Lab::open()?;
    if Doctor::walks_by_tables(&lab) {
        return Some(lab);
    }
    Lab::leave_out("this kernel cannot walk stacks by tables");
    None
}

fn record(lab: &Lab, program: &Program, depth: &str, how: &str) -> Recording {
    let running = lab.start(program, &["0", depth]);
    lab.record().pid(running.pid()).option("--unwind", how).duration("3s").run()
}

/// The percentage of the samples for which `holds` is true.
fn share(recording: &Recording, holds: impl Fn(&Line) -> bool) -> f64 {
    100.0 * recording.folded.count(holds) as f64 / recording.reported() as f64
}

#[test]
fn stacks_without_frame_pointers_are_whole() {
    check_whole(&Program::c_named("frameless.c", "frameless", FRAMELESS));
}

#[test]
fn so_are_those_of_code_without_call_frame_information() {
    let flags = ["-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g0"];
    check_whole(&Program::c_named("frameless.c", "untold", &flags));
}

fn check_whole(program: &Program) {
    let Some(lab) = lab() else { return };
    let by_pointers = record(&lab, program, "30", "fp");
    let whole = |line: &Line| line.frames().first().is_some_and(|first| first == "_start") && line.has("main");
    let before = share(&by_pointers, whole);
    assert!(before < 60.0, "{before:.1} % are whole by frame pointers: the workload proves nothing");
    let recording = record(&lab, program, "30", "tables");
    let (whole, top) = (share(&recording, whole), recording.folded.top());
    assert!(whole >= 99.0, "{whole:.1} % of the stacks are whole, in:\n{top}");
    let paths: &[&[&str]] = &[
        &["main", "dive", "dive", "with_alloca", "spin_frameless"],
        &["main", "compare", "spin_frameless"],
        &["main", "raise_one", "handle", "spin_frameless"],
        &["main", "read_zeros"],
    ];
    for path in paths {
        let found = recording.folded.count(|line| line.in_order(path));
        let leaf = recording.folded.count(|line| path[1..].iter().all(|frame| line.has(frame)));
        assert!(found > 5 && found == leaf, "{found} of {leaf} samples on the path {path:?}, in:\n{top}");
    }
    let dives = |line: &Line| line.frames().iter().filter(|frame| *frame == "dive").count();
    let wrong = recording.folded.count(|line| line.has("with_alloca") && dives(line) != 31);
    assert_eq!(wrong, 0, "31 calls of dive under each with_alloca, in:\n{top}");
}

#[test]
fn hand_written_code_without_information_has_its_caller() {
    let Some(lab) = lab() else { return };
    let recording = record(&lab, &Program::c_named("handmade.c", "handmade", FRAMELESS), "0", "tables");
    for caller in ["direct", "indirect"] {
        let chain = ["main", caller, "handmade"];
        let share = share(&recording, |line| line.has_chain(&chain) && line.has("_start"));
        assert!((share - 50.0).abs() < 6.0, "{share:.1} % on the path {chain:?}, in:\n{}", recording.folded.top());
    }
}

#[test]
fn a_recursion_of_four_hundred_calls_is_whole() {
    let Some(lab) = lab() else { return };
    let recording = record(&lab, &Program::c_named("frameless.c", "frameless", FRAMELESS), "400", "tables");
    let deep = recording.folded.count(|line| line.has("with_alloca"));
    let whole = recording.folded.count(|line| {
        line.has("with_alloca")
            && line.has("_start")
            && line.frames().iter().filter(|frame| *frame == "dive").count() == 401
    });
    assert!(deep > 20 && whole == deep, "{whole} of {deep} stacks are whole, in:\n{}", recording.folded.top());
}

#[test]
fn a_recursion_deeper_than_what_is_kept_says_so() {
    let Some(lab) = lab() else { return };
    let recording = record(&lab, &Program::c_named("frameless.c", "frameless", FRAMELESS), "2000", "tables");
    let cut = |line: &Line| line.frames().first().is_some_and(|first| first.contains("more frames than are kept"));
    let deep = recording.folded.count(|line| line.has("with_alloca"));
    let told = recording.folded.count(|line| line.has("with_alloca") && cut(line));
    assert!(deep > 20 && told == deep, "{told} of {deep} say so, in:\n{}", recording.folded.top());
}
