//! What `perfprobe doctor --json` says, schema `perfprobe.doctor/1`.

use serde::Deserialize;

use crate::{Lab, Launcher, Session};

/// Its findings.
#[derive(Debug, Deserialize)]
pub struct Doctor {
    /// Whether anything can be recorded.
    pub can_record: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// The capabilities that perfprobe can use.
    pub capabilities: Vec<CapabilityRow>,
}

/// One thing that was looked at.
#[derive(Debug, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// `ok`, `limited` or `missing`.
    pub state: String,
    /// In words.
    pub detail: String,
    /// What to do, unless it is `ok`.
    pub remedy: Option<String>,
}

/// One capability.
#[derive(Debug, Deserialize)]
pub struct CapabilityRow {
    /// `CAP_BPF`.
    pub name: String,
    /// Whether perfprobe has it.
    pub has: bool,
    /// Whether nothing can be recorded without.
    pub needed: bool,
    /// What it is for.
    pub enables: String,
}

impl Doctor {
    /// Asks it, started by `launcher`.
    ///
    /// # Panics
    /// If it does not answer in its schema.
    #[must_use]
    pub fn ask(lab: &Lab, launcher: &Launcher) -> Self {
        let finished = Session::start_by(lab, launcher, &["doctor", "--json"]).wait();
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}\n{}", finished.stdout, finished.stderr))
    }

    /// Whether stacks can be followed through code that keeps no frame pointers, as the C library's.
    #[must_use]
    pub fn walks_by_tables(lab: &Lab) -> bool {
        Self::ask(lab, &Launcher::default()).check("unwind tables").state == "ok"
    }

    /// What it says of `name`.
    ///
    /// # Panics
    /// If it did not look at that.
    #[must_use]
    pub fn check(&self, name: &str) -> &Check {
        self.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name:?} in {self:#?}"))
    }
}
