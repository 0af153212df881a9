//! System calls: against workloads whose calls, errors and lengths are known.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Calls, Doctor, Lab, Program, Recording};

const MS: u64 = 1_000_000;
/// Calls of each kind, and naps, of the workload.
const TIMES: u64 = 20_000;
const NAPS: u64 = 25;

fn record(lab: &Lab, kind: &str, seconds: &str) -> Recording {
    let recorder = lab.record().frequency(99).option("--event", "cpu,syscalls");
    recorder.command(&Program::c("calls.c"), &[seconds, kind]).run()
}

fn calls(recording: &Recording) -> &Calls {
    recording.report.calls.as_ref().expect("system calls were recorded")
}

/// Asserts that nothing was lost.
fn assert_whole(recording: &Recording) {
    let accounting = &calls(recording).accounting;
    // Newer kernels leave out a program that another thread's return has interrupted on this CPU: that is counted.
    let untold = calls(recording).untold();
    assert_eq!(accounting.lost_total(), untold, "maps have room: {accounting:?}");
    assert!(untold * 500 <= accounting.taken, "{accounting:?}");
    let counted: u64 = calls(recording).kinds.iter().map(|kind| kind.count).sum();
    assert_eq!(counted, accounting.reported, "what is reported is told");
}

#[test]
fn every_call_and_every_error_is_counted() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "counted", "1");
    assert_whole(&recording);
    let untold = calls(&recording).untold();
    let calls = calls(&recording);
    let is_all = |count: u64| (TIMES.saturating_sub(untold)..=TIMES).contains(&count);
    assert!(is_all(calls.of("getppid").count), "{:?}", calls.of("getppid"));
    for (call, error) in [("dup", "EBADF"), ("read", "EAGAIN")] {
        assert!(calls.of(call).errors.get(error).is_some_and(|count| is_all(*count)), "{call}: {:?}", calls.of(call));
    }
    // What 64-bit Arm has for it is the general one.
    let rmdir = if cfg!(target_arch = "x86_64") { "rmdir" } else { "unlinkat" };
    assert!(is_all(calls.of(rmdir).errors["ENOENT"]), "{:?}", calls.of(rmdir));
    assert!(calls.of("getppid").errors.is_empty());
    assert_eq!(calls.counters["begun_before"], 1, "the one in which the command waited to be released");
}

#[test]
fn naps_are_as_long_as_they_were() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "counted", "1");
    let naps = calls(&recording).of("clock_nanosleep");
    let (slept_ns, longest_ns) = (recording.logged_sum("slept_ns"), recording.logged_sum("longest_ns"));
    assert_eq!(naps.count, NAPS);
    assert!((NAPS * 20 * MS..=slept_ns).contains(&naps.total_ns), "{naps:?} of {slept_ns} ns");
    assert!((slept_ns / NAPS..=longest_ns).contains(&naps.max_ns) || naps.max_ns <= longest_ns, "{naps:?}");
    for told_ns in [naps.p50_ns, naps.p99_ns] {
        assert!((20 * MS * 88 / 100..=naps.max_ns).contains(&told_ns), "{naps:?}");
    }
    // All of them are long enough to be taken with their stack for certain, so that this is no estimate.
    let in_naps_ns: u64 = recording.report.in_calls("clock_nanosleep");
    assert_eq!(in_naps_ns, naps.total_ns, "by stack, and by count");
    if Doctor::walks_by_tables(&lab) {
        let functions = &recording.report.syscalls.as_ref().unwrap().functions;
        let nap = functions.iter().find(|function| function.name == "nap").expect("where naps are taken");
        assert_eq!(nap.total, naps.total_ns, "{nap:?}");
    }
}

#[test]
fn short_calls_are_estimated_without_bias() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "counted", "1");
    for call in ["getppid", "dup", "read"] {
        let known_ns = calls(&recording).of(call).total_ns as f64;
        let told_ns = recording.report.in_calls(call) as f64;
        // Each of those that are taken stands for 100 us or more: the deviation is that of their number. Six of them.
        let allowed_ns = 6.0 * (known_ns * 100_000.0).sqrt() + 100_000.0;
        assert!((told_ns - known_ns).abs() <= allowed_ns, "{call}: {told_ns} of {known_ns} ± {allowed_ns} ns");
    }
    let sampled = recording.report.syscalls.as_ref().unwrap().counters["calls_sampled"];
    assert!(sampled >= NAPS && sampled < calls(&recording).accounting.taken / 2, "{sampled} calls with a stack");
}

