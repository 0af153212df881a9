//! `cargo xtask fuzz`: hostile input for everything that parses what perfprobe does not control.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};

use crate::{command, pins, toolchain, workspace};

/// Targets that run at the same time.
const SIDE_BY_SIDE: usize = 2;
/// A target may use no more memory than this, and no longer than so many seconds for one input: a recording that can make
/// `perfprobe report` eat all memory, or hang, is a finding.
const LIMITS: [&str; 3] = ["-rss_limit_mb=2048", "-timeout=20", "-max_len=65536"];
/// Lines of a failed target's log that are shown.
const SHOWN: usize = 40;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Only these; default: all of tests/fuzz/targets
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
}

/// A target that is built, and where its files are.
struct Target {
    name: String,
    program: PathBuf,
    /// What is checked in.
    seeds: PathBuf,
    /// What earlier runs found worth keeping.
    corpus: PathBuf,
    /// Inputs that failed.
    failures: PathBuf,
    log: PathBuf,
}

/// Builds the targets and runs each for the time asked; fails when an input failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = workspace::root().join("tests/fuzz");
    let names = names(&folder, &args.targets)?;
    let programs = build(&folder, &args.targets)?;
    let targets: Result<VecDeque<Target>> = names.into_iter().map(|name| prepare(&folder, &programs, name)).collect();
    let (queue, failed) = (Mutex::new(targets?), Mutex::new(Vec::new()));
    let next = || queue.lock().ok()?.pop_front();
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(target) = next() {
                    if let Err(error) = target.run(args.seconds) {
                        println!("fuzz {}: {error:#}", target.name);
                        if let Ok(mut failed) = failed.lock() {
                            failed.push(target.name);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        bail!("fuzz: an input failed for {}", failed.join(", "));
    }
    Ok(())
}

/// The targets there are, or those of them that were asked for.
fn names(folder: &Path, asked: &[String]) -> Result<Vec<String>> {
    let targets = fs::read_dir(folder.join("targets")).context("tests/fuzz/targets has the fuzz targets")?;
    let files = targets.filter_map(|entry| Some(entry.ok()?.path()));
    let mut names: Vec<String> = files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    if let Some(unknown) = asked.iter().find(|name| !names.contains(name)) {
        bail!("there is no fuzz target `{unknown}`; there are: {}", names.join(", "));
    }
    names.retain(|name| asked.is_empty() || asked.contains(name));
    Ok(names)
}

/// Builds with the pinned nightly, whose instrumentation the stable compiler lacks; where the programs are then.
fn build(folder: &Path, asked: &[String]) -> Result<PathBuf> {
    let tool = toolchain::tool("cargo-fuzz", pins::CARGO_FUZZ, "a minute")?;
    let nightly = toolchain::nightly()?;
    let host = command::read(Command::new("rustc").arg(format!("+{nightly}")).arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc tells its host")?.to_owned();
    let output = workspace::target().join("fuzz/build");
    let mut build = Command::new(tool);
    command::forget_cargo(&mut build);
    // The compiler is chosen anew: cargo's own variables name the stable one.
    build.env_remove("CARGO").env("RUSTUP_TOOLCHAIN", nightly);
    // Without the sanitizer of addresses: our code has no unsafe parts, and runs several times as often.
    build
        .args(["build", "--release", "--sanitizer", "none", "--fuzz-dir"])
        .arg(folder)
        .arg("--target-dir")
        .arg(&output)
        .args(["--target", &host]);
    // One at the most: without a name it builds all.
    if let [name] = asked {
        build.arg(name);
    }
    command::run(&mut build)?;
    Ok(output.join(host).join("release"))
}

fn prepare(folder: &Path, programs: &Path, name: String) -> Result<Target> {
    let place = workspace::target().join("fuzz");
    let target = Target {
        program: programs.join(&name),
        seeds: folder.join("seeds").join(&name),
        corpus: place.join("corpus").join(&name),
        failures: place.join("failures").join(&name),
        log: place.join(format!("{name}.log")),
        name,
    };
    for directory in [&target.corpus, &target.failures] {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    Ok(target)
}

impl Target {
    /// Runs it; fails with the end of its log and the way to reproduce.
    fn run(&self, seconds: u64) -> Result<()> {
        let log = File::create(&self.log).with_context(|| format!("cannot create {}", self.log.display()))?;
        let mut fuzz = Command::new(&self.program);
        fuzz.args([&self.corpus, &self.seeds]).args(LIMITS).arg(format!("-max_total_time={seconds}"));
        fuzz.arg(format!("-artifact_prefix={}/", self.failures.display()));
        fuzz.arg("-print_final_stats=1");
        let status = fuzz.stdout(log.try_clone()?).stderr(log).status();
        let status = status.with_context(|| format!("cannot start {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        if status.success() {
            let count = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
            println!("fuzz {}: {} inputs in {seconds} s, none failed", self.name, count.unwrap_or("?").trim());
            return Ok(());
        }
        let lines: Vec<&str> = text.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(SHOWN)..].join("\n"));
        let input = text.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path));
        let input = input.map_or_else(|| self.failures.display().to_string(), str::to_owned);
        bail!("failed ({status}); again with: {} {input}", self.program.display())
    }
}
