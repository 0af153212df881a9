//! Machines that are not like others, for what a test cannot bring about by itself: each is one more guest.

use std::time::Duration;

use anyhow::{Result, anyhow};

use super::counts::Counts;
use super::guests;
use crate::vm::facts;
use crate::vm::matrix::{Matrix, Shape};

/// A machine, and the tests that are about it.
struct Situation {
    /// What is different.
    name: &'static str,
    /// Its kernel's series.
    kernel: &'static str,
    /// How it is started.
    shape: Shape,
    /// Tests whose name contains one of these.
    tests: &'static [&'static str],
}

/// Those that continuous integration starts come first.
const SITUATIONS: &[Situation] = &[
    Situation {
        name: "one CPU",
        kernel: "5.10",
        shape: Shape { cpus: 1, parameters: "" },
        tests: &["one_cpu_is_enough", "every_kind_of_target"],
    },
    Situation {
        name: "lockdown for confidentiality",
        kernel: "7.x",
        shape: Shape { cpus: 2, parameters: "lockdown=confidentiality" },
        tests: &["locked_down"],
    },
    Situation {
        name: "lockdown for integrity",
        kernel: "6.12",
        shape: Shape { cpus: 2, parameters: "lockdown=integrity" },
        tests: &["locked_down"],
    },
];
/// How many of them continuous integration starts.
const IN_CI: usize = 2;

/// None of them has more than a few tests.
const LIMIT: Duration = Duration::from_secs(300);

/// Starts each machine, and runs its tests there.
pub(super) fn run(counts: &mut Counts) -> Result<()> {
    super::build()?;
    let executables = guests::executables()?;
    let situations = if std::env::var_os("CI").is_some() { &SITUATIONS[..IN_CI] } else { SITUATIONS };
    let series: Vec<String> = situations.iter().map(|situation| situation.kernel.to_owned()).collect();
    let matrix = Matrix::prepare(&series)?;
    matrix.complain()?;
    for situation in situations {
        let filter: Vec<String> = situation.tests.iter().map(|test| (*test).to_owned()).collect();
        let script = guests::script(&executables, &filter)?;
        let show = |line: &str| {
            if !line.starts_with(facts::MARK) {
                println!("{} | {line}", situation.name);
            }
        };
        let run = matrix.run_shaped(situation.kernel, situation.shape, &script, LIMIT, &show)?;
        let own = guests::of_tests(situation.name, &run);
        let ran = if own.passed + own.failed == 0 { Err(anyhow!("no test ran")) } else { Ok(()) };
        counts.check(situation.name, ran);
        println!("{} on {}: {own} ({} s)", situation.name, run.kernel.release, run.took.as_secs());
        counts.take(situation.name, own);
    }
    Ok(())
}
