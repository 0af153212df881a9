//! What the report must count, say and warn of.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::fixture::{Builder, profile};
use super::*;
use crate::{
    collect::NANOSECONDS,
    profile::{Frame, FrameId, Sample, Series, StackId, ThreadIndex},
};

const MAIN: (u32, u32, &str) = (1, 1, "server");

fn function<'a>(report: &'a Report, name: &str) -> &'a FunctionReport {
    report.series["cpu"].functions.iter().find(|function| function.name == name).unwrap()
}

fn figures(report: &Report, name: &str) -> (u64, u64) {
    let function = function(report, name);
    (function.self_value, function.total)
}

fn full(profile: &Profile) -> Report {
    report(profile, &ReportOptions::default())
}

#[test]
fn self_and_total_are_counted_once_a_sample() {
    let report = full(&profile());
    assert_eq!(figures(&report, "main"), (0, 700));
    assert_eq!(figures(&report, "walk"), (150, 150), "three frames of one sample count once");
    assert_eq!(figures(&report, "vfs_read"), (400, 400));
    assert_eq!(function(&report, "vfs_read").kind, FrameKind::Kernel);
    assert_eq!(figures(&report, "memchr"), (150, 150));
    assert_eq!(figures(&report, "skip"), (0, 150));
    assert_eq!(function(&report, "memchr").kind, FrameKind::Inlined);
    let cpu = &report.series["cpu"];
    assert_eq!(cpu.selected, 1_000);
    assert_eq!(cpu.functions.iter().map(|function| function.self_value).sum::<u64>() + cpu.without_stack, 1_000);
    assert!(cpu.functions.is_sorted_by_key(|function| std::cmp::Reverse((function.self_value, function.total))));
}

#[test]
fn frames_without_a_name_count_for_their_module() {
    let report = full(&profile());
    assert_eq!(figures(&report, "[libcrypto.so.3]"), (150, 150));
    assert!(!function(&report, "[libcrypto.so.3]").symbolized);
    let cpu = &report.series["cpu"];
    assert_eq!((cpu.frames_unnamed, cpu.without_stack), (150, 10));
    assert_eq!(cpu.frames, 400 * 5 + 100 * 4 + 150 * 4 + 50 * 2 + 150 * 2 + 140 * 2);
    let module = String::from("/usr/lib/libcrypto.so.3");
    assert_eq!(cpu.unsymbolized_modules, [ModuleReport { module, frames: 150 }]);
}

#[test]
fn threads_and_processes_are_ordered_by_samples() {
    let report = full(&profile());
    let cpu = &report.series["cpu"];
    let threads: Vec<_> = cpu.threads.iter().map(|thread| (thread.tid, thread.comm.as_str(), thread.samples)).collect();
    assert_eq!(threads, [(1234, "server", 650), (1240, "worker; 1", 200), (99, "node", 150)]);
    let processes: Vec<_> =
        cpu.processes.iter().map(|process| (process.tgid, process.threads, process.samples)).collect();
    assert_eq!(processes, [(1234, 2, 850), (99, 1, 150)]);
}

#[test]
fn lists_are_cut_and_say_so() {
    let report = report(&profile(), &ReportOptions { top: Some(2) });
    let cpu = &report.series["cpu"];
    assert_eq!((cpu.functions.len(), cpu.functions_omitted), (2, 11));
    assert_eq!((cpu.threads.len(), cpu.threads_omitted), (2, 1));
    assert_eq!((cpu.processes.len(), cpu.processes_omitted), (2, 0));
    assert!(report.to_string().contains("and 11 more functions"));
}

#[test]
fn json_has_the_documented_form() {
    let json = serde_json::to_value(full(&profile())).unwrap();
    assert_eq!(json["schema"], "perfprobe.report/1");
    assert_eq!(json["recording"]["duration_ns"], 10_000_000_000_u64);
    assert_eq!(json["accounting"]["cpu"]["taken"], 1_012);
    assert_eq!(json["accounting"]["cpu"]["lost"]["ring_full"], 12);
    assert_eq!(json["overhead"]["bpf_runs"], 9_900);
    assert_eq!(json["cpu"]["source"], "cpu-clock");
    assert_eq!(json["cpu"]["functions"][0]["self"], 400);
    assert_eq!(json["cpu"]["functions"][0]["kind"], "kernel");
    assert_eq!(json["cpu"]["threads"][0]["tid"], 1234);
    assert_eq!(json["cpu"]["unsymbolized"]["no_symbol_table"], 150);
    assert_eq!(json["cpu"]["counters"]["user_stack_truncated"], 3);
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    // Every field, by the document that describes them.
    let document = include_str!("../../../docs/report-json.md");
    for object in [
        &json,
        &json["cpu"],
        &json["cpu"]["functions"][0],
        &json["cpu"]["processes"][0],
        &json["recording"],
        &json["overhead"],
    ] {
        for name in object.as_object().unwrap().keys() {
            assert!(document.contains(&format!("`{name}`")), "`{name}` is not described in docs/report-json.md");
        }
    }
}

#[test]
fn the_text_fits_a_screen() {
    let text = report(&profile(), &ReportOptions { top: Some(20) }).to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line:?}");
    }
    assert!(text.lines().count() < 50, "{text}");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/report/golden.txt");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap(), "run with UPDATE_GOLDENS=1 and look at `git diff`");
}

