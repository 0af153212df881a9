//! Every format against the same profile, and against other programs that read it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::io::Read;
use std::process::Command;

use prost::Message;
use serde_json::Value;

use super::pprof::proto;
use super::*;
use crate::profile::Timeline;
use crate::report::fixture::{Builder, profile};

fn bytes(format: Format, profile: &Profile, options: &ExportOptions) -> Vec<u8> {
    let mut out = Vec::new();
    write(format, profile, options, &mut out).unwrap();
    out
}

fn text(format: Format, profile: &Profile, options: &ExportOptions) -> String {
    String::from_utf8(bytes(format, profile, options)).unwrap()
}

fn plain() -> ExportOptions {
    ExportOptions::default()
}

#[test]
fn names_tell_the_format() {
    for (name, format) in [
        ("a.perfprobe", Format::Recording),
        ("a.svg", Format::Svg),
        ("dir.svg/a.HTML", Format::Html),
        ("a.folded", Format::Folded),
        ("a.pb.gz", Format::Pprof),
        ("a.speedscope.json", Format::Speedscope),
        ("a.firefox.json", Format::Firefox),
        ("a.trace.json", Format::Trace),
        ("a.heat.html", Format::Heat),
        ("a.json", Format::Json),
        (".txt", Format::Text),
    ] {
        assert_eq!(Format::from_path(Path::new(name)).unwrap(), format, "{name}");
    }
    let error = Format::from_path(Path::new("profile.png")).unwrap_err().to_string();
    assert!(error.contains("profile.png"), "{error}");
    for format in Format::ALL {
        assert!(error.contains(format.extension()), "{error}");
    }
    assert!(Format::from_path(Path::new("svg")).is_err());
}

#[test]
fn folded_lines_are_a_stack_and_a_count() {
    assert_eq!(
        text(Format::Folded, &profile(), &plain()),
        "node 10\n\
         node;Interpreter;render<T>(a & b)_[j] 140\n\
         server;main;parse;skip_[i];memchr_[i] 150\n\
         server;main;serve;read;entry_SYSCALL_64_[k];vfs_read_[k] 400\n\
         server;main;walk;walk;walk 100\n\
         worker: 1;main;walk 50\n\
         worker: 1;start;[libcrypto.so.3+0x1f2a0] 120\n\
         worker: 1;start;[libcrypto.so.3+0x2000] 30\n"
    );
    let options = ExportOptions { per_thread: true, reverse: true, ..plain() };
    let reversed = text(Format::Folded, &profile(), &options);
    assert!(reversed.contains("memchr_[i];skip_[i];parse;main;server/1234 150\n"), "{reversed}");
    let awkward = Builder::new().sample((1, 1, "a"), &["f\ng 12", "[u8; 8]"], 3).build();
    assert_eq!(text(Format::Folded, &awkward, &plain()), "a;f g 12;[u8: 8] 3\n");
}

#[test]
fn the_picture_has_its_facts() {
    let svg = text(Format::Svg, &profile(), &plain());
    assert!(svg.contains(">CPU flame graph: server (pid 1234)<"));
    assert!(svg.contains(">web-1: 1,000 samples at 99 Hz over 10.0 s, 12 lost (1.2%)<"));
    assert!(svg.contains("<title>vfs_read (400 samples, 40.00%)</title>"));
    assert!(svg.contains("WARNING: cpu: 12 of 1,012 samples"));
    let mut slice = profile();
    slice.series[0].samples.truncate(1);
    assert!(text(Format::Svg, &slice, &plain()).contains(">web-1: 400 of 1,000 samples at 99 Hz"));
    let semicolon = Builder::new().sample((1, 1, "a"), &["drop<[u8; 8]>"], 3).build();
    assert!(text(Format::Svg, &semicolon, &plain()).contains("<title>drop&lt;[u8; 8]&gt; (3 samples"));
    let empty = text(Format::Svg, &Builder::new().build(), &plain());
    assert!(empty.contains("No sample hit the target in 10.0 s"), "{empty}");
}

