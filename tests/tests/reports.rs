//! Reports: as text and JSON, of all or of a part, read by anyone; and what the machine allows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

use serde_json::Value;
use tests::{Folded, Lab, Launcher, Program, Recording, Report, Session, perfprobe, perfprobe_into_closed_pipe};

/// Two threads with the same split.
fn record_threads(lab: &Lab) -> Recording {
    lab.record().command(&Program::c("threads.c"), &["2", "same", "2"]).run()
}

#[test]
fn a_reader_that_stops_reading_is_no_failure_to_panic_over() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    for format in ["text", "json", "html"] {
        let arguments = ["report", recording.path_text(), "--format", format];
        let said = perfprobe_into_closed_pipe(&arguments);
        assert!(!said.contains("panicked"), "report --format {format}:\n{said}");
    }
}

#[test]
fn the_text_report_names_functions_shares_and_losses() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    // More than usual: on a slow machine other functions crowd the first places.
    let plain = ["report", recording.path_text(), "--top", "200"];
    for arguments in [&plain[..], &[&plain[..], &["--format", "text"]].concat()] {
        let text = perfprobe(&lab, arguments).succeeded().stdout;
        let reported = grouped(recording.reported());
        for word in ["take_seventy", "take_twenty", "same-0", "lost", &format!("reported {reported}")] {
            assert!(text.contains(word), "{word:?} is not in:\n{text}");
        }
    }
    let html = perfprobe(&lab, &["report", recording.path_text(), "--format", "html"]).succeeded().stdout;
    assert!(html.contains("<html") && html.contains("take_seventy"));
}

/// A number of up to six digits as people read it: 3,886.
fn grouped(number: u64) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

#[test]
fn the_json_report_is_the_same_as_at_the_end_of_the_recording() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    // More than usual: on a slow machine other functions crowd the first places.
    let again = recording.report_with(&lab, &["--top", "10000"]);
    assert_eq!(again.cpu_accounting().taken, recording.report.cpu_accounting().taken);
    assert_eq!(again.cpu_accounting().reported, recording.reported());
    assert_eq!(again.total_of("take_seventy"), recording.report.total_of("take_seventy"));
    assert_eq!(again.recording.started_unix_ns, recording.report.recording.started_unix_ns);
    assert_eq!(again.recording.cpus as usize, std::thread::available_parallelism().unwrap().get());
    assert_eq!(again.recording.kernel, std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
    assert!(
        !again.recording.host.is_empty() && again.recording.target.is_object() && again.recording.options.is_object()
    );
    assert!(
        again.overhead.recorder_cpu_ns > 0 && again.overhead.recorder_peak_rss_bytes > 1_000_000,
        "{:?}",
        again.overhead
    );
    assert!(again.overhead.bpf_runs.is_none_or(|runs| runs >= recording.reported()), "{:?}", again.overhead);
}

#[test]
fn the_number_of_functions_can_be_limited() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    assert_eq!(recording.report_with(&lab, &["--top", "2"]).cpu.functions.len(), 2);
    let text = perfprobe(&lab, &["report", recording.path_text(), "--top", "1"]).succeeded().stdout;
    assert!(text.contains("spin_unit") && !text.contains("take_ten"), "only the first function in:\n{text}");
}

#[test]
fn a_report_can_be_of_one_thread_or_process() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    let threads = &recording.report.cpu.threads;
    let thread = threads.iter().find(|thread| thread.comm == "same-1").expect("the thread same-1");
    // A sample can be of the time before it gave itself that name.
    let samples: u64 = threads.iter().filter(|row| row.tid == thread.tid).map(|row| row.samples).sum();
    let tid = thread.tid.to_string();
    let of_thread = recording.report_with(&lab, &["--thread", &tid]);
    assert_eq!(of_thread.thread_samples(), samples);
    assert!(of_thread.cpu.threads.iter().all(|row| row.tid == thread.tid), "{:?}", of_thread.cpu.threads);
    assert_eq!(Folded::read(&recording.export(&lab, "thread.folded", &["--thread", &tid])).total(), samples);
    let of_process = recording.report_with(&lab, &["--process", &thread.tgid.to_string()]);
    assert_eq!(of_process.thread_samples(), recording.reported());
}

#[test]
fn slices_of_time_add_up_to_the_whole() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("rename.c"), &["4", "first_half", "second_half"]).run();
    let early = recording.report_with(&lab, &["--to", "1s"]);
    let late = recording.report_with(&lab, &["--from", "3s"]);
    let middle = recording.report_with(&lab, &["--from", "1s", "--to", "3s"]);
    let samples = [&early, &middle, &late].map(Report::thread_samples);
    assert_eq!(samples.iter().sum::<u64>(), recording.reported(), "{samples:?}");
    assert!(samples.iter().all(|count| *count > 100), "{samples:?}");
    assert!(early.total_of("before_rename") > 0 && early.total_of("after_rename") == 0, "{early:?}");
    assert!(late.total_of("after_rename") > 0 && late.total_of("before_rename") == 0, "{late:?}");
    let exported = Folded::read(&recording.export(&lab, "slice.folded", &["--from", "1s", "--to", "3s"]));
    assert_eq!(exported.total(), samples[1]);
}

#[test]
fn a_recording_can_be_read_without_privileges_where_nothing_can_be_written() {
    let Some(lab) = Lab::open() else { return };
    let place = lab.file("place");
    std::fs::create_dir(&place).unwrap();
    let path = place.join("x.perfprobe");
    let _ = lab.record().only_output(&path).command(&Program::c("split.c"), &["0.5"]).finish().succeeded();
    let arguments = ["report", path.to_str().unwrap(), "--format", "json"];
    let refused = Session::start_by(&lab, &Launcher::user(), &arguments).wait();
    refused.refused(1, &["the user who made it"]);
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let report = Report::parse(&Session::start_by(&lab, &Launcher::user(), &arguments).wait().succeeded().stdout);
    assert!(report.total_of("take_seventy") > 0);
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "reading leaves nothing beside the recording");
}

#[test]
fn doctor_says_what_this_machine_allows() {
    let Some(lab) = Lab::open() else { return };
    let text = perfprobe(&lab, &["doctor"]).succeeded().stdout;
    for word in ["BTF", "privileges", "cgroup", "kernel symbols"] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(!text.contains("needs CAP_"), "root has what doctor says is missing:\n{text}");
    let json = perfprobe(&lab, &["doctor", "--json"]).succeeded().stdout;
    let value: Value =
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("doctor --json is no JSON: {error}\n{json}"));
    assert!(value.is_object() && !value.as_object().unwrap().is_empty(), "{json}");
}
