//! What ends perfprobe with an exit code other than 0.

use std::{fmt, process::ExitCode};

use crate::report::human::lines;

/// Why a subcommand did not do what it was told.
#[derive(Debug)]
pub enum Failure {
    /// It was told something that makes no sense.
    Usage(String),
    /// It could not do it.
    Failed(anyhow::Error),
    /// The command to record does not exist or cannot be executed.
    NotExecuted(anyhow::Error),
}

impl Failure {
    /// Exit code for wrong use.
    pub(super) const USAGE: u8 = 2;
    /// Exit code for what could not be done.
    pub(super) const FAILED: u8 = 1;
    /// As shells have it.
    const NOT_EXECUTED: u8 = 127;

    /// The exit code it means.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => Self::USAGE.into(),
            Self::Failed(_) => Self::FAILED.into(),
            Self::NotExecuted(_) => Self::NOT_EXECUTED.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths and names in it may be anything.
        out.write_str(&lines(&match self {
            Self::Usage(text) => text.clone(),
            Self::Failed(error) | Self::NotExecuted(error) => format!("{error:#}"),
        }))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