#[test]
fn the_page_has_picture_and_tables() {
    let html = text(Format::Html, &profile(), &plain());
    for part in [
        "<title>CPU flame graph: server (pid 1234)</title>",
        "taken 1,012 = reported 1,000 + lost 12 (1.2%)",
        "<title>vfs_read (400 samples, 40.00%)</title>",
        "<td class=\"function\">render&lt;T&gt;(a &amp; b)</td>",
        "<td class=\"number\">12</td><td>ring full</td>",
        "<td>no name: no symbol table</td>",
        "<td>user stack truncated</td>",
        "at most 35.2 MiB of memory",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("src=\"http") && !html.contains("href=\"http"), "self-contained");
    assert!(text(Format::Html, &Builder::new().build(), &plain()).contains("No sample hit the target"));
}

fn decoded(profile: &Profile) -> proto::Profile {
    let compressed = bytes(Format::Pprof, profile, &plain());
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(compressed.as_slice()).read_to_end(&mut raw).unwrap();
    proto::Profile::decode(raw.as_slice()).unwrap()
}

#[test]
fn pprof_keeps_every_sample() {
    let decoded = decoded(&profile());
    let text = |index: i64| decoded.string_table[index as usize].as_str();
    let types: Vec<_> = decoded.sample_type.iter().map(|value| (text(value.r#type), text(value.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!(decoded.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), 1_000);
    assert_eq!(decoded.sample.iter().map(|sample| sample.value[1]).sum::<i64>(), 1_000 * 10_101_010);
    assert_eq!((decoded.period, decoded.duration_nanos), (10_101_010, 10_000_000_000));
    assert_eq!(decoded.time_nanos, 1_735_787_045_000_000_000);
    assert_eq!(text(decoded.mapping[0].filename), "/usr/bin/server", "the program is the first mapping");
    assert!(decoded.comment.iter().any(|comment| text(*comment).contains("lost 12 (1.2%)")));
    for location in &decoded.location {
        let mapping = decoded.mapping.iter().find(|mapping| mapping.id == location.mapping_id).unwrap();
        assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address));
    }
    let labels: HashMap<_, _> = decoded.sample[0].label.iter().map(|label| (text(label.key), label)).collect();
    assert_eq!((text(labels["thread"].str), labels["tid"].num, labels["tgid"].num), ("server", 1234, 1234));
}

#[test]
fn pprof_has_inlined_frames_as_lines_of_their_location() {
    let decoded = decoded(&profile());
    let name = |line: &proto::Line| {
        let function = decoded.function.iter().find(|function| function.id == line.function_id).unwrap();
        decoded.string_table[function.name as usize].as_str()
    };
    let lines: Vec<Vec<_>> = decoded.location.iter().map(|location| location.line.iter().map(name).collect()).collect();
    assert!(lines.contains(&vec!["memchr", "skip", "parse"]), "{lines:?}");
    assert!(lines.contains(&vec!["walk"]) && lines.contains(&vec!["main"]), "{lines:?}");
    let sample = decoded.sample.iter().find(|sample| sample.value[0] == 100).unwrap();
    assert_eq!(sample.location_id.len(), 4, "recursion stays: walk, walk, walk, main");
}

/// `go tool pprof -top` on our file against the report. Skips, loudly, where Go is not installed.
#[test]
fn pprof_reads_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile.pb.gz");
    std::fs::write(&file, bytes(Format::Pprof, &profile(), &plain())).unwrap();
    let top = ["-top", "-sample_index=samples", "-nodefraction=0", "-symbolize=none"];
    let tools: [&[&str]; 2] = [&["go", "tool", "pprof"], &["pprof"]];
    let run = |tool: &&[&str]| Command::new(tool[0]).args(&tool[1..]).args(top).arg(&file).output().ok();
    let Some(output) = tools.iter().filter_map(run).find(|output| output.status.success()) else {
        eprintln!("SKIPPED: neither `go tool pprof` nor `pprof` is there to read the file");
        return;
    };
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.contains("File: server"), "{output}");
    assert!(output.contains("Duration: 10s, Total samples = 1000"), "{output}");
    let row = |name: &str| {
        let line = output.lines().find(|line| line.split_whitespace().nth(5) == Some(name)).unwrap();
        let column = |index: usize| line.split_whitespace().nth(index).unwrap().parse::<u64>().unwrap();
        (column(0), column(3))
    };
    let report = report(&profile(), &ReportOptions::default());
    for name in ["main", "walk", "vfs_read", "parse", "start", "serve"] {
        let function = report.series["cpu"].functions.iter().find(|function| function.name == name).unwrap();
        assert_eq!(row(name), (function.self_value, function.total), "{name} in\n{output}");
    }
}