#[test]
fn generated_code_without_a_name_comes_with_the_remedy() {
    let mut profile = profile();
    assert!(!full(&profile).to_string().contains("--java-map"));
    profile.series[0].unsymbolized.insert("generated code".into(), 100);
    let text = full(&profile).to_string();
    assert!(text.contains("node --perf-basic-prof") && text.contains("--java-map"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn stripped_files_come_with_the_remedy() {
    let mut profile = profile();
    assert!(!full(&profile).to_string().contains("--debug-dir"));
    profile.series[0].unsymbolized.insert("file is stripped".into(), 100);
    let text = full(&profile).to_string();
    assert!(text.contains("--debug-dir") && text.contains("--debuginfod"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

/// The profile with its samples as waits of a nanosecond each, and what a thread did.
fn waits() -> Profile {
    let mut profile = profile();
    let (names, kind) = (["running", "blocked"], FrameKind::Wait);
    let mut sched = Series { event: "sched".into(), unit: NANOSECONDS.into(), period_ns: 1, ..Series::default() };
    for (name, value) in names.into_iter().zip([10_000_000, 400_000_000_000]) {
        let (function, frame) = (profile.strings.intern(name), FrameId(profile.frames.len() as u32));
        profile.frames.push(Frame { function, kind, symbolized: true, ..profile.frames[0] });
        let stack = profile.stacks.push(StackId::EMPTY, frame);
        sched.samples.push(Sample { window_ns: 0, thread: ThreadIndex(0), stack, value });
    }
    let series = &mut profile.series[0];
    (series.event, series.unit, series.period_ns) = ("offcpu".into(), NANOSECONDS.into(), 1);
    profile.series.push(sched);
    profile
}

#[test]
fn times_fit_a_screen_and_unnamed_frames_are_shares_of_frames() {
    let mut profile = waits();
    profile.series[0].unsymbolized.insert("file is stripped".into(), 5_000_000_000);
    let report = full(&profile);
    let text = report.to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line:?}");
    }
    let line = text.lines().find(|line| line.ends_with("blocked 100.0%")).unwrap();
    assert!(line.trim_start().starts_with("6 min 40 s   <0.1%"), "{line}");
    let stripped = text.lines().find(|line| line.trim_end().ends_with("  file is stripped")).unwrap();
    assert!(stripped.contains('%'), "{stripped}");
}

#[test]
fn a_stack_ends_early_once_and_gaps_between_python_frames_are_no_ends() {
    let (end, gap) = ("[unwound no further: no unwind information]", "[native frames not known]");
    let mut builder = Builder::new().sample(MAIN, &["main"], 800).sample(MAIN, &[gap, "run", gap, "work", "read"], 100);
    builder = builder.sample(MAIN, &["run", gap, "work", end, "read"], 50);
    for (at, why) in ["stack memory not readable", "stack pointer goes backwards"].into_iter().enumerate() {
        builder = builder.sample(MAIN, &[&format!("[unwound no further: {why}]"), "read"], 20 - at as u64);
    }
    for why in ["return address outside of code", "more frames than are kept"] {
        builder = builder.sample(MAIN, &[&format!("[unwound no further: {why}]"), "read"], 5);
    }
    let report = full(&builder.build());
    let ends: Vec<_> =
        report.series["cpu"].walk_ends.iter().map(|end| (end.why.as_str(), end.samples)).take(2).collect();
    assert_eq!(ends, [("no unwind information", 50), ("stack memory not readable", 20)]);
    let text = report.to_string();
    assert!(text.contains("9.9% end early:") && text.contains("10  otherwise, or elsewhere"), "{text}");
}

#[test]
fn nothing_sampled_is_said_plainly() {
    let text = full(&Builder::new().build()).to_string();
    assert!(text.contains("taken 0 = reported 0 + lost 0"), "{text}");
    assert!(text.contains("No sample hit the target in 10.0 s"), "{text}");
    assert!(!text.contains("self %") && !text.contains("NaN") && !text.contains("WARNING"), "{text}");
    assert!(text.contains("show where.\n") && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let text = full(&Builder::new().lost("ring_full", 7).build()).to_string();
    assert!(text.contains("All 7 samples that were taken were lost."), "{text}");
    let text = full(&Profile::default()).to_string();
    assert!(text.contains("The recording holds no events."), "{text}");
}

#[test]
fn a_slice_does_not_pose_as_the_whole() {
    let mut profile = profile();
    profile.series[0].samples.truncate(1);
    let text = full(&profile).to_string();
    assert!(text.contains("all below is about 400 of them, 40.0% of what was reported"), "{text}");
    assert!(text.contains("4.0 s of CPU time") && !text.contains("on average"), "{text}");
    profile.series[0].samples.clear();
    let text = full(&profile).to_string();
    assert!(text.contains("none of the 1,000 samples of the recording pass them"), "{text}");
}

#[test]
fn doubts_are_warnings() {
    let mut profile = Builder::new().sample(MAIN, &["main"], 90).lost("ring_full", 10).build();
    profile.recording.complete = false;
    profile.recording.warnings.push("CPU 3 came online after the start and was not sampled".into());
    profile.series[0].accounting.taken += 1;
    let warnings = full(&profile).warnings;
    for (warning, part) in warnings.iter().zip([
        "CPU 3 came online",
        "the recording is not closed",
        "does not balance: taken 101 but reported 90 + lost 10",
        "10 of 101 samples (9.9%) were lost",
        "only 90 samples: a share can be off by ±10 points",
    ]) {
        assert!(warning.contains(part), "{warning}");
    }
    assert_eq!(warnings.len(), 5);
    let quiet = Builder::new().sample(MAIN, &["main"], 9_900).lost("ring_full", 99).build();
    assert_eq!(full(&quiet).warnings, Vec::<String>::new(), "below 1 % the accounting line is enough");
}

#[test]
fn cpu_use_includes_what_was_lost() {
    let profile = Builder::new().sample(MAIN, &["main"], 900).lost("ring_full", 90).build();
    let text = full(&profile).to_string();
    assert!(text.contains("9.1 s of CPU time (900 samples x 10.1 ms) = 1.00 of 4 CPUs, counting the lost"), "{text}");
}
