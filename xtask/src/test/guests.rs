//! The crate `tests` in guests: the same executables that run on this machine, on other kernels.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::counts::{Counts, SKIP_MARK};
use crate::vm::facts::{self, Facts};
use crate::vm::guest::quoted;
use crate::vm::matrix::{Matrix, Run};
use crate::{command, workspace};

/// No kernel's tests take this long, in emulation on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(3600);

/// What continuous integration runs in guests, where all tests would take half an hour: those that differ between kernels, by
/// program and map types, kinds of targets, privileges and settings, ways of walking stacks, and what is left behind.
const CORE: &[&str] = &[
    "two_capabilities_are_enough_for_every_kind_of_target",
    "a_cgroup_is_recorded_with_those_below_it",
    "a_name_is_recorded_also_when_no_process_has_it_yet",
    "children_forked_during_the_recording_are_part_of_the_target",
    "a_chain_of_sixty_calls_is_whole_and_in_order",
    "stacks_without_frame_pointers_are_whole",
    "kernel_work_is_shown_above_the_user_function_that_asked_for_it",
    "tiny_maps_lose_samples_and_say_so",
    "a_thread_that_waited_before_and_never_wakes_is_seen",
    "threads_that_want_one_cpu_wait_for_it_three_quarters_of_the_time",
    "every_call_and_every_error_is_counted",
    "all_events_add_up_to_what_is_counted",
    "a_cpu_that_is_away_for_less_than_a_window_is_noticed",
    "processes_whose_end_was_missed_are_forgotten",
    "a_clock_that_jumps_moves_nothing_but_the_date",
    "a_recorder_that_ends_leaves_nothing_in_the_kernel",
    "settings_of_perf_and_bpf_are_heeded_or_named",
    "a_small_limit_of_locked_memory_is_raised_or_named",
    "doctor_says_what_this_machine_allows",
];

/// Runs the tests in a guest for each kernel, and holds what perfprobe finds there against what it has to find.
pub(super) fn run(choices: &[String], filter: &[String], counts: &mut Counts) -> Result<()> {
    super::build()?;
    let core: Vec<String> = CORE.iter().map(|name| (*name).to_owned()).collect();
    let in_ci = filter.is_empty() && env::var_os("CI").is_some();
    let filter = if in_ci { &core } else { filter };
    let script = script(&executables()?, filter)?;
    let matrix = Matrix::prepare(choices)?;
    for why in &matrix.missing_required {
        counts.fail(why.clone());
    }
    for why in &matrix.missing_optional {
        println!("{SKIP_MARK} {why}");
        counts.skipped += 1;
    }
    let started = Instant::now();
    let runs = matrix.run(&script, LIMIT, &|kernel, line| {
        if !line.starts_with(facts::MARK) {
            println!("{:>5} | {line}", kernel.series);
        }
    })?;
    for run in &runs {
        counts.take(&run.kernel.release, of_kernel(run)?);
    }
    let ran =
        |name: &str| runs.iter().flat_map(|run| &run.lines).any(|line| line.starts_with(&format!("test {name} ...")));
    for name in CORE.iter().filter(|name| in_ci && !ran(name)) {
        counts.fail(format!("{name}: no kernel has run this test"));
    }
    let retried = runs.iter().filter(|run| run.retried).count();
    println!("{} kernels in {} s, {retried} started twice", runs.len(), started.elapsed().as_secs());
    Ok(())
}

/// Counts one kernel's tests and checks, and says so in a line.
fn of_kernel(run: &Run) -> Result<Counts> {
    let name = &run.kernel.release;
    let mut counts = of_tests(name, run);
    let facts = Facts::find(&run.lines);
    counts.check(name, facts.and_then(|facts| facts.check(&run.column)));
    println!("{name}: {counts} ({} s)", run.took.as_secs());
    Ok(counts)
}

/// Counts the tests of one guest.
pub(super) fn of_tests(name: &str, run: &Run) -> Counts {
    let mut counts = Counts::default();
    run.lines.iter().for_each(|line| counts.add(line));
    match &run.ended.code {
        Ok(0) => {}
        Ok(_) if counts.failed > 0 => {}
        Ok(code) => counts.fail(format!("{name}: the tests ended with {code} and no failed test")),
        Err(why) => counts.fail(format!("{name}: no result: {why}")),
    }
    counts
}

/// The test programs of the crate `tests`, built.
pub(super) fn executables() -> Result<Vec<PathBuf>> {
    let mut cargo = command::cargo();
    cargo.args(["test", "-p", "tests", "--no-run", "--message-format=json"]);
    let messages = command::read(&mut cargo)?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        // Examples are programs that tests record.
        message.get("profile")?.get("test")?.as_bool().filter(|is_test| *is_test)?;
        message.get("executable")?.as_str().map(PathBuf::from)
    };
    Ok(messages.lines().filter_map(executable).collect())
}

/// What a guest runs: facts first, then every test program, whatever became of the one before.
pub(super) fn script(executables: &[PathBuf], filter: &[String]) -> Result<String> {
    let mut script = String::new();
    // What is a failure in continuous integration is one in its guests.
    for name in ["CI", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Ok(value) = env::var(name) {
            script.push_str(&format!("export {name}={}\n", quoted(&value)));
        }
    }
    let binary = super::binary();
    let binary = binary.to_str().context("the path of perfprobe is not UTF-8")?;
    script.push_str(&format!("export PERFPROBE={}\n{}\nfailed=0\n", quoted(binary), facts::script(binary)));
    script.push_str(&format!("cd {}\n", quoted(&workspace::root().join("tests").display().to_string())));
    let filter: String = filter.iter().map(|word| format!(" {}", quoted(word))).collect();
    for executable in executables {
        let executable = quoted(&executable.display().to_string());
        script.push_str(&format!("{executable} --test-threads=1 --show-output --color=never{filter} || failed=1\n"));
    }
    script.push_str("exit $failed\n");
    Ok(script)
}