#[test]
fn speedscope_has_shared_frames_and_weights() {
    let whole: Value = serde_json::from_slice(&bytes(Format::Speedscope, &profile(), &plain())).unwrap();
    let frames = whole["shared"]["frames"].as_array().unwrap();
    let profiles = whole["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 1);
    assert_eq!(profiles[0]["unit"], "nanoseconds");
    assert_eq!(profiles[0]["endValue"], 1_000 * 10_101_010_u64);
    let samples = profiles[0]["samples"].as_array().unwrap();
    assert_eq!(samples.len(), profiles[0]["weights"].as_array().unwrap().len());
    let names = |sample: &Value| -> Vec<String> {
        let indices = sample.as_array().unwrap().iter();
        indices.map(|index| frames[index.as_u64().unwrap() as usize]["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&samples[1]), ["server", "main", "walk", "walk", "walk"]);
    let unique: std::collections::HashSet<_> = frames.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), frames.len());

    let options = ExportOptions { per_thread: true, ..plain() };
    let threads: Value = serde_json::from_slice(&bytes(Format::Speedscope, &profile(), &options)).unwrap();
    let threads = threads["profiles"].as_array().unwrap();
    let names: Vec<_> = threads.iter().map(|thread| thread["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["server/1234", "worker; 1/1240", "node/99"]);
    let sum: u64 = threads.iter().map(|thread| thread["endValue"].as_u64().unwrap()).sum();
    assert_eq!(sum, 1_000 * 10_101_010);

    let empty: Value = serde_json::from_slice(&bytes(Format::Speedscope, &Builder::new().build(), &options)).unwrap();
    assert_eq!(empty["profiles"][0]["endValue"], 0);
}

#[test]
fn reports_are_outputs() {
    let json: Value = serde_json::from_slice(&bytes(Format::Json, &profile(), &plain())).unwrap();
    assert_eq!(json["cpu"]["selected"], 1_000);
    let event = ExportOptions { event: Some("cpu".into()), top: Some(1), ..plain() };
    assert!(text(Format::Text, &profile(), &event).contains("and 12 more functions"));
}

#[test]
fn wrong_events_and_formats_are_refused() {
    let options = ExportOptions { event: Some("offcpu".into()), ..plain() };
    for format in Format::ALL {
        let profile = Profile { timeline: Some(Timeline::default()), ..profile() };
        let error = write(format, &profile, &options, &mut Vec::new()).unwrap_err().to_string();
        let expected = if format == Format::Recording { "perfprobe record" } else { "`offcpu`; it holds: cpu" };
        assert!(error.contains(expected), "{format:?}: {error}");
    }
    let error = write(Format::Svg, &Profile::default(), &plain(), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, OutputError::NoEvents));
}

/// Writes every format to the folder in `PERFPROBE_SAMPLES`, for eyes and for other programs.
#[test]
fn samples_for_looking_at() {
    let Some(folder) = std::env::var_os("PERFPROBE_SAMPLES") else { return };
    for format in Format::ALL.into_iter().skip(1) {
        let name = format!("sample{}", format.extension());
        std::fs::write(Path::new(&folder).join(name), bytes(format, &profile(), &plain())).unwrap();
    }
}
