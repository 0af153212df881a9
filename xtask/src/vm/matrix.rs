//! The kernels that perfprobe has to work on, and running something on several of them, two at a time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::guest::{Accelerator, Clock, Ended, Guest, Root};
use super::kernel::{Kernel, NotInArchive};
use super::{Machines, Ready, console};
use crate::arch::Arch;
use crate::test::counts::SKIP_MARK;

/// The oldest and the newest series: what continuous integration runs.
const EDGES: &[&str] = &["5.10", "7.x"];
/// Series that have to be in the archive.
const REQUIRED: &[&str] = &["5.10", "6.1", "6.12", "7.x"];
/// All series.
const ALL: &[&str] = &["5.10", "6.1", "6.12", "6.18", "7.x"];
/// Guests that run at once: each keeps one of this machine's processors busy.
const AT_ONCE: usize = 2;

/// The kernels of one call, all at hand.
pub(crate) struct Matrix {
    ready: Ready,
    /// Each with the name it was asked for.
    kernels: Vec<(String, Kernel)>,
    /// Why a series that has to be there is not.
    pub(crate) missing_required: Vec<String>,
    /// Why another one is not.
    pub(crate) missing_optional: Vec<String>,
}

/// What came of one kernel.
pub(crate) struct Run {
    /// The name it was asked for: `7.x`.
    pub(crate) column: String,
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// How the guest ended, at the second attempt if there was one.
    pub(crate) ended: Ended,
    /// What the command printed, line by line.
    pub(crate) lines: Vec<String>,
    /// Whether the first attempt had no result.
    pub(crate) retried: bool,
    /// How long it took.
    pub(crate) took: Duration,
}

/// What may differ between guests of one kernel.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Processors.
    pub(crate) cpus: u32,
    /// Further kernel parameters.
    pub(crate) parameters: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Self { cpus: 2, parameters: "" }
    }
}

impl Matrix {
    /// Makes the kernels of these choices ready: series, `edges`, `all`.
    pub(crate) fn prepare(choices: &[String]) -> Result<Self> {
        let machines = Machines::prepare(Arch::host())?;
        let (mut kernels, mut missing_required, mut missing_optional) = (Vec::new(), Vec::new(), Vec::new());
        for series in expand(choices) {
            match machines.kernel(&series) {
                Ok(kernel) => kernels.push((series, kernel)),
                Err(error) if error.is::<NotInArchive>() => {
                    let asked_by_name = choices.contains(&series);
                    let required = asked_by_name || REQUIRED.contains(&series.as_str());
                    if required { &mut missing_required } else { &mut missing_optional }.push(error.to_string());
                }
                Err(error) => return Err(error.context(format!("the kernel {series} cannot be had"))),
            }
        }
        Ok(Self { ready: machines.ready(), kernels, missing_required, missing_optional })
    }

    /// Fails when a series is missing that has to be there, and says which other ones are.
    pub(crate) fn complain(&self) -> Result<()> {
        self.missing_optional.iter().for_each(|why| println!("{SKIP_MARK} {why}"));
        if !self.missing_required.is_empty() {
            bail!("{}", self.missing_required.join("\n"));
        }
        Ok(())
    }

    /// Runs a script on every kernel; `each` is told every line of output when it comes. A guest that ends without the
    /// script's exit code is started once more.
    pub(crate) fn run(&self, script: &str, limit: Duration, each: &(dyn Fn(&Kernel, &str) + Sync)) -> Result<Vec<Run>> {
        let waiting: Mutex<VecDeque<&(String, Kernel)>> = Mutex::new(self.kernels.iter().collect());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = || {
            let mut runs = Vec::new();
            while let Some((column, kernel)) = next() {
                let run = self.run_one(kernel, Shape::default(), script, limit, each);
                runs.push(run.map(|run| Run { column: column.clone(), ..run }));
            }
            runs
        };
        let runs: Vec<Result<Run>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        });
        let mut runs = runs.into_iter().collect::<Result<Vec<Run>>>()?;
        let place = |run: &Run| self.kernels.iter().position(|(column, _)| *column == run.column);
        runs.sort_by_key(place);
        Ok(runs)
    }

    /// Runs a script in one guest of the kernel that was asked for by this name.
    pub(crate) fn run_shaped(
        &self,
        column: &str,
        shape: Shape,
        script: &str,
        limit: Duration,
        each: &(dyn Fn(&str) + Sync),
    ) -> Result<Run> {
        let kernel = self.kernels.iter().find_map(|(name, kernel)| (name == column).then_some(kernel));
        let kernel = kernel.with_context(|| format!("the kernel {column} was not asked for"))?;
        self.run_one(kernel, shape, script, limit, &|_, line| each(line))
    }

    fn run_one(
        &self,
        kernel: &Kernel,
        shape: Shape,
        script: &str,
        limit: Duration,
        each: &(dyn Fn(&Kernel, &str) + Sync),
    ) -> Result<Run> {
        let guest = Guest {
            kernel: kernel.clone(),
            cpus: shape.cpus,
            memory: 2048,
            parameters: shape.parameters.to_owned(),
            root: Root::Host,
            accelerator: Accelerator::Tcg,
            clock: Clock::Instructions,
            limit: Some(limit),
            command: Some(script.to_owned()),
            files: Vec::new(),
        };
        let started = Instant::now();
        let mut retried = false;
        loop {
            let mut lines = Vec::new();
            let mut take = |line: &str| {
                each(kernel, line);
                lines.push(line.to_owned());
            };
            let ended = self.ready.run(&guest, Some(&mut take)).with_context(|| kernel.release.clone())?;
            if let Err(why) = &ended.code {
                console::keep(kernel, &ended.console, &format!("no result: {why}"))?;
                if !retried {
                    eprintln!("{}: trying once more", kernel.release);
                    retried = true;
                    continue;
                }
            }
            let column = kernel.series.clone();
            return Ok(Run { column, kernel: kernel.clone(), ended, lines, retried, took: started.elapsed() });
        }
    }
}

/// The series that are meant, each once.
fn expand(choices: &[String]) -> Vec<String> {
    let mut series: Vec<String> = Vec::new();
    for choice in choices {
        let own = [choice.as_str()];
        let meant = match choice.as_str() {
            "edges" => EDGES,
            "all" => ALL,
            _ => &own,
        };
        for one in meant {
            if !series.iter().any(|known| known == one) {
                series.push((*one).to_owned());
            }
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn choices_are_expanded_and_nothing_runs_twice() {
        let choices = ["6.1", "edges", "7.x"].map(str::to_owned);
        assert_eq!(expand(&choices), ["6.1", "5.10", "7.x"]);
        assert_eq!(expand(&["all".to_owned()]), super::ALL);
    }
}
