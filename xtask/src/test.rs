//! `cargo xtask test`: everything that has to pass, on a fresh machine, ending in one line of counts.

use std::env;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, deny, ebpf, fuzz, install, lint, mounts, pins, toolchain, workspace};

/// What the tests compile with, profile, and check results with: a browser for pictures, Go for its `pprof`.
const PACKAGES: &[&str] =
    &["gcc", "g++", "libc6-dev", "binutils", "util-linux", "chromium", "golang-go", "python3", "sqlite3"];
/// What starts a test program: a script's background job ignores these signals, and what the tests start would inherit that.
const RUNNER: &str = "env --default-signal=INT,QUIT,HUP";
/// A test that cannot run here prints a line that begins so, with the reason behind it, and returns.
const SKIP_MARK: &str = "SKIPPED:";

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the unit tests of the crates
    #[arg(long, conflicts_with = "integration")]
    unit: bool,
    /// Only the crate `tests`, against the release binary
    #[arg(long)]
    integration: bool,
    /// Then feed every fuzz target hostile input for so many seconds
    #[arg(long, value_name = "SECONDS")]
    fuzz: Option<u64>,
    /// Only tests whose name contains one of these
    #[arg(last = true)]
    filter: Vec<String>,
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs the asked parts to their end; fails when anything in them failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = !args.unit && !args.integration;
    let mut counts = Counts::default();
    if command::find("apt-get").is_some() {
        // Tests that need one of them then say so themselves.
        if let Err(error) = install::packages(PACKAGES, "the tests") {
            println!("warning: {error:#}");
        }
    }
    if all && args.filter.is_empty() {
        counts.check("lint", lint::run(&lint::Args::default()));
    }
    if all || args.unit {
        let mut tests = command::cargo();
        tests
            .args(["test", "--workspace", "--exclude", "tests", "--no-fail-fast", "--", "--show-output"])
            .args(&args.filter);
        counts.tests("unit tests", &mut tests)?;
    }
    if all || args.integration {
        integration(&args.filter, &mut counts)?;
    }
    if all && args.filter.is_empty() {
        check_object(&mut counts);
        check_dependencies(&mut counts);
    }
    if let Some(seconds) = args.fuzz {
        counts.check("fuzz", fuzz::run(&fuzz::Args { seconds, targets: Vec::new() }));
    }
    println!("{counts}");
    if counts.failed > 0 {
        bail!("{} tests or checks failed", counts.failed);
    }
    Ok(())
}

impl Counts {
    /// Counts one check of our own.
    fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// Runs cargo's tests, shows their output and adds their counts. A runner that fails without a count is a failure.
    fn tests(&mut self, name: &str, tests: &mut Command) -> Result<()> {
        let mut child = tests.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start the {name}"))?;
        let output = child.stdout.take().with_context(|| format!("cannot read the {name}"))?;
        let failed_before = self.failed;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            self.add(&line);
        }
        let status = child.wait()?;
        if !status.success() && self.failed == failed_before {
            println!("{name}: ended with {status} and no failed test: it did not build, or a test ended the process");
            self.failed += 1;
        }
        Ok(())
    }

    fn add(&mut self, line: &str) {
        if line.trim_start().starts_with(SKIP_MARK) {
            self.skipped += 1;
            self.passed = self.passed.saturating_sub(1);
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

/// The crate `tests` against the release binary, as root: directly, or through `sudo`.
fn integration(filter: &[String], counts: &mut Counts) -> Result<()> {
    mounts::prepare()?;
    if let Err(error) = command::run(command::cargo().args(["build", "--release", "-p", "perf-user"])) {
        counts.check("perfprobe", Err(error));
        return Ok(());
    }
    let mut tests = command::cargo();
    tests
        .args(["test", "-p", "tests", "--release", "--no-fail-fast", "--"])
        .args(["--test-threads=1", "--show-output"])
        .args(filter)
        .env("PERFPROBE", binary());
    let mut runner = String::from(RUNNER);
    if !command::is_root() {
        install::as_root("the tests")?;
        runner.insert_str(0, "sudo -E ");
    }
    tests.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    counts.tests("integration tests", &mut tests)
}

/// The release binary.
pub(crate) fn binary() -> PathBuf {
    workspace::target().join("release/perfprobe")
}

/// Is the checked-in object what the sources give? Only CI has to have the compiler for that.
fn check_object(counts: &mut Counts) {
    if toolchain::has_nightly() {
        counts.check("ebpf --check", ebpf::run(&ebpf::Args { check: true }));
    } else if env::var_os("CI").is_some() {
        println!("ebpf --check: the toolchain {} is missing: run `cargo xtask ebpf`", pins::NIGHTLY_VERSION);
        counts.failed += 1;
    } else {
        println!(
            "{SKIP_MARK} ebpf --check: {} is not installed; `cargo xtask ebpf` installs it",
            pins::NIGHTLY_VERSION
        );
        counts.skipped += 1;
    }
}

/// Licences, sources and weaknesses of what is linked in. Building the program that looks takes minutes: only CI has to.
fn check_dependencies(counts: &mut Counts) {
    if deny::is_installed() || env::var_os("CI").is_some() {
        counts.check("deny", deny::run());
    } else {
        println!("{SKIP_MARK} deny: cargo-deny is not installed; `cargo xtask deny` installs it");
        counts.skipped += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_and_reasons_are_counted() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 7 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        counts.add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        counts.add("SKIPPED: no chromium here");
        assert_eq!(counts.to_string(), "7 passed, 3 failed, 3 skipped");
    }
}
