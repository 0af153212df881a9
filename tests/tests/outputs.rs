//! What comes out: files of every format, at the end of a recording and exported later.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::path::Path;

use serde_json::Value;
use tests::{Folded, Lab, Program, Recording, Report, perfprobe, sum_of_first_values};

/// One name for each format that is drawn from a recording.
const NAMES: [&str; 7] = ["x.svg", "x.html", "x.folded", "x.pb.gz", "x.speedscope.json", "x.json", "x.txt"];

/// Two threads with the same split.
fn record_threads(lab: &Lab) -> Recording {
    lab.record().command(&Program::c("threads.c"), &["2", "same", "2"]).run()
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
    assert!(said.contains("spin_unit"), "the summary names the top functions:\n{said}");
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
fn export_writes_every_format() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    for name in NAMES {
        assert_format(&recording.export(&lab, name, &[]), recording.reported());
    }
}

#[test]
fn an_exported_recording_is_a_recording() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    let copy = recording.export(&lab, "copy.perfprobe", &[]);
    let text = perfprobe(&lab, &["report", copy.to_str().unwrap(), "--format", "json"]).succeeded().stdout;
    assert_eq!(Report::parse(&text).cpu_accounting().reported, recording.reported());
}

#[test]
fn exports_can_be_split_by_thread_and_turned_around() {
    let Some(lab) = Lab::open() else { return };
    let recording = record_threads(&lab);
    let by_thread = Folded::read(&recording.export(&lab, "threads.folded", &["--per-thread"]));
    assert_eq!(by_thread.total(), recording.reported());
    for thread in recording.report.cpu.threads.iter().filter(|thread| thread.samples > 10) {
        let label = format!("{}/{}", thread.comm, thread.tid);
        assert_eq!(by_thread.count(|line| line.comm() == label), thread.samples, "{label} in:\n{}", by_thread.top());
    }
    let reversed = Folded::read(&recording.export(&lab, "reversed.folded", &["--reverse"]));
    assert_eq!(reversed.total(), recording.reported());
    let leaf_first = reversed.share(|line| line.labels.starts_with(&["spin_unit", "take_seventy"].map(String::from)));
    assert!(
        (leaf_first - 70.0).abs() < 5.0,
        "{leaf_first:.1} % with callers above what they call, in:\n{}",
        reversed.top()
    );
    let _ = recording.export(&lab, "event.folded", &["-e", "cpu"]);
}
