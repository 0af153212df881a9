//! Names of code that is generated at run time: perf maps, jitdumps, and the runtimes that write them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::{ffi::OsStr, fs, path::Path, process::Command};

use tests::{Lab, Launcher, Program, Recorder, Recording, Workload, in_guest};

/// Records, and removes what the recorded processes left.
fn run(recorder: Recorder<'_>) -> Recording {
    let recording = recorder.run();
    for thread in &recording.report.cpu.threads {
        for left in [format!("/tmp/perf-{}.map", thread.tgid), format!("/tmp/.java_pid{}", thread.tgid)] {
            let _ = fs::remove_file(left);
        }
    }
    recording
}

/// The share of the samples in which one function stands on the other.
fn share_of_call(recording: &Recording, caller: &str, callee: &str) -> f64 {
    recording.folded.share(|line| line.has_chain(&[caller, callee]))
}

fn jitnames() -> Program {
    Program::c("jitnames.c")
}

#[test]
fn a_perf_map_names_generated_code_also_after_its_process_has_ended() {
    let Some(lab) = Lab::open() else { return };
    let recording = run(lab.record().command(&jitnames(), &["0.4", "map", "JS:~alpha file.js:1:2"]));
    let share = share_of_call(&recording, "call_first", "JS:~alpha file.js:1:2_[j]");
    assert!(share > 95.0, "{share:.1} % are named, in:\n{}", recording.folded.top());
    let function = recording.report.cpu.functions.iter().find(|function| function.name.starts_with("JS:~")).unwrap();
    assert!(function.module.starts_with("[jit of ") && function.module.ends_with(" jitnames]"), "{function:?}");
}

#[test]
fn code_in_a_memory_file_is_generated_code() {
    let Some(lab) = Lab::open() else { return };
    let program = Program::c_named("jitnames.c", "jitmemfd", &["-DIN_MEMORY_FILE"]);
    let recording = run(lab.record().command(&program, &["0.4", "map", "alpha"]));
    let share = share_of_call(&recording, "call_first", "alpha_[j]");
    assert!(share > 95.0, "{share:.1} % are named, in:\n{}", recording.folded.top());
}

#[test]
fn code_that_takes_the_place_of_other_code_does_not_take_its_samples() {
    let Some(lab) = Lab::open() else { return };
    let recording = run(lab.record().command(&jitnames(), &["3", "map", "alpha", "beta"]));
    // In the window in which it was replaced the map says no more than what came last: less than a second of three.
    let wrong = share_of_call(&recording, "call_first", "beta_[j]");
    assert!(wrong < 25.0, "{wrong:.1} % of alpha's are said to be beta's, in:\n{}", recording.folded.top());
    let (alpha, beta) =
        (share_of_call(&recording, "call_first", "alpha_[j]"), share_of_call(&recording, "call_second", "beta_[j]"));
    assert!(
        (alpha + wrong - 50.0).abs() < 5.0 && (beta - 50.0).abs() < 5.0,
        "{alpha:.1} %, {beta:.1} %, in:\n{}",
        recording.folded.top()
    );
}

#[test]
fn equal_addresses_in_two_processes_are_not_mixed() {
    let Some(lab) = Lab::open() else { return };
    let program = jitnames();
    let path = program.path().display();
    let script = format!("{path} 1 map alpha & {path} 1 map beta & {path} 1 none gamma & wait");
    let recording = run(lab.record().shell(&script));
    for (name, others) in [("alpha_[j]", "beta_[j]"), ("beta_[j]", "alpha_[j]")] {
        let share = share_of_call(&recording, "call_first", name);
        assert!((share - 33.3).abs() < 5.0, "{name} has {share:.1} %, in:\n{}", recording.folded.top());
        let mixed = recording.folded.count(|line| line.has(name) && line.has(others));
        assert_eq!(mixed, 0);
    }
    let unnamed = recording.report.cpu.unsymbolized["generated code"] as f64 * 100.0 / recording.reported() as f64;
    assert!((unnamed - 33.3).abs() < 5.0, "{unnamed:.1} % have no name: {:?}", recording.report.cpu.unsymbolized);
}

