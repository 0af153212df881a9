//! The formats of single events: small ones whole, and what must hold of the tables of large ones.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;

use super::*;
use crate::profile::{Moment, StackId, ThreadIndex, Timeline};
use crate::report::fixture::{Builder, profile};

const MS: u64 = 1_000_000;

/// A thread that is sampled twice, sleeps for 30 ms, and waits half a millisecond for a CPU.
fn small() -> Profile {
    let mut profile = Builder::new()
        .sample((7, 7, "a \"b\""), &["main", "work"], 2)
        .sample((7, 7, "a \"b\""), &["main", "nap", "do_nanosleep_[k]", "sleep_[w]"], 30 * MS)
        .sample((7, 7, "a \"b\""), &["main", "nap", "do_nanosleep_[k]", "waiting for a CPU_[w]"], MS / 2)
        .build();
    let mut off = profile.series[0].clone();
    let moment = |start_ns, length_ns, stack: StackId| Moment { start_ns, length_ns, thread: ThreadIndex(0), stack };
    let [ran, slept, late] = [0, 1, 2].map(|at| profile.series[0].samples[at].stack);
    off.event = "offcpu".into();
    off.unit = "nanoseconds".into();
    off.samples.remove(0);
    profile.series[0].samples.truncate(1);
    profile.series[0].moments = vec![moment(MS, 0, ran), moment(11 * MS, 0, ran)];
    off.moments = vec![moment(12 * MS + 1, 30 * MS, slept), moment(42 * MS + 1, MS / 2, late)];
    profile.series.push(off);
    profile.timeline = Some(Timeline { min_ns: MS, from_ns: 0, to_ns: 50 * MS, ..Timeline::default() });
    profile
}