#[test]
fn the_slowest_calls_tell_their_files() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "slow", "1");
    assert_whole(&recording);
    let slowest = &calls(&recording).slowest;
    let of = |start: &str| {
        slowest
            .iter()
            .find(|call| call.arguments.starts_with(start))
            .unwrap_or_else(|| panic!("no {start} in {slowest:#?}"))
    };
    let folder = recording.finished.directory.to_str().unwrap();
    let open = of("openat(/");
    assert_eq!(open.arguments, format!("openat({folder}/fifo, O_RDONLY)"));
    assert!(open.length_ns > 150 * MS && open.result == Some(open.result.unwrap()) && open.error.is_none(), "{open:?}");
    let descriptor = open.result.unwrap();
    let read = of("read(");
    let known =
        [format!("read({descriptor}<{folder}/fifo>, 1)"), format!("read({descriptor}<maybe {folder}/fifo>, 1)")];
    // A window that ends after the program did finds no descriptors any more.
    let gone = format!("read({descriptor}, 1)");
    assert!(known.contains(&read.arguments) || read.arguments == gone, "{read:?}");
    assert_eq!(read.result, Some(1));
    let connect = of("connect(");
    assert!(connect.arguments.contains(&format!("{folder}/socket")), "{connect:?}");
    assert_eq!((connect.error.as_deref(), connect.result), (Some("EAGAIN"), Some(-11)));
    let nap = of("clock_nanosleep(");
    assert_eq!(nap.arguments, "clock_nanosleep(0.900000 s)");
    assert!(slowest.is_sorted_by_key(|call| std::cmp::Reverse(call.length_ns)));
    let poll = of(if cfg!(target_arch = "x86_64") { "poll(" } else { "ppoll(" });
    assert!(poll.length_ns >= 120 * MS && poll.result == Some(0), "{poll:?}");
}

#[test]
fn calls_that_are_open_at_either_end_are_told() {
    let Some(lab) = Lab::open() else { return };
    let waiting = lab.start(&Program::c("calls.c"), &["0", "waiting"]);
    let recording = lab.record().option("--event", "cpu,syscalls").pid(waiting.pid()).duration("4s").run();
    let calls = calls(&recording);
    // A byte comes every 40 naps: the read that was there when the recording began has returned, and the last has not.
    // And each of two threads was in a call; but a nap that began while programs were attached is known as a whole.
    let begun_before = calls.counters["begun_before"];
    assert!((1..=2).contains(&begun_before), "{begun_before} calls: {:?}", calls.counters);
    let read = calls.open.iter().find(|call| call.call == "read").expect("the second read");
    assert!(read.result.is_none() && read.tid != waiting.pid(), "{read:?}");
    let recorded_ns = recording.report.recording.duration_ns;
    assert!((1..recorded_ns).contains(&read.length_ns), "{read:?} in {recorded_ns} ns");
    let whole: u64 = calls.kinds.iter().filter(|kind| kind.call == "read").map(|kind| kind.count).sum();
    assert!(whole <= 2, "only those between the first and the last are counted: {:?}", calls.kinds);
    assert!(calls.of("clock_nanosleep").count > 10, "{:?}", calls.kinds);
    let text = tests::perfprobe(&lab, &["report", recording.path_text()]).succeeded().stdout;
    let mut lines = text.lines().filter(|line| !line.starts_with("WARNING"));
    assert!(lines.all(|line| line.chars().count() <= 100), "a line is too long in:\n{text}");
    assert!(text.contains("clock_nanosleep(0.050000 s) = 0"), "{text}");
}

#[test]
fn a_call_that_lasts_longer_than_the_recording_is_told() {
    let Some(lab) = Lab::open() else { return };
    let waiting = lab.start(&Program::c("waits.c"), &["0", "silent"]);
    let recording = lab.record().option("--event", "cpu,syscalls").pid(waiting.pid()).duration("1s").run();
    let calls = calls(&recording);
    let read = calls.open.iter().find(|call| call.call == "read").expect("the read of a byte that never comes");
    assert!(read.began_before && read.result.is_none() && read.tid != waiting.pid(), "{read:?}");
    assert!(read.arguments.starts_with("read(") && read.arguments.contains("<pipe:["), "{read:?}");
    assert_eq!(read.length_ns, recording.report.recording.duration_ns, "it has lasted at least for that long");
    assert!(calls.kinds.iter().all(|kind| kind.call != "read"), "it has not returned: {:?}", calls.kinds);
    let text = tests::perfprobe(&lab, &["report", recording.path_text()]).succeeded().stdout;
    assert!(text.lines().any(|line| line.contains(" before ") && line.contains("<pipe:[")), "{text}");
}