#[test]
fn a_jitdump_tells_what_lay_at_an_address_when_it_was_sampled() {
    let Some(lab) = Lab::open() else { return };
    // All within a window, at whose end only the last is there.
    let recording =
        lab.record().command(&jitnames(), &["0.2", "dump", "alpha", "beta"]).output("out.speedscope.json").run();
    for chain in [["call_first", "alpha_[j]"], ["call_second", "beta_[j]"]] {
        let share = share_of_call(&recording, chain[0], chain[1]);
        assert!((share - 50.0).abs() < 6.0, "{chain:?} has {share:.1} %, in:\n{}", recording.folded.top());
    }
    let lines = fs::read_to_string(recording.finished.directory.join("out.speedscope.json")).unwrap();
    for source in ["alpha.src", "beta.src"] {
        assert!(lines.contains(source), "no {source} in {lines}");
    }
    let in_lab = Launcher::through(&[OsStr::new("env"), OsStr::new("-C"), lab.path().as_os_str()]);
    let running = lab.start_by(&in_lab, &jitnames(), &["20", "dump", "gamma"]);
    let recording = lab.record().pid(running.pid()).duration("1s").run();
    let share = share_of_call(&recording, "call_first", "gamma_[j]");
    assert!(share > 95.0, "{share:.1} % of a process that ran before are named, in:\n{}", recording.folded.top());
}

#[test]
fn the_perf_map_of_a_container_is_found_by_the_process_id_in_it() {
    let Some(lab) = Lab::open() else { return };
    let name = lab.path().file_name().unwrap().to_str().unwrap();
    let program = Program::c_named("jitnames.c", "pp_contained", &[]);
    // A `/tmp` of its own, in which the lab is still found.
    let own_tmp = format!(
        "mkdir -p {lab}/tmp/{name}; mount --bind {lab} {lab}/tmp/{name}; mount --rbind {lab}/tmp /tmp",
        lab = lab.path().display()
    );
    let container = Launcher::through(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .then(Launcher::after(&own_tmp));
    let running = lab.start_by(&container, &program, &["20", "map", "alpha"]);
    let own_tgid: u32 = running.logged("ready")[0].parse().unwrap();
    let map = lab.file("tmp").join(format!("perf-{own_tgid}.map"));
    assert!(own_tgid < 10 && wait_for(&map), "{own_tgid}: {}", map.display());
    let recording = lab.record().option("--comm", "pp_contained").duration("1s").run();
    let share = share_of_call(&recording, "call_first", "alpha_[j]");
    assert!(share > 95.0, "{share:.1} % are named, in:\n{}", recording.folded.top());
}

#[test]
fn a_perf_map_of_somebody_else_is_not_believed() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&jitnames(), &["20", "none", "alpha"]);
    let map = format!("/tmp/perf-{}.map", running.pid());
    fs::write(&map, "610000000000 1000 planted\n").unwrap();
    std::os::unix::fs::chown(&map, Some(65_534), None).unwrap();
    let recording = lab.record().pid(running.pid()).duration("1s").run();
    fs::remove_file(&map).unwrap();
    recording.assert_absent("planted");
    assert!(recording.report.cpu.unsymbolized["generated code"] > 0);
}

/// Whether the file comes to be there.
fn wait_for(path: &Path) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        path.exists()
    })
}

/// Whether a program can be run; otherwise the test is skipped.
fn has(program: &str, version: &str) -> bool {
    let there = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    if !there {
        Lab::skip(&format!("{program} is not installed"));
    }
    there
}

const SPLIT_JS: &str = "
const fs = require('fs');
function spin(rounds) { let x = 0; for (let i = 0; i < rounds; i++) x = (x * 31 + i) | 0; return x; }
function seventy() { return spin(70000); }
function thirty() { return spin(30000); }
const seconds = Number(process.argv[2]);
const used = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6; };
const begin = used();
let x = 0;
while (used() - begin < seconds) x ^= seventy() ^ thirty();
fs.writeFileSync('/dev/null', String(x));
";

/// Asserts that the two functions of the script, told of by this option, are where the time goes.
fn assert_node_is_named(tells: &str) {
    let Some(lab) = Lab::open() else { return };
    if !has("node", "--version") {
        return;
    }
    let script = lab.file("split.js");
    fs::write(&script, SPLIT_JS).unwrap();
    // Functions that are inlined into their callers have no frames of their own, nor have others before they are compiled.
    let flags =
        "--max-inlined-bytecode-size=0 --max-inlined-bytecode-size-cumulative=0 --interpreted-frames-native-stack";
    // Where all is emulated, most of three seconds is the machine's own beginning.
    let seconds = if in_guest() { 15 } else { 3 };
    let recording = run(lab.record().shell(&format!("exec node {tells} {flags} {} {seconds}", script.display())));
    let share = |name: &str| {
        let is = |frame: &String| frame.starts_with("JS:") && frame.contains(name) && frame.ends_with("_[j]");
        recording.folded.share(|line| line.frames().iter().any(is))
    };
    let (seventy, thirty) = (share("seventy "), share("thirty "));
    let of_both = 100.0 * seventy / (seventy + thirty);
    assert!(seventy + thirty > 85.0, "{seventy:.1} % and {thirty:.1} %, in:\n{}", recording.folded.top());
    assert!((of_both - 70.0).abs() < 4.0, "{of_both:.1} % of both, in:\n{}", recording.folded.top());
}

