//! The benchmark's target: a C program that counts the work it got done in a fixed time, pinned to one CPU.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};

use super::process;
use super::target::Target;
use crate::command;

const SOURCE: &str = include_str!("work.c");

/// The compiled target.
pub(crate) struct Work {
    program: PathBuf,
}

/// What a target does.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// User code 30 calls deep
    Spin,
    /// The same, with reads and writes that the kernel works on
    Mixed,
}

/// What the target counted.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// Units of work in the fixed time.
    pub(crate) units: f64,
    /// Units of work in a second of the target's own CPU time: what other processes take does not show here.
    pub(crate) units_per_cpu_second: f64,
}

impl Work {
    /// Compiles the target into `dir`, with frame pointers.
    pub(crate) fn compile(dir: &Path) -> Result<Self> {
        let source = dir.join("work.c");
        let program = dir.join("work");
        fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
        command::run(
            Command::new("cc").args(["-O2", "-g", "-fno-omit-frame-pointer", "-o"]).arg(&program).arg(&source),
        )?;
        Ok(Self { program })
    }

    /// Starts a target on this CPU; it waits for [`Target::go`].
    pub(crate) fn start(&self, kind: Kind, seconds: f64, cpu: usize) -> Result<Target> {
        let mode = match kind {
            Kind::Spin => "spin",
            Kind::Mixed => "mixed",
        };
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", &cpu.to_string()]).arg(&self.program).args([mode, &seconds.to_string()]);
        let target = Target::start(&mut taskset)?;
        // Until then the process is this program or `taskset`, and a profiler would be given the wrong one.
        while process::comm(target.pid()).as_deref() != Some("work") {
            if process::is_over(target.pid()) {
                bail!("the target ended at its start: does `taskset -c {cpu}` work here?");
            }
            thread::sleep(process::POLL);
        }
        Ok(target)
    }

    /// The monotonic clock, in seconds.
    pub(crate) fn now(&self) -> Result<f64> {
        let text = command::read(Command::new(&self.program).arg("now"))?;
        Ok(text.trim().parse::<f64>().context("the target printed no time")? / 1e9)
    }
}

impl Done {
    /// Waits for the target's count. The target lives on.
    pub(crate) fn of(target: &mut Target) -> Result<Self> {
        let text = target.line()?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [units, cpu_ns] = numbers[..] else { bail!("the target printed `{}`", text.trim()) };
        Ok(Self { units, units_per_cpu_second: units / (cpu_ns / 1e9) })
    }
}
