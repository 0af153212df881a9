//! The tools that are compared: how each is installed, and how those that sample are started and made to draw.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{command, install, pins, test, workspace};

/// One tool, or none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Tool {
    /// Nothing is started: its row shows the noise
    Nothing,
    Perfprobe,
    Perf,
    Bpftrace,
    ProfileBee,
    Offcputime,
    Runqlat,
    Syscount,
    Strace,
    Biolatency,
    Opensnoop,
}

/// What is sampled.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    Process(u32),
    Machine,
}

/// A tool that is installed.
pub(crate) struct Ready {
    pub(crate) tool: Tool,
    pub(super) program: PathBuf,
    /// The folder of what draws for perf; empty where nothing is drawn.
    inferno: PathBuf,
}

impl Tool {
    /// As the table of samplers names it, and as notes do.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "A/A: nothing",
            Self::Perfprobe => "**perfprobe**",
            Self::Perf => "perf record -g, perf script, inferno",
            Self::Bpftrace => "bpftrace profile:hz, both stacks",
            Self::ProfileBee => "profile-bee",
            Self::Offcputime => "offcputime",
            Self::Runqlat => "runqlat",
            Self::Syscount => "syscount",
            Self::Strace => "strace",
            Self::Biolatency => "biolatency",
            Self::Opensnoop => "opensnoop",
        }
    }

    /// Builds or installs the tool.
    pub(crate) fn prepare(self) -> Result<Ready> {
        let program = match self {
            Self::Nothing => PathBuf::new(),
            Self::Perfprobe => {
                command::run(command::cargo().args(["build", "--release", "-p", "perf-user"]))?;
                test::binary()
            }
            Self::Perf => package("perf", "linux-perf")?,
            Self::Bpftrace => package("bpftrace", "bpftrace")?,
            Self::ProfileBee => crate_binaries("profile-bee", pins::PROFILE_BEE)?.join("probee"),
            Self::Offcputime => package("offcputime", "libbpf-tools")?,
            Self::Runqlat => package("runqlat", "libbpf-tools")?,
            Self::Syscount => package("syscount", "libbpf-tools")?,
            Self::Strace => package("strace", "strace")?,
            Self::Biolatency => package("biolatency", "libbpf-tools")?,
            Self::Opensnoop => package("opensnoop", "libbpf-tools")?,
        };
        Ok(Ready { tool: self, program, inferno: PathBuf::new() })
    }

    /// The same, and what draws where the tool does not do it itself.
    pub(crate) fn prepare_to_draw(self) -> Result<Ready> {
        let inferno = if self == Self::Perf { crate_binaries("inferno", pins::INFERNO)? } else { PathBuf::new() };
        Ok(Ready { inferno, ..self.prepare()? })
    }

    /// Does it work by BPF programs, whose time the kernel can tell?
    pub(crate) fn loads_bpf(self) -> bool {
        !matches!(self, Self::Nothing | Self::Perf | Self::Strace)
    }
}

impl Ready {
    /// The tool's version, as it tells it.
    pub(crate) fn version(&self) -> String {
        if self.tool == Tool::Nothing {
            return String::new();
        }
        let text = command::read(Command::new(&self.program).arg("--version")).unwrap_or_default();
        text.lines().next().unwrap_or_default().trim().to_owned()
    }

    /// The command that samples until SIGINT. None of what does not sample.
    pub(crate) fn record(&self, scope: Scope, frequency_hz: u32) -> Option<Command> {
        let frequency = frequency_hz.to_string();
        let mut record = Command::new(&self.program);
        let process = match scope {
            Scope::Process(tgid) => Some(tgid.to_string()),
            Scope::Machine => None,
        };
        match self.tool {
            Tool::Nothing
            | Tool::Offcputime
            | Tool::Runqlat
            | Tool::Syscount
            | Tool::Strace
            | Tool::Biolatency
            | Tool::Opensnoop => return None,
            Tool::Perfprobe => {
                record.args(["record", "-e", "cpu", "--frequency", &frequency, "-o", "out.perfprobe", "-o", "out.svg"]);
                match &process {
                    Some(tgid) => record.args(["--pid", tgid]),
                    None => record.arg("--all"),
                };
            }
            Tool::Perf => {
                record.args(["record", "-g", "-F", &frequency, "-k", "CLOCK_MONOTONIC", "-o", "perf.data"]);
                match &process {
                    Some(tgid) => record.args(["-p", tgid]),
                    None => record.arg("-a"),
                };
            }
            Tool::Bpftrace => {
                let filter = process.map(|tgid| format!("/pid == {tgid}/ ")).unwrap_or_default();
                record.arg("-e");
                record.arg(format!("profile:hz:{frequency} {filter}{{ @[kstack, ustack, comm] = count(); }}"));
            }
            Tool::ProfileBee => {
                // Time 0: until SIGINT, not for its usual ten seconds.
                record.args(["-f", &frequency, "-t", "0", "-o", "out.svg"]);
                if let Some(tgid) = &process {
                    record.args(["--pid", tgid]);
                }
            }
        }
        Some(record)
    }

    /// The command that turns what was recorded into `out.svg`, where the recorder does not do it itself.
    pub(crate) fn draw(&self, dir: &Path) -> Option<Command> {
        if self.tool != Tool::Perf {
            return None;
        }
        let mut draw = Command::new("sh");
        draw.current_dir(dir);
        draw.args([
            "-c",
            "\"$0\" script -i perf.data | \"$1\"/inferno-collapse-perf | \"$1\"/inferno-flamegraph > out.svg",
        ]);
        draw.arg(&self.program).arg(&self.inferno);
        Some(draw)
    }

    /// Does a picture come out in the end? bpftrace prints text that inferno has no reader for.
    pub(crate) fn draws(&self) -> bool {
        matches!(self.tool, Tool::Perfprobe | Tool::Perf | Tool::ProfileBee)
    }

    /// The monotonic time of the first sample, in seconds, where the recording tells it.
    pub(crate) fn first_sample(&self, dir: &Path) -> Option<f64> {
        if self.tool != Tool::Perf {
            return None;
        }
        let mut script = Command::new(&self.program);
        script.current_dir(dir).args(["script", "-i", "perf.data", "-F", "time"]);
        let text = command::read(&mut script).ok()?;
        let stamps = text.lines().filter_map(|line| line.trim().trim_end_matches(':').parse::<f64>().ok());
        stamps.min_by(f64::total_cmp)
    }
}

fn package(program: &str, package: &str) -> Result<PathBuf> {
    if command::find(program).is_none() {
        install::packages(&[package], "the benchmark")?;
    }
    command::find(program).with_context(|| format!("{package} brought no `{program}`"))
}

/// The folder with a published crate's programs, built once into the cache.
fn crate_binaries(name: &str, version: &str) -> Result<PathBuf> {
    let root = workspace::cache()?.join(format!("{name}-{version}"));
    // Cargo writes this list after the programs are in place.
    if !root.join(".crates.toml").exists() {
        eprintln!("installing {name} {version} into {} (some minutes)", root.display());
        let mut install = command::cargo();
        install.args(["install", name, "--version", version, "--locked", "--root"]).arg(&root);
        command::run(install.env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(root.join("bin"))
}
