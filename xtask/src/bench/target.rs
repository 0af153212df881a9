//! A process that waits for a line before it works, so that a recorder can be there first.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};

/// A running target that waits for `go`. Ended when dropped.
pub(super) struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Target {
    /// Starts it; what it reads and prints is between it and us.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the target by `{}`", command.get_program().display()))?;
        let input = child.stdin.take().context("the target has no input")?;
        let output = BufReader::new(child.stdout.take().context("the target has no output")?);
        Ok(Self { child, input, output })
    }

    /// The target's process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the target work.
    pub(super) fn go(&mut self) -> Result<()> {
        self.input.write_all(b"go\n").context("the target has ended")
    }

    /// Waits for a line of its output. The target lives on.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut text = String::new();
        self.output.read_line(&mut text).context("the target has ended")?;
        Ok(text)
    }

    /// Waits until it closes its output, which is at its end, and returns all of it.
    pub(super) fn rest(&mut self) -> Result<String> {
        let mut text = Vec::new();
        self.output.read_to_end(&mut text).context("cannot read the target's output")?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to do, and nothing to report.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
