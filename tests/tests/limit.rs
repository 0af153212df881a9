//! What the report's first line says of programs of which it is known what limits them; and the table that shows while it is recorded.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Lab, Limit, Program, Recording, perfprobe};

fn recorded(lab: &Lab, program: &Program, arguments: &[&str]) -> Recording {
    lab.record().frequency(99).command(program, arguments).run()
}

fn limit(recording: &Recording) -> &Limit {
    recording.report.limit.as_ref().expect("what threads did was recorded")
}

#[test]
fn who_works_is_limited_by_the_cpu_and_who_sleeps_by_nothing() {
    let Some(lab) = Lab::open() else { return };
    let burns = recorded(&lab, &Program::c("burn.c"), &["1500"]);
    // Beside other work it waits for a CPU, which may be longer.
    let found = limit(&burns);
    assert!(["running", "waiting for a CPU"].contains(&found.what.as_str()), "{found:?}");
    assert!(found.ns > 500_000_000 && found.ns <= found.of_ns, "{found:?}");
    if found.what == "running" {
        assert!(found.place.as_deref().is_some_and(|place| ["spin_unit", "burn_work"].contains(&place)), "{found:?}");
    }
    let sleeps = recorded(&lab, &Program::c("sleeper.c"), &["2"]);
    assert_eq!(limit(&sleeps).what, "idle", "{:?}", limit(&sleeps));
    let text = perfprobe(&lab, &["report", sleeps.path_text()]).succeeded().stdout;
    let line = text.lines().find(|line| line.starts_with("Limit")).expect("a line");
    assert!(line.contains("nothing that shows"), "{line}");
}

#[test]
fn what_is_done_is_shown_meanwhile_and_recorded() {
    let Some(lab) = Lab::open() else { return };
    let folder = lab.file("files");
    std::fs::create_dir(&folder).unwrap();
    let program = Program::c("filecalls.c");
    let program = program.path().to_str().unwrap();
    let shown = perfprobe(&lab, &["io", "-o", "x.perfprobe", "--", program, "1", folder.to_str().unwrap(), "names"]);
    let shown = shown.succeeded().stderr;
    assert!(shown.contains("call on what") && shown.contains("Ctrl-C ends it, and leaves the report"), "{shown}");
    let report = perfprobe(&lab, &["report", "x.perfprobe"]).succeeded().stdout;
    for part in ["Limit ", "Files ", "Disks ", "System "] {
        assert!(report.lines().any(|line| line.starts_with(part)), "no {part}in\n{report}");
    }
}
