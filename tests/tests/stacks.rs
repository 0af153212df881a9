//! Stacks and names: deep, truncated, inlined, mangled, stripped, generated and kernel code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Lab, Program, Recording};

/// The frames of user space that a sample keeps.
const KEPT_FRAMES: usize = 127;

#[test]
fn a_chain_of_sixty_calls_is_whole_and_in_order() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("deep.c"), &["1.5"]).run();
    let mut chain = vec![String::from("main")];
    chain.extend((0..60).map(|number| format!("frame_{number:02}")));
    chain.extend([String::from("frame_end"), String::from("spin_unit")]);
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    let whole = recording.folded.share(|line| line.has_chain(&chain));
    assert!(whole > 97.0, "{whole:.1} % of the samples have the whole chain, in:\n{}", recording.folded.top());
    assert_eq!(truncated(&recording), 0, "no stack is too deep: {:?}", recording.report.cpu.counters);
}

#[test]
fn a_stack_deeper_than_what_is_kept_is_cut_at_its_root_and_counted() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().option("--unwind", "fp").command(&Program::c("deep.c"), &["1.5", "300"]).run();
    let dives = |line: &tests::Line| line.frames().iter().filter(|frame| *frame == "dive").count();
    let longest = recording.folded.lines.iter().map(dives).max().unwrap_or(0);
    assert!(longest >= KEPT_FRAMES - 2, "{longest} of 300 frames kept, in:\n{}", recording.folded.top());
    recording.assert_at_least("spin_unit", 95.0);
    assert!(
        truncated(&recording) as f64 > 0.9 * recording.reported() as f64,
        "counters: {:?}",
        recording.report.cpu.counters
    );
}

/// The samples whose user stack did not fit, as the report counts them.
fn truncated(recording: &Recording) -> u64 {
    let counters = recording.report.cpu.counters.iter();
    counters.filter(|(name, _)| name.contains("user") && name.contains("truncated")).map(|(_, count)| count).sum()
}

#[test]
fn inlined_functions_stand_above_the_function_they_were_inlined_into() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("inline.c"), &["1"]).run();
    let chain = ["main", "outer_real", "middle_inlined_[i]", "innermost_inlined_[i]"];
    let share = recording.folded.share(|line| line.has_chain(&chain));
    assert!(share > 95.0, "{share:.1} % of the samples have {chain:?}, in:\n{}", recording.folded.top());
}

#[test]
fn cpp_names_are_demangled() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::cpp("demangle.cpp"), &["1"]).run();
    for cell in ["int", "double"] {
        let start = format!("geometry::Grid<{cell}>::spin_cells");
        let share = recording.folded.share(|line| line.frames().iter().any(|frame| frame.starts_with(&start)));
        assert!((share - 50.0).abs() < 6.0, "{share:.1} % in {start}, in:\n{}", recording.folded.top());
    }
    assert_nothing_mangled(&recording);
}

#[test]
fn short_names_are_for_reports_and_whole_ones_for_the_recording() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().command(&Program::cpp("demangle.cpp"), &["1"]).flag("--simplify-names");
    let recording = recorder.run();
    let short = "geometry::Grid<…>::spin_cells";
    recording.assert_at_least(short, 95.0);
    let whole = recording.report_with(&lab, &[]);
    assert_eq!(whole.total_of(short), 0);
    assert!(whole.cpu.functions.iter().any(|function| function.name.starts_with("geometry::Grid<int>::spin_cells(")));
    assert_eq!(recording.report_with(&lab, &["--simplify-names"]).total_of(short), recording.report.total_of(short));
}

#[test]
fn rust_names_of_both_manglings_are_demangled() {
    let Some(lab) = Lab::open() else { return };
    for mangling in ["legacy", "v0"] {
        let flag = format!("symbol-mangling-version={mangling}");
        let flags: &[&str] = if mangling == "legacy" { &[] } else { &["-C", &flag] };
        let program = Program::rust("split.rs", &format!("split_{mangling}"), flags);
        let recording = lab.record().command(&program, &["0.7"]).run();
        recording.assert_at_least(&format!("split_{mangling}::hot::take_seventy"), 60.0);
        recording.assert_at_least(&format!("split_{mangling}::hot::spin_unit"), 90.0);
        assert_nothing_mangled(&recording);
    }
}

fn assert_nothing_mangled(recording: &Recording) {
    for function in &recording.report.cpu.functions {
        let mangled = function.name.starts_with("_Z") || function.name.starts_with("_R");
        assert!(!mangled, "{function:?} is not demangled");
    }
}

#[test]
fn code_of_a_stripped_program_is_shown_by_module_and_offset() {
    let Some(lab) = Lab::open() else { return };
    let stripped = Program::c("named.c").copy_to(lab.file("bare")).stripped();
    let recording = lab.record().command(&stripped, &["1"]).run();
    recording.assert_absent("named_work");
    let shown = |label: &String| label.starts_with('[') && label.contains("bare+0x") && label.ends_with(']');
    let leaf = recording.folded.share(|line| line.frames().last().is_some_and(shown));
    assert!(leaf > 95.0, "{leaf:.1} % of the leaves are shown as [bare+0x...], in:\n{}", recording.folded.top());
    let callers = recording.folded.share(|line| line.frames().iter().filter(|label| shown(label)).count() >= 3);
    assert!(callers > 95.0, "{callers:.1} % have spin_unit, its caller and main, in:\n{}", recording.folded.top());
    let counted: u64 = recording.report.cpu.unsymbolized.values().sum();
    assert!(
        counted >= recording.reported(),
        "frames without a symbol are counted: {:?}",
        recording.report.cpu.unsymbolized
    );
}

#[test]
fn code_generated_at_run_time_is_marked() {
    let Some(lab) = Lab::open() else { return };
    let recording = lab.record().command(&Program::c("jit.c"), &["1"]).run();
    let generated = |line: &tests::Line| {
        line.frames().windows(2).any(|pair| pair[0] == "call_generated" && pair[1].ends_with("_[j]"))
    };
    let share = recording.folded.share(generated);
    assert!(share > 95.0, "{share:.1} % of the samples are in generated code, in:\n{}", recording.folded.top());
}

#[test]
fn kernel_work_is_shown_above_the_user_function_that_asked_for_it() {
    let Some(lab) = Lab::open() else { return };
    let kernel = lab.start(&Program::c("kernel.c"), &[]);
    let meter = kernel.meter();
    let recording = lab.record().pid(kernel.pid()).duration("2s").run();
    recording.assert_cpu_time_of(meter, 5.0);
    recording.assert_at_least("pull_zeroes", 95.0);
    let in_read = |line: &tests::Line| {
        let asked = line.frames().iter().position(|frame| frame == "pull_zeroes");
        let served = line.frames().iter().position(|frame| frame.ends_with("_[k]") && frame.contains("read"));
        asked.is_some() && asked < served
    };
    let share = recording.folded.share(in_read);
    assert!(share > 75.0, "{share:.1} % of the samples read in the kernel, in:\n{}", recording.folded.top());
    for line in &recording.folded.lines {
        let first_kernel =
            line.frames().iter().position(|frame| frame.ends_with("_[k]")).unwrap_or(line.frames().len());
        let user_above = line.frames()[first_kernel..].iter().any(|frame| !frame.ends_with("_[k]"));
        assert!(!user_above, "user frames above kernel frames in {line:?}");
    }
}