#[test]
fn a_call_that_hangs_tells_in_what() {
    let Some(lab) = Lab::open() else { return };
    let fifo = lab.file("nobody-writes");
    let recorder = lab.record().option("--event", "cpu,syscalls").duration("1s");
    let recording = recorder.shell(&format!("mkfifo {0}; timeout 3 cat {0} || true", fifo.display())).run();
    let calls = calls(&recording);
    let open = calls.open.iter().find(|call| call.call == "openat").expect("nobody opens it at its other end");
    assert_eq!(open.arguments, format!("openat({}, O_RDONLY)", fifo.display()));
    let became = |name: &str| calls.slowest.iter().any(|call| call.arguments == format!("execve(to become {name})"));
    assert!(became("cat"), "{:?}", calls.slowest);
}

#[test]
fn starting_a_command_is_one_call() {
    let Some(lab) = Lab::open() else { return };
    // What a shell does that looks for a program fails with ENOENT in each directory before the right one.
    let path = format!("/nonexistent/one:/nonexistent/two:{}", std::env::var("PATH").unwrap());
    let recorder = lab.record().environment("PATH", path).option("--event", "cpu,syscalls");
    let recording = recorder.shell("exit 0").run();
    let execve = calls(&recording).of("execve");
    assert_eq!((execve.count, execve.errors.len()), (1, 0), "{execve:?}");
}

#[test]
fn a_call_in_which_a_thread_is_killed_is_counted() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "waiting", "2.5");
    assert_whole(&recording);
    let (calls, report) = (calls(&recording), &recording.report);
    let read = calls.of("read");
    assert_eq!(read.errors["ERESTARTSYS"], 1, "the thread that waits for a byte when the program ends");
    assert!(read.total_ns > 2_000 * MS && read.max_ns > 1_000 * MS, "{read:?}");
    let in_reads_ns = report.in_calls("read");
    assert!(in_reads_ns.abs_diff(read.total_ns) < 20 * MS, "{in_reads_ns} ns by stack, {read:?}");
    assert_eq!(calls.counters["open_at_end"], 0);
}

#[test]
fn calls_by_foreign_rules_are_told_apart() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "foreign", "1");
    let made = recording.logged_sum("foreign");
    if made == 0 {
        Lab::leave_out("this kernel takes no 32-bit calls");
        return;
    }
    assert_eq!(calls(&recording).counters["other_abi"], made);
    // The number 20 is `writev` in the machine's own table.
    assert!(calls(&recording).kinds.iter().all(|kind| kind.call != "writev"), "{:?}", calls(&recording).kinds);
}

#[test]
fn tiny_maps_lose_calls_and_say_how_many() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().environment("PERFPROBE_TEST_MAP_ENTRIES", "2").option("--event", "cpu,syscalls");
    let recording = recorder.command(&Program::c("waits.c"), &["2", "storm"]).run();
    let calls = calls(&recording);
    assert!(calls.accounting.lost["calls_full"] > 0, "two places for all kinds of calls: {:?}", calls.accounting);
    assert!(calls.accounting.reported > 0, "what found a place is kept: {:?}", calls.accounting);
    let time = &recording.report.accounting["syscalls"];
    assert!(time.lost["call_stacks_full"] > 0, "two places for all stacks: {time:?}");
    let warned =
        recording.report.warnings.iter().any(|warning| warning.contains("system calls") && warning.contains("lost"));
    assert!(warned, "no warning of the loss in {:?}", recording.report.warnings);
}

#[test]
fn parts_of_a_recording_have_their_part_of_the_calls() {
    let Some(lab) = Lab::open() else { return };
    // On a busy machine, a window of a second can take two.
    let recording = record(&lab, "waiting", "7");
    let all = calls(&recording).of("clock_nanosleep").count;
    let part = |from: &str, to: &str| {
        let report = recording.report_with(&lab, &["--from", from, "--to", to]);
        report
            .calls
            .unwrap()
            .kinds
            .iter()
            .filter(|kind| kind.call == "clock_nanosleep")
            .map(|kind| kind.count)
            .sum::<u64>()
    };
    let parts = [part("0s", "2s"), part("2s", "4s"), part("4s", "1h")];
    assert!(parts.iter().all(|count| *count > 0), "{parts:?}");
    assert_eq!(parts.iter().sum::<u64>(), all, "{parts:?}");
    let path = recording.export(&lab, "part.perfprobe", &["--from", "2s", "--to", "4s"]);
    let text = tests::perfprobe(&lab, &["report", path.to_str().unwrap(), "--format", "json"]).succeeded().stdout;
    let copied = tests::Report::parse(&text);
    assert_eq!(copied.calls.unwrap().of("clock_nanosleep").count, parts[1]);
}
