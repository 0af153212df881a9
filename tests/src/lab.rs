//! The place a test works in: its turn on the machine, a directory of its own, and what it needs or is skipped without.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::{Launcher, Program, Recorder, Workload};

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// A test's turn and its directory. Only one lab is open at a time on the machine, whatever the number of test threads
/// and test programs, because workloads that compete for CPUs make every share noisier.
#[derive(Debug)]
pub struct Lab {
    directory: TempDir,
    _turn: File,
}

impl Lab {
    /// Waits for this test's turn. `None`, with the reason printed and counted, when it can't run here: it needs root.
    ///
    /// # Panics
    /// Where a test may not be skipped because `CI` is set.
    #[must_use]
    pub fn open() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            Self::skip("recording needs root");
            return None;
        }
        Some(Self::open_unprivileged())
    }

    /// Like [`Lab::open`] for a test that runs these programs.
    #[must_use]
    pub fn open_with(programs: &[&str]) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        if let Some(missing) = programs.iter().find(|program| !is_there(program)) {
            Self::skip(&format!("there is no {missing}"));
            return None;
        }
        Self::open()
    }

    /// Like [`Lab::open`] for a test that needs no privileges.
    #[must_use]
    pub fn open_unprivileged() -> Self {
        let turn = File::create(work_directory().join("turn.lock")).expect("create the lock file of the tests");
        turn.lock().expect("wait for this test's turn");
        let directory =
            tempfile::Builder::new().prefix("perfprobe-test-").tempdir().expect("create a temporary directory");
        Self { directory, _turn: turn }
    }

    /// The test's directory, removed at its end.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file or directory inside the test's directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Lets every user write to the test's directory.
    ///
    /// # Panics
    /// If its permissions can't be changed.
    pub fn open_to_everyone(&self) {
        open_to_everyone(self.path());
    }

    /// A copy of a program that every user can execute.
    #[must_use]
    pub fn copy(&self, program: &Program) -> Program {
        self.open_to_everyone();
        let name = program.path().file_name().unwrap_or_default();
        let path = self.path().join(name);
        if path.exists() { Program::at(path) } else { program.copy_to(path) }
    }

    /// Starts `program` by `launcher` and waits until it works; it is killed when the value is dropped.
    #[must_use]
    pub fn start_by(&self, launcher: &Launcher, program: &Program, arguments: &[&str]) -> Workload {
        let program = self.copy(program);
        let words: Vec<&OsStr> =
            launcher.words.iter().map(OsString::as_os_str).chain([program.path().as_os_str()]).collect();
        let arguments: Vec<&OsStr> = words[1..].iter().copied().chain(arguments.iter().map(OsStr::new)).collect();
        Workload::start(self, words[0].as_ref(), &arguments)
    }

    /// Starts `program` and waits until it works; it is killed when the value is dropped.
    #[must_use]
    pub fn start(&self, program: &Program, arguments: &[&str]) -> Workload {
        Workload::start(self, program.path(), arguments)
    }

    /// Prints and counts that the running test is skipped.
    ///
    /// # Panics
    /// Where `CI` is set: there, nothing may be skipped.
    pub fn skip(reason: &str) {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        assert!(std::env::var_os("CI").is_none(), "{name} may not be skipped in CI: {reason}");
        Self::leave_out(reason);
    }

    /// The same where CI leaves it out, too: the test is about something that this kernel does not have, and `docs/kernels.md`,
    /// which each kernel is held against, says so; or it is for guests, which CI starts.
    pub fn leave_out(reason: &str) {
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        // Written to the stream itself: what goes through println! is hidden when a test passes. `cargo xtask test` counts
        // the lines that begin so.
        let _ = writeln!(std::io::stdout(), "\nSKIPPED: {name}: {reason} ({count} skipped in this program)");
    }

    /// A recording to be described and run in this lab.
    #[must_use]
    pub fn record(&self) -> Recorder<'_> {
        Recorder::new(self)
    }
}

/// Lets every user write to a directory.
pub(crate) fn open_to_everyone(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory, open).expect("open the directory to everyone");
}

/// The directory of the build profile (`target/debug`), two above this test's own executable.
pub(crate) fn build_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of this test program");
    executable.ancestors().nth(2).expect("a build directory above this test program").to_owned()
}

/// Where tests leave what outlives them: the build directory, or the temporary one where that is read-only, as it is in a
/// guest that shares the machine's root.
pub(crate) fn work_directory() -> PathBuf {
    let build = build_directory();
    match rustix::fs::access(&build, rustix::fs::Access::WRITE_OK) {
        Ok(()) => build,
        Err(_) => std::env::temp_dir(),
    }
}
