//! A run of perfprobe that is over: how it ended and what it said.

use std::path::PathBuf;

use crate::Recording;

/// A perfprobe that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` when a signal killed it.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Its working directory, where [`crate::Recorder`] puts the outputs.
    pub directory: PathBuf,
}

impl Finished {
    /// Asserts exit code 0.
    ///
    /// # Panics
    /// If it was another one.
    #[must_use]
    pub fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// If it was another one.
    #[must_use]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "the exit code of perfprobe (signal {:?}); it said:\n{}",
            self.signal,
            self.stderr
        );
        self
    }

    /// Asserts that perfprobe refused with exit code `code` and said why in a few words, with one of `words` among them.
    ///
    /// # Panics
    /// If it did not.
    pub fn refused(self, code: i32, words: &[&str]) {
        let finished = self.ended_with(code);
        let said = finished.stderr.to_lowercase();
        assert!(
            words.iter().any(|word| said.contains(&word.to_lowercase())),
            "none of {words:?} in:\n{}",
            finished.stderr
        );
        assert!(finished.stderr.lines().count() <= 12, "more than a few words:\n{}", finished.stderr);
    }

    /// Reads the outputs, and asserts that what was taken is what is reported plus what was lost.
    #[must_use]
    pub fn recording(self) -> Recording {
        Recording::read(self)
    }
}