#[test]
fn node_names_its_functions_in_a_perf_map() {
    assert_node_is_named("--perf-basic-prof");
}

#[test]
fn node_names_its_functions_in_a_jitdump() {
    assert_node_is_named("--perf-prof");
}

const SPLIT_JAVA: &str = "
public class Split {
    static int spin(int rounds) { int x = 0; for (int i = 0; i < rounds; i++) x = x * 31 + i; return x; }
    static int seventy() { return spin(70000); }
    static int thirty() { return spin(30000); }
    public static void main(String[] arguments) throws Exception {
        int x = 0;
        long begin = System.nanoTime();
        while (System.nanoTime() - begin < 300_000_000L) x ^= seventy() ^ thirty();
        try (var log = new java.io.FileWriter(System.getenv(\"WORKLOAD_LOG\"), true)) { log.write(\"ready 1\\n\"); }
        long end = begin + Long.parseLong(arguments[0]) * 1_000_000_000L;
        while (System.nanoTime() < end) x ^= seventy() ^ thirty();
        System.exit(x & 1);
    }
}
";

/// Asserts that the two methods of the program are where the time of its code goes.
fn assert_java_is_named(recording: &Recording) {
    let share = |name: &str| {
        let is = |frame: &String| frame.contains(name) && frame.ends_with("_[j]");
        recording.folded.share(|line| line.frames().iter().any(is))
    };
    let (seventy, thirty) = (share("Split.seventy"), share("Split.thirty"));
    let of_both = 100.0 * seventy / (seventy + thirty);
    assert!((of_both - 70.0).abs() < 4.0, "{seventy:.1} % and {thirty:.1} %, in:\n{}", recording.folded.top());
    let warnings = &recording.report.warnings;
    assert!(warnings.iter().all(|warning| !warning.contains("Java")), "{warnings:?}");
}

const JAVA_FLAGS: [&str; 2] = ["-XX:+PreserveFramePointer", "-XX:-Inline"];

#[test]
fn java_names_its_methods_when_it_is_asked_to() {
    let Some(lab) = Lab::open() else { return };
    if !has("javac", "-version") {
        return;
    }
    let source = lab.file("Split.java");
    fs::write(&source, SPLIT_JAVA).unwrap();
    let arguments = [JAVA_FLAGS[0], JAVA_FLAGS[1], source.to_str().unwrap(), "60"];
    let running = Workload::start(&lab, Path::new("java"), &arguments);
    let record = || lab.record().pid(running.pid()).duration("3s");
    let unasked = record().run();
    assert!(!Path::new(&format!("/tmp/perf-{}.map", running.pid())).exists(), "nothing was asked of it");
    assert!(unasked.report.cpu.unsymbolized["generated code"] > 0);
    let asked = run(record().flag("--java-map"));
    assert_java_is_named(&asked);
    let named = asked.folded.share(|line| line.frames().iter().any(|frame| frame.contains("Split.")));
    assert!(named > 85.0, "{named:.1} % are in named methods, in:\n{}", asked.folded.top());
}

#[test]
fn java_is_asked_as_soon_as_it_can_be() {
    let Some(lab) = Lab::open() else { return };
    if !has("javac", "-version") {
        return;
    }
    let source = lab.file("Split.java");
    fs::write(&source, SPLIT_JAVA).unwrap();
    let command = format!("exec java {} {} 6", JAVA_FLAGS.join(" "), source.display());
    assert_java_is_named(&run(lab.record().flag("--java-map").shell(&command)));
}

#[test]
fn a_java_machine_that_a_signal_would_end_is_left_alone() {
    let Some(lab) = Lab::open() else { return };
    // For all that can be told from its mappings this is one, and it does not handle the signal.
    let library = Program::c_named("plugin.c", "libjvm.so", &["-shared", "-fPIC"]);
    let preload = Launcher::through(&["env".to_owned(), format!("LD_PRELOAD={}", library.path().display())]);
    let running = lab.start_by(&preload, &jitnames(), &["20", "none", "alpha"]);
    let recording = lab.record().pid(running.pid()).duration("1s").flag("--java-map").run();
    let warned = recording.report.warnings.iter().any(|warning| warning.contains("SIGQUIT"));
    assert!(warned, "{:?}", recording.report.warnings);
    assert!(recording.reported() > 500, "it ran to the end");
    assert!(!Path::new(&format!("/tmp/.attach_pid{}", running.pid())).exists());
}
