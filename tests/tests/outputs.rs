//! What comes out: files of every format, reports and exports of slices, and what the machine allows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::path::Path;

use serde_json::Value;
use tests::{
    Folded, Lab, Program, Recording, Report, Session, perfprobe, perfprobe_into_closed_pipe, sum_of_first_values,
};

/// One name for each format that is drawn from a recording.
const NAMES: [&str; 7] = ["x.svg", "x.html", "x.folded", "x.pb.gz", "x.speedscope.json", "x.json", "x.txt"];

/// Two threads in two phases, two seconds each.
fn record_threads(lab: &Lab) -> Recording {
    lab.record().command(&Program::c("threads.c"), &["2", "same", "2"]).run()
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn report(lab: &Lab, recording: &Recording, options: &[&str]) -> Report {
    let arguments = [&["report", path_text(&recording.path), "--format", "json"], options].concat();
    Report::parse(&perfprobe(lab, &arguments).succeeded().stdout)
}

fn export(lab: &Lab, recording: &Recording, name: &str, options: &[&str]) -> std::path::PathBuf {
    let path = lab.file(name);
    let arguments = [&["export", path_text(&recording.path), "-o", path_text(&path)], options].concat();
    let _ = perfprobe(lab, &arguments).succeeded();
    path
}

/// Asserts that the file is of the format its name says and tells of `samples` samples.
fn assert_format(path: &Path, samples: u64) {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    if name.ends_with(".pb.gz") {
        assert_eq!(sum_of_first_values(path), samples.cast_signed(), "{name}");
        return;
    }
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    assert!(text.contains("take_seventy"), "{name} does not name the hottest function");
    if name.ends_with(".speedscope.json") {
        let value: Value = serde_json::from_str(&text).expect("speedscope is JSON");
        let weights = value["profiles"].as_array().expect("profiles").iter().flat_map(|profile| {
            let (samples, weights) = (profile["samples"].as_array().unwrap(), profile["weights"].as_array().unwrap());
            assert_eq!(samples.len(), weights.len(), "a weight for each sample");
            weights
        });
        let sum: f64 = weights.map(|weight| weight.as_f64().expect("a weight")).sum();
        assert!(sum > 0.0, "{name} is empty");
        assert!(value["$schema"].as_str().is_some_and(|schema| schema.contains("speedscope")));
    } else if name.ends_with(".json") {
        assert_eq!(Report::parse(&text).cpu_accounting().reported, samples, "{name}");
    } else if name.ends_with(".folded") {
        assert_eq!(Folded::parse(&text).total(), samples, "{name}");
    } else if name.ends_with(".svg") {
        assert!(text.contains("<svg") && text.trim_end().ends_with("</svg>"), "{name} is no SVG");
    } else if name.ends_with(".html") {
        assert!(text.contains("<html") && text.contains("<svg"), "{name} is no page with a picture");
        assert!(!text.contains("src=\"http") && !text.contains("href=\"http://"), "{name} is not self-contained");
    }
}

#[test]
fn record_writes_every_format_by_its_name() {
    let Some(lab) = Lab::open() else { return };
    let mut recorder = lab.record().command(&Program::c("threads.c"), &["1", "same", "2"]);
    for name in NAMES {
        recorder = recorder.output(name);
    }
    let recording = recorder.run();
    for name in NAMES {
        assert_format(&recording.finished.directory.join(name), recording.reported());
    }
}

#[test]
fn without_an_output_a_recording_and_its_picture_get_default_names() {
    let Some(lab) = Lab::open() else { return };
    let running = lab.start(&Program::c("split.c"), &[]);
    let recorder = lab.record().default_outputs().pid(running.pid()).duration("1s");
    let directory = recorder.directory().to_owned();
    let finished = recorder.finish().succeeded();
    let mut names: Vec<String> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("perfprobe-"));
    names.sort();
    let [recording, picture] = &names[..] else { panic!("a recording and a picture, not {names:?}") };
    assert!(recording.starts_with(&format!("perfprobe-split-{}-", running.pid())), "{recording}");
    assert_eq!(recording.strip_suffix(".perfprobe"), picture.strip_suffix(".svg"), "{names:?}");
    let said = finished.stdout + &finished.stderr;
    assert!(
        said.contains(recording.as_str()) && said.contains(picture.as_str()),
        "the files written are named in:\n{said}"
    );
    assert!(said.contains("take_seventy"), "the summary names the top functions:\n{said}");
    assert_format(&directory.join(picture), 0);
}

#[test]
fn what_was_not_asked_for_is_not_left_behind() {
    let Some(lab) = Lab::open() else { return };
    let place = lab.file("place");
    std::fs::create_dir(&place).unwrap();
    let recorder = lab.record().only_output(&place.join("only.svg")).command(&Program::c("split.c"), &["0.5"]);
    let _ = recorder.finish().succeeded();
    let names: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["only.svg"]);
}

#[test]
fn a_reader_that_stops_reading_is_no_failure_to_panic_over() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    for format in ["text", "json", "html"] {
        let arguments = ["report", path_text(&recording.path), "--format", format];
        let said = perfprobe_into_closed_pipe(&arguments);
        assert!(!said.contains("panicked"), "report --format {format}:\n{said}");
    }
}

