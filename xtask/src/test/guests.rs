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
const LIMIT: Duration = Duration::from_secs(1500);

/// Runs the tests in a guest for each kernel, and holds what perfprobe finds there against what it has to find.
pub(super) fn run(choices: &[String], filter: &[String], counts: &mut Counts) -> Result<()> {
    super::build()?;
    let script = script(&executables()?, filter)?;
    let matrix = Matrix::prepare(choices)?;
    for why in &matrix.missing_required {
        println!("{why}");
        counts.failed += 1;
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
        *counts += of_kernel(run)?;
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
        Ok(code) => {
            println!("{name}: the tests ended with {code} and no failed test");
            counts.failed += 1;
        }
        Err(why) => {
            println!("{name}: no result: {why}");
            counts.failed += 1;
        }
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