fn text(format: Format, profile: &Profile, options: &ExportOptions) -> String {
    let mut out = Vec::new();
    write(format, profile, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn trace_events_are_waits_and_samples() {
    let text = text(Format::Trace, &small(), &ExportOptions::default());
    let (_, events) = text.split_once("\"traceEvents\":[\n").unwrap();
    assert_eq!(
        events,
        "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":7,\"tid\":7,\"ts\":0,\"args\":{\"name\":\"server\"}},\n\
         {\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":7,\"tid\":7,\"ts\":0,\"args\":{\"name\":\"a \\\"b\\\"\"}},\n\
         {\"ph\":\"X\",\"cat\":\"wait\",\"name\":\"sleep\",\"pid\":7,\"tid\":7,\"ts\":12000.001,\"dur\":30000.000,\"sf\":5,\
         \"args\":{\"function\":\"do_nanosleep\"}},\n\
         {\"ph\":\"X\",\"cat\":\"wait\",\"name\":\"waiting for a CPU\",\"pid\":7,\"tid\":7,\"ts\":42000.001,\"dur\":500.000,\"sf\":6,\
         \"args\":{\"function\":\"do_nanosleep\"}},\n\
         {\"ph\":\"i\",\"s\":\"t\",\"cat\":\"sample\",\"name\":\"work\",\"pid\":7,\"tid\":7,\"ts\":1000.000,\"sf\":2},\n\
         {\"ph\":\"i\",\"s\":\"t\",\"cat\":\"sample\",\"name\":\"work\",\"pid\":7,\"tid\":7,\"ts\":11000.000,\"sf\":2}\n]}\n"
    );
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["stackFrames"]["2"]["parent"], "1");
    assert_eq!(file["stackFrames"]["1"].get("parent"), None);
}

/// The columns of a table: all as long as it says. A number in them, if there is a bound, is below it.
fn check_table(table: &Value, columns: &[(&str, Option<usize>)]) -> usize {
    let length = table["length"].as_u64().unwrap() as usize;
    for (name, bound) in columns {
        let column = table[name].as_array().unwrap_or_else(|| panic!("no column {name} in {table}"));
        assert_eq!(column.len(), length, "{name} in {table}");
        let numbers = column.iter().filter(|value| !value.is_null());
        for (value, bound) in
            numbers.zip(std::iter::repeat(bound)).filter_map(|(value, bound)| Some((value, (*bound)?)))
        {
            assert!(value.as_u64().is_some_and(|value| value < bound as u64), "{name}: {value} of {bound}");
        }
    }
    length
}

/// What `src/types/profile.ts` asks for, as far as the viewer would stumble over it.
fn check_firefox(file: &Value) {
    let (meta, shared) = (&file["meta"], &file["shared"]);
    assert_eq!((meta["version"].as_u64(), meta["preprocessedProfileVersion"].as_u64()), (Some(24), Some(62)));
    let categories = meta["categories"].as_array().unwrap();
    let colours = [
        "grey",
        "yellow",
        "orange",
        "green",
        "blue",
        "red",
        "purple",
        "brown",
        "magenta",
        "lightred",
        "lightblue",
        "darkgrey",
    ];
    for category in categories {
        assert!(colours.contains(&category["color"].as_str().unwrap()), "{category}");
        assert_eq!(category["subcategories"][0], "Other");
    }
    assert_eq!(categories[0]["color"], "grey", "one has to be");
    let libs = file["libs"].as_array().unwrap().len();
    let texts: Vec<&str> =
        shared["stringArray"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(texts.iter().collect::<std::collections::BTreeSet<_>>().len(), texts.len(), "each text once");
    let (strings, any) = (Some(texts.len()), None);
    let sources = check_table(
        &shared["sources"],
        &[("filename", strings), ("id", any), ("startLine", any), ("startColumn", any), ("sourceMapURL", any)],
    );
    check_table(&shared["nativeSymbols"], &[("libIndex", any), ("address", any), ("name", any), ("functionSize", any)]);
    check_table(&shared["resourceTable"], &[("lib", Some(libs)), ("name", strings), ("host", any), ("type", any)]);
    let functions = check_table(
        &shared["funcTable"],
        &[
            ("name", strings),
            ("isJS", any),
            ("relevantForJS", any),
            ("resource", any),
            ("source", Some(sources)),
            ("lineNumber", any),
            ("columnNumber", any),
        ],
    );
    let frames = check_table(
        &shared["frameTable"],
        &[
            ("address", any),
            ("inlineDepth", any),
            ("category", Some(categories.len())),
            ("subcategory", Some(1)),
            ("func", Some(functions)),
            ("nativeSymbol", any),
            ("innerWindowID", any),
            ("line", any),
            ("column", any),
        ],
    );
    let stacks = check_table(&shared["stackTable"], &[("frame", Some(frames)), ("prefix", any)]);
    for (at, prefix) in shared["stackTable"]["prefix"].as_array().unwrap().iter().enumerate() {
        assert!(prefix.is_null() || prefix.as_u64().unwrap() < at as u64, "callers come first");
    }
    for thread in file["threads"].as_array().unwrap() {
        assert!(thread["pid"].is_string() && thread["isMainThread"].is_boolean(), "{thread}");
        check_table(
            &thread["samples"],
            &[("stack", Some(stacks)), ("timeDeltas", any), ("weight", Some(2)), ("threadCPUDelta", any)],
        );
        check_table(
            &thread["markers"],
            &[
                ("data", any),
                ("name", strings),
                ("startTime", any),
                ("endTime", any),
                ("phase", Some(4)),
                ("category", Some(categories.len())),
            ],
        );
    }
}

#[test]
fn firefox_tracks_have_samples_and_waits() {
    let file: Value = serde_json::from_str(&text(Format::Firefox, &small(), &ExportOptions::default())).unwrap();
    check_firefox(&file);
    let thread = &file["threads"][0];
    assert_eq!((thread["name"].as_str(), thread["processName"].as_str()), (Some("a \"b\""), Some("server")));
    let samples = &thread["samples"];
    assert_eq!(samples["weight"].to_string(), "[1,1,0,0,0,0]");
    assert_eq!(samples["timeDeltas"].to_string(), "[1.0,10.0,1.000001,30.0,0.0,0.5]");
    // The first has nothing before it; then it ran until it waited.
    assert_eq!(samples["threadCPUDelta"].to_string(), "[0,10000000,1000001,0,0,0]");
    let markers = &thread["markers"];
    let name = |at: usize| file["shared"]["stringArray"][markers["name"][at].as_u64().unwrap() as usize].clone();
    assert_eq!((name(0), name(1)), ("sleep".into(), "waiting for a CPU".into()));
    assert_eq!(
        (markers["startTime"].to_string(), markers["endTime"].to_string()),
        ("[12.000001,42.000001]".into(), "[42.000001,42.500001]".into())
    );
    let category = markers["category"][1].as_u64().unwrap() as usize;
    assert_eq!(file["meta"]["categories"][category]["color"], "red");
}

#[test]
fn files_without_events_are_whole_too() {
    let none = Profile { timeline: Some(Timeline::default()), ..profile() };
    check_firefox(&serde_json::from_str(&text(Format::Firefox, &none, &ExportOptions::default())).unwrap());
    let trace: Value = serde_json::from_str(&text(Format::Trace, &none, &ExportOptions::default())).unwrap();
    assert_eq!(trace["traceEvents"].as_array().unwrap().len(), 0);
    let cpu = ExportOptions { event: Some("cpu".into()), ..ExportOptions::default() };
    assert!(!text(Format::Trace, &small(), &cpu).contains("\"ph\":\"X\""), "only what was asked for");
    assert!(text(Format::Heat, &none, &cpu).contains("CPU heat map: server (pid 1234)"));
}

#[test]
fn a_page_of_years_is_refused() {
    let mut long = small();
    long.timeline = Some(Timeline { to_ns: u64::MAX, ..Timeline::default() });
    let error = write(Format::Heat, &long, &ExportOptions::default(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("seconds are more than a page can hold"), "{error}");
}

#[test]
fn recordings_of_sums_are_refused_with_the_remedy() {
    for format in Format::ALL.into_iter().filter(|format| format.needs_moments()) {
        let error = write(format, &profile(), &ExportOptions::default(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("record with --timeline"), "{error}");
    }
}
