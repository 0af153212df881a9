//! A recording: one SQLite file, written in transactions as the run goes, read back as a profile.

mod blob;
mod block;
mod calls;
mod counts;
mod file_calls;
mod intern;
mod kernel_locks;
mod latencies;
mod lengths;
mod locks;
mod memory;
mod open;
mod outline;
mod read;
mod rows;
mod run_queue;
mod slice;
mod stacks;
mod timeline;
#[cfg(test)]
mod timeline_tests;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Selection, read, read_counts};
pub use slice::slice;
pub use write::Writer;

use std::path::PathBuf;

/// The version of the tables; a reader refuses others.
pub const SCHEMA_VERSION: u32 = 9;

/// Marks the SQLite file as a recording (`PRAGMA application_id`): "pprb".
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"pprb");

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be created.
    #[error("cannot write the recording {path}: {why}; choose another place with --output")]
    Create {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The file cannot be written any more.
    #[error("the recording {path} cannot be written any more; what was recorded so far is kept in it")]
    Write {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// There is no such file, or it may not be read.
    #[error("cannot open the recording {path}: {why}")]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The file is something else.
    #[error("{path} is not a perfprobe recording; give a .perfprobe file that `perfprobe record` wrote")]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// The file was written by a newer perfprobe, or by one from before the first release.
    #[error(
        "{path} has schema version {found}, and this perfprobe reads {SCHEMA_VERSION}; {}",
        if *found > SCHEMA_VERSION { "use a newer perfprobe" } else { "record it again, or use the perfprobe that wrote it" }
    )]
    OtherVersion {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A part of the recording cannot be copied.
    #[error("cannot write the recording {path}")]
    Copy {
        /// Where to.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Reading it would take more memory than any report is worth.
    #[error("{path} holds more {what} than can be read at once; choose a part of its time with --from and --to")]
    TooMuch {
        /// Which.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
    },
    /// The file is truncated or damaged.
    #[error("the recording {path} is damaged ({why}); nothing can be read from it")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}
