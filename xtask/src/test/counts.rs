//! Counting what tests print: passed, failed, skipped; and what the failed ones said.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// A test that cannot run here prints a line that begins so, with the reason behind it, and returns.
pub(crate) const SKIP_MARK: &str = "SKIPPED:";

/// Of a failed test's output, this many lines are told again at the end.
const TOLD_LINES: usize = 40;

/// How many tests ended how.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Could not run here, and said why.
    pub(crate) skipped: u64,
    /// What failed, and the end of its output: one entry each.
    failures: Vec<String>,
    /// The output of the failed test that is being read.
    reading: Option<Vec<String>>,
    /// What is read is about failed tests.
    among_failures: bool,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Counts {
    /// Counts one check of our own.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(format!("{name}: {error:#}")),
        }
    }

    /// Counts a failure that no test has counted, and says it.
    pub(crate) fn fail(&mut self, what: String) {
        println!("{what}");
        self.failed += 1;
        self.failures.push(what);
    }

    /// Adds what was counted at another place.
    pub(crate) fn take(&mut self, place: &str, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures.iter().map(|failure| format!("{place}: {failure}")));
    }

    /// What failed, with the end of its output: a log of hours is read from its end, and some keep no more of it.
    pub(crate) fn failures(&self) -> String {
        self.failures.iter().map(|failure| format!("failed: {failure}\n")).collect()
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
            self.fail(format!(
                "{name}: ended with {status} and no failed test: it did not build, or a test ended the process"
            ));
        }
        Ok(())
    }

    /// Adds what a line of a test program's output says.
    pub(crate) fn add(&mut self, line: &str) {
        if line.trim_start().starts_with(SKIP_MARK) {
            self.skipped += 1;
            self.passed = self.passed.saturating_sub(1);
        }
        self.read_output(line);
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

    /// The test harness tells the output of all tests that passed, then that of those that failed, each below its name.
    fn read_output(&mut self, line: &str) {
        let name = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        let of_others = matches!(line, "successes:" | "failures:") || line.starts_with("test result: ");
        if name.is_some() || of_others {
            if let Some(mut output) = self.reading.take() {
                let skipped = output.len().saturating_sub(TOLD_LINES + 1);
                output.drain(1..=skipped);
                self.failures.push(output.join("\n    ").trim_end().to_owned());
            }
            if of_others {
                self.among_failures = line == "failures:";
            }
            self.reading = name.filter(|_| self.among_failures).map(|name| vec![name.to_owned()]);
        } else if let Some(output) = &mut self.reading {
            output.push(line.to_owned());
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

    #[test]
    fn what_failed_is_told_with_the_end_of_its_output() {
        let mut guest = Counts::default();
        let long: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let output = format!(
            "test a ... ok\ntest b ... FAILED\ntest c ... FAILED\n\nsuccesses:\n\n---- a stdout ----\nnot told\n\n\nsuccesses:\n    \
             a\n\nfailures:\n\n---- b stdout ----\n{long}\n---- c stdout ----\nat its end\n\n\nfailures:\n    b\n    c\n\ntest \
             result: FAILED. 1 passed; 2 failed; 0 ignored"
        );
        output.lines().for_each(|line| guest.add(line));
        let mut counts = Counts::default();
        counts.check("lint", Err(anyhow::anyhow!("a line")));
        counts.take("6.1", guest);
        let told = counts.failures();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[..3], ["failed: lint: a line", "failed: 6.1: b", "    line 61"]);
        assert_eq!(lines[lines.len() - 3..], ["    line 99", "failed: 6.1: c", "    at its end"]);
    }
}
