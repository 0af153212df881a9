//! Counting what tests print: passed, failed, skipped.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// A test that cannot run here prints a line that begins so, with the reason behind it, and returns.
pub(crate) const SKIP_MARK: &str = "SKIPPED:";

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Could not run here, and said why.
    pub(crate) skipped: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Counts {
    /// Counts one check of our own.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// Runs cargo's tests, shows their output and adds their counts. A runner that fails without a count is a failure.
    pub(crate) fn tests(&mut self, name: &str, tests: &mut Command) -> Result<()> {
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

    /// Adds what a line of a test program's output says.
    pub(crate) fn add(&mut self, line: &str) {
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