#[test]
fn export_writes_every_format() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    for name in NAMES {
        assert_format(&export(&lab, &recording, name, &[]), recording.reported());
    }
}

#[test]
fn an_exported_recording_is_a_recording() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    let copy = export(&lab, &recording, "copy.perfprobe", &[]);
    let text = perfprobe(&lab, &["report", path_text(&copy), "--format", "json"]).succeeded().stdout;
    assert_eq!(Report::parse(&text).cpu_accounting().reported, recording.reported());
}

#[test]
fn exports_can_be_split_by_thread_and_turned_around() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    let by_thread = Folded::read(&export(&lab, &recording, "threads.folded", &["--per-thread"]));
    assert_eq!(by_thread.total(), recording.reported());
    for thread in recording.report.cpu.threads.iter().filter(|thread| thread.samples > 10) {
        let label = format!("{}/{}", thread.comm, thread.tid);
        assert_eq!(by_thread.count(|line| line.comm() == label), thread.samples, "{label} in:\n{}", by_thread.top());
    }
    let reversed = Folded::read(&export(&lab, &recording, "reversed.folded", &["--reverse"]));
    assert_eq!(reversed.total(), recording.reported());
    let leaf_first = reversed.share(|line| line.labels.starts_with(&["spin_unit", "take_seventy"].map(String::from)));
    assert!(
        (leaf_first - 70.0).abs() < 5.0,
        "{leaf_first:.1} % with callers above what they call, in:\n{}",
        reversed.top()
    );
    let _ = export(&lab, &recording, "event.folded", &["-e", "cpu"]);
}

#[test]
fn the_text_report_names_functions_shares_and_losses() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    for arguments in
        [&["report", path_text(&recording.path)][..], &["report", path_text(&recording.path), "--format", "text"]]
    {
        let text = perfprobe(&lab, arguments).succeeded().stdout;
        let reported = grouped(recording.reported());
        for word in ["take_seventy", "take_twenty", "same-0", "lost", &format!("reported {reported}")] {
            assert!(text.contains(word), "{word:?} is not in:\n{text}");
        }
    }
    let html = perfprobe(&lab, &["report", path_text(&recording.path), "--format", "html"]).succeeded().stdout;
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
    let again = report(&lab, &recording, &[]);
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
    assert_eq!(report(&lab, &recording, &["--top", "2"]).cpu.functions.len(), 2);
    let text = perfprobe(&lab, &["report", path_text(&recording.path), "--top", "1"]).succeeded().stdout;
    assert!(text.contains("spin_unit") && !text.contains("take_ten"), "only the first function in:\n{text}");
}

#[test]
fn a_report_can_be_of_one_thread_or_process() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    let thread = recording.report.cpu.threads.iter().find(|thread| thread.comm == "same-1").expect("the thread same-1");
    let tid = thread.tid.to_string();
    let of_thread = report(&lab, &recording, &["--thread", &tid]);
    assert_eq!(of_thread.thread_samples(), thread.samples);
    assert!(of_thread.cpu.threads.iter().all(|row| row.tid == thread.tid), "{:?}", of_thread.cpu.threads);
    assert_eq!(Folded::read(&export(&lab, &recording, "thread.folded", &["--thread", &tid])).total(), thread.samples);
    let of_process = report(&lab, &recording, &["--process", &thread.tgid.to_string()]);
    assert_eq!(of_process.thread_samples(), recording.reported());
}

#[test]
fn slices_of_time_add_up_to_the_whole() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("rename.c"), &["4", "first_half", "second_half"]).run();
    let early = report(&lab, &recording, &["--to", "1s"]);
    let late = report(&lab, &recording, &["--from", "3s"]);
    let middle = report(&lab, &recording, &["--from", "1s", "--to", "3s"]);
    let samples = [&early, &middle, &late].map(Report::thread_samples);
    assert_eq!(samples.iter().sum::<u64>(), recording.reported(), "{samples:?}");
    assert!(samples.iter().all(|count| *count > 100), "{samples:?}");
    assert!(early.total_of("before_rename") > 0 && early.total_of("after_rename") == 0, "{early:?}");
    assert!(late.total_of("after_rename") > 0 && late.total_of("before_rename") == 0, "{late:?}");
    let exported = Folded::read(&export(&lab, &recording, "slice.folded", &["--from", "1s", "--to", "3s"]));
    assert_eq!(exported.total(), samples[1]);
}

#[test]
fn a_recording_can_be_read_without_privileges_where_nothing_can_be_written() {
    let Some(lab) = Lab::open() else { return };
    let place = lab.file("place");
    std::fs::create_dir(&place).unwrap();
    let path = place.join("x.perfprobe");
    let _ = lab.record().only_output(&path).command(&Program::c("split.c"), &["0.5"]).finish().succeeded();
    let arguments = ["report", path_text(&path), "--format", "json"];
    let report = Report::parse(&Session::start_unprivileged(&lab, &arguments).wait().succeeded().stdout);
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
