//! System calls in the JSON report.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Accounting;

/// System calls.
#[derive(Debug, Deserialize)]
pub struct Calls {
    /// What became of all of them.
    pub accounting: Accounting,
    /// Facts that are no losses, by name.
    pub counters: BTreeMap<String, u64>,
    /// By process and call.
    pub kinds: Vec<CallKind>,
    /// Those that took longest.
    pub slowest: Vec<Call>,
    /// Those that had not returned.
    pub open: Vec<Call>,
}

/// The calls of one name that a process made.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CallKind {
    /// The process.
    pub tgid: u32,
    /// The call.
    pub call: String,
    /// How many.
    pub count: u64,
    /// How many had an error, by its name.
    pub errors: BTreeMap<String, u64>,
    /// How long all of them took.
    pub total_ns: u64,
    /// What half of them did not exceed.
    pub p50_ns: u64,
    /// What 99 of 100 did not exceed.
    pub p99_ns: u64,
    /// How long the longest took.
    pub max_ns: u64,
}

/// One call.
#[derive(Debug, Deserialize)]
pub struct Call {
    /// The thread.
    pub tid: u32,
    /// The call.
    pub call: String,
    /// With its arguments.
    pub arguments: String,
    /// How long it took.
    pub length_ns: u64,
    /// Whether it began before the recording.
    #[serde(default)]
    pub began_before: bool,
    /// What it returned.
    pub result: Option<i64>,
    /// The name of the error.
    pub error: Option<String>,
}

impl Calls {
    /// Calls of which the kernel did not tell that they began, or returned.
    #[must_use]
    pub fn untold(&self) -> u64 {
        ["entry_missed", "return_missed"].iter().filter_map(|cause| self.accounting.lost.get(*cause)).sum()
    }

    /// The calls of this name of the only process that made some.
    ///
    /// # Panics
    /// If none did, or several.
    #[must_use]
    pub fn of(&self, name: &str) -> &CallKind {
        let mut found = self.kinds.iter().filter(|kind| kind.call == name);
        let kind = found.next().unwrap_or_else(|| panic!("no {name} in {:#?}", self.kinds));
        assert!(found.next().is_none(), "several processes called {name}");
        kind
    }
}
