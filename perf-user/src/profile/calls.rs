//! System calls as a recording has them: counts and lengths of all, and the slowest one by one.

use std::collections::BTreeMap;

use super::{Accounting, Lengths};

/// System calls, over the windows of the profile.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// What became of all calls that returned, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
    /// By process and name; empty if the profile is of one thread.
    pub kinds: BTreeMap<(u32, String), CallKind>,
    /// The last names of processes.
    pub processes: BTreeMap<u32, String>,
    /// The slowest calls of each window, and those that did not return, in the order of the recording.
    pub slowest: Vec<SingleCall>,
}

/// The calls of one name that a process made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallKind {
    /// How many, and how long they took.
    pub lengths: Lengths,
    /// How many had an error, by its name.
    pub errors: BTreeMap<String, u64>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleCall {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// The call's name.
    pub name: String,
    /// The call with its arguments, in words.
    pub arguments: String,
    /// When it began, in nanoseconds after the recording's start; negative for before.
    pub start_ns: i64,
    /// How long it took, or has lasted.
    pub length_ns: u64,
    /// What it returned; `None` if it had not when the recording ended.
    pub result: Option<i64>,
}

impl SingleCall {
    /// Whether it was going on when the recording began, and has not returned: how long it had lasted before is not known.
    #[must_use]
    pub fn began_before(&self) -> bool {
        self.result.is_none() && self.start_ns == 0
    }
}
