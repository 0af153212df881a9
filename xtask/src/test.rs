//! `cargo xtask test`: everything that has to pass, on a fresh machine, ending in one line of counts.

pub(crate) mod counts;
mod guests;
mod machines;

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{command, deny, ebpf, fuzz, install, lint, mounts, pins, toolchain, workspace};
use counts::{Counts, SKIP_MARK};

/// What the tests compile with, profile, and check results with: a browser for pictures, another C library, Go for its `pprof`.
const PACKAGES: &[&str] = &[
    "gcc",
    "g++",
    "libc6-dev",
    "musl-tools",
    "binutils",
    "util-linux",
    "mount",
    "e2fsprogs",
    "chromium",
    "golang-go",
    "python3",
    "sqlite3",
    "nodejs",
    "xz-utils",
    "openjdk-17-jdk-headless",
];
/// What starts a test program: a script's background job ignores these signals, and what the tests start would inherit that.
const RUNNER: &str = "env --default-signal=INT,QUIT,HUP";

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
    /// After that, the crate `tests` in guests: a kernel's series, `edges` for the oldest and the newest, `all`
    #[arg(long, value_name = "SERIES")]
    vm: Vec<String>,
    /// After that, tests of machines that differ, each in a guest: one CPU, lockdowns
    #[arg(long)]
    machines: bool,
    /// Only in guests
    #[arg(long, conflicts_with_all = ["unit", "integration"])]
    vm_only: bool,
    /// Only tests whose name contains one of these
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Runs the asked parts to their end; fails when anything in them failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = !args.unit && !args.integration && !args.vm_only;
    if args.vm_only && args.vm.is_empty() && !args.machines {
        bail!("--vm-only leaves nothing to run without --vm or --machines");
    }
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
    if !args.vm.is_empty() {
        guests::run(&args.vm, &args.filter, &mut counts)?;
    }
    if args.machines {
        machines::run(&mut counts)?;
    }
    println!("{}{counts}", counts.failures());
    if counts.failed > 0 {
        bail!("{} tests or checks failed", counts.failed);
    }
    Ok(())
}

/// The crate `tests` against the release binary, as root: directly, or through `sudo`.
fn integration(filter: &[String], counts: &mut Counts) -> Result<()> {
    mounts::prepare()?;
    if let Err(error) = build() {
        counts.check("perfprobe", Err(error));
        return Ok(());
    }
    let mut tests = command::cargo();
    // Without --release: what judges perfprobe need not be fast, and takes a minute less to build.
    tests
        .args(["test", "-p", "tests", "--no-fail-fast", "--"])
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

/// Builds the release binary.
pub(crate) fn build() -> Result<()> {
    command::run(command::cargo().args(["build", "--release", "-p", "perf-user"]))
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
        counts
            .fail(format!("ebpf --check: the toolchain {} is missing: run `cargo xtask ebpf`", pins::NIGHTLY_VERSION));
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
