//! Names of stripped programs: from debug files, wherever they lie, and from symbols packed into the program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Lab, Program, Recording};

/// Runs a tool of binutils or xz.
fn run(tool: &str, arguments: &[&str], paths: &[&Path]) {
    let status = Command::new(tool).args(arguments).args(paths).status();
    assert!(status.unwrap_or_else(|error| panic!("run {tool}: {error}")).success(), "{tool} {arguments:?} failed");
}

/// A stripped program `bin/bare`, which has a build id unless it may have none, and its debug file.
fn stripped(lab: &Lab, flags: &[&str]) -> (Program, PathBuf) {
    let name = if flags.is_empty() { "inline" } else { "inline_without_id" };
    let program = Program::c_named("inline.c", name, flags);
    let folder = lab.file("bin");
    fs::create_dir(&folder).unwrap();
    let debug = lab.file("bare.debug");
    let program = program.copy_to(folder.join("bare"));
    run("objcopy", &["--only-keep-debug"], &[program.path(), &debug]);
    run("strip", &[], &[program.path()]);
    (program, debug)
}

/// What the tests take programs apart with.
const BINUTILS: &[&str] = &["objcopy", "readelf", "strip"];

const WITHOUT_BUILD_ID: &[&str] = &["-Wl,--build-id=none"];

fn link(program: &Program, debug: &Path) {
    run("objcopy", &[&format!("--add-gnu-debuglink={}", debug.display())], &[program.path()]);
}

/// Whether nearly all samples are in these functions, each called by the one before it.
fn assert_chain(recording: &Recording, chain: &[&str]) {
    let share = recording.folded.share(|line| line.has_chain(chain));
    assert!(share > 95.0, "{share:.1} % of the samples have {chain:?}, in:\n{}", recording.folded.top());
}

/// What only debug information tells: functions with those that were inlined into them.
fn assert_named(recording: &Recording) {
    assert_chain(recording, &["main", "outer_real", "middle_inlined_[i]", "innermost_inlined_[i]"]);
}

fn assert_unnamed(recording: &Recording) {
    for name in ["outer_real", "innermost_inlined_[i]"] {
        recording.assert_absent(name);
    }
}

fn build_id(program: &Program) -> String {
    let notes = Command::new("readelf").arg("-n").arg(program.path()).output().unwrap();
    let notes = String::from_utf8(notes.stdout).unwrap();
    notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("it has a build id").to_owned()
}

#[test]
fn a_debug_file_is_found_by_build_id_where_the_user_says() {
    let Some(lab) = Lab::open_with(BINUTILS) else { return };
    let (program, debug) = stripped(&lab, &[]);
    let id = build_id(&program);
    let place = lab.file("debug").join(".build-id").join(&id[..2]);
    fs::create_dir_all(&place).unwrap();
    fs::rename(debug, place.join(format!("{}.debug", &id[2..]))).unwrap();
    let record = || lab.record().command(&program, &["1"]);
    assert_unnamed(&record().run());
    let several = record().option("--debug-dir", "/usr/lib/debug").option("--debug-dir", lab.file("debug"));
    assert_named(&several.run());
}

#[test]
fn a_debug_file_is_found_by_its_link_wherever_it_may_lie() {
    let Some(lab) = Lab::open_with(BINUTILS) else { return };
    let (program, debug) = stripped(&lab, WITHOUT_BUILD_ID);
    link(&program, &debug);
    let folder = lab.file("bin");
    let below = lab.file("debug").join(folder.strip_prefix("/").unwrap());
    let directory = lab.file("debug");
    fs::create_dir(&directory).unwrap();
    for place in [folder.clone(), folder.join(".debug"), below] {
        fs::create_dir_all(&place).unwrap();
        let found = place.join("bare.debug");
        fs::copy(&debug, &found).unwrap();
        let recorder = lab.record().command(&program, &["1"]);
        assert_named(&recorder.option("--debug-dir", &directory).run());
        fs::remove_file(found).unwrap();
    }
    // One byte more, and it is another file.
    let other = [fs::read(&debug).unwrap(), vec![0]].concat();
    fs::write(folder.join("bare.debug"), other).unwrap();
    assert_unnamed(&lab.record().command(&program, &["1"]).run());
    // Nobody will ever write to it: whoever opens it to read, waits.
    fs::remove_file(folder.join("bare.debug")).unwrap();
    run("mkfifo", &[], &[&folder.join("bare.debug")]);
    assert_unnamed(&lab.record().command(&program, &["1"]).run());
}

#[test]
fn a_debug_file_is_found_in_the_root_of_the_program() {
    let Some(lab) = Lab::open_with(BINUTILS) else { return };
    let program = Program::c_named("inline.c", "inline_static", &["-static"]);
    let root = lab.file("root");
    let (folder, hidden) = (root.join("bin"), root.join("usr/lib/debug/bin"));
    [&folder, &hidden, &root.join("tmp")].into_iter().for_each(|path| fs::create_dir_all(path).unwrap());
    let program = program.copy_to(folder.join("bare"));
    run("objcopy", &["--only-keep-debug"], &[program.path(), &hidden.join("bare.debug")]);
    run("strip", &[], &[program.path()]);
    link(&program, &hidden.join("bare.debug"));
    let script = format!("unset WORKLOAD_LOG; exec chroot {} /bin/bare 1", root.display());
    assert_named(&lab.record().shell(&script).run());
}

#[test]
fn symbols_packed_into_a_program_name_its_functions() {
    let Some(lab) = Lab::open_with(&["objcopy", "strip", "xz"]) else { return };
    let program = Program::c_named("named.c", "named_packed", &[]).copy_to(lab.file("bare"));
    let symbols = lab.file("symbols");
    run("objcopy", &["--only-keep-debug", "--strip-debug"], &[program.path(), &symbols]);
    run("strip", &[], &[program.path()]);
    let packed = lab.file("symbols.xz");
    run("xz", &["--keep"], &[&symbols]);
    run("objcopy", &[&format!("--add-section=.gnu_debugdata={}", packed.display())], &[program.path()]);
    let recording = lab.record().command(&program, &["1"]).run();
    assert_chain(&recording, &["main", "named_work", "spin_unit"]);
}

#[test]
fn a_stripped_go_program_keeps_its_names() {
    let Some(lab) = Lab::open_with(&["go"]) else { return };
    for (name, mode) in [("gosplit_fixed", "-buildmode=exe"), ("gosplit_pie", "-buildmode=pie")] {
        let program = Program::go("gosplit.go", name, &[mode, "-ldflags=-s -w"]);
        let recording = lab.record().command(&program, &["4"]).run();
        // Go gives a function that calls none no frame, so that its caller is not in the stack.
        assert_chain(&recording, &["main.outerReal", "main.middle_[i]", "main.innermost_[i]"]);
        // Nothing calls the first function of a goroutine.
        let is_cut = |frame: &String| frame.starts_with("[unwound no further");
        let cut = recording.folded.share(|line| line.frames().first().is_some_and(is_cut));
        assert!(cut < 5.0, "{cut:.1} % of the stacks end early, in:\n{}", recording.folded.top());
    }
}
