//! The Python interpreters of this machine, and the workload they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Lab, Program};

/// An interpreter of a version whose frames perfprobe reads.
#[derive(Clone, Debug)]
pub struct Python {
    /// `3.11`.
    pub version: String,
    /// The program itself, not what starts it.
    pub program: Program,
}

impl Python {
    /// All that are found by the names `python3.11` to `python3.13`; the test is skipped if there is none. Further ones are
    /// taken from `PERFPROBE_TEST_PYTHONS`, paths with a colon between.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let named = ["3.11", "3.12", "3.13"].map(|version| (PathBuf::from(format!("python{version}")), version));
        let listed = std::env::var_os("PERFPROBE_TEST_PYTHONS").unwrap_or_default();
        let listed = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).map(|path| (path, ""));
        let found: Vec<Self> =
            named.into_iter().chain(listed).filter_map(|(path, wanted)| ask(&path, wanted)).collect();
        if found.is_empty() {
            Lab::skip("there is no Python 3.11, 3.12 or 3.13");
        }
        found
    }

    /// The workload of this kind, as arguments.
    #[must_use]
    pub fn arguments<'a>(kind: &'a str, seconds: &'a str) -> [&'a str; 3] {
        [concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/python.py"), kind, seconds]
    }
}

/// What an interpreter says of itself. A version manager starts the version that it is told in its variable.
fn ask(path: &Path, wanted: &str) -> Option<Python> {
    let script = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)";
    let mut command = Command::new(path);
    if !wanted.is_empty() {
        command.env("PYENV_VERSION", wanted);
    }
    let output = command.args(["-c", script]).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (version, executable) = text.trim().split_once('\n')?;
    Some(Python { version: version.into(), program: Program::at(executable.into()) })
}
