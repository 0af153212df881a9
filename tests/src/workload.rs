//! A workload that runs: its log, its CPU time, and its end.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{CpuMeter, Lab};

/// A running workload, killed with all its children when the value is dropped.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    log: PathBuf,
}

impl Workload {
    /// Starts `executable` and waits until it logs `ready`.
    ///
    /// # Panics
    /// If it can't be started or does not get ready.
    #[must_use]
    pub fn start(lab: &Lab, executable: &Path, arguments: &[impl AsRef<OsStr>]) -> Self {
        let log =
            tempfile::Builder::new().suffix(".log").tempfile_in(lab.path()).expect("create a log").into_temp_path();
        let log = log.keep().expect("keep the log");
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&log, everybody).expect("open the log to everyone");
        let child = Command::new(executable)
            .args(arguments)
            .env("WORKLOAD_LOG", &log)
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("start the workload {}: {error}", executable.display()));
        let workload = Self { child, log };
        let deadline = Instant::now() + Duration::from_secs(60);
        while logged(&workload.log, "ready").is_empty() {
            assert!(Instant::now() < deadline, "the workload {} does not get ready", executable.display());
            std::thread::sleep(Duration::from_millis(2));
        }
        workload
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Watches how much CPU time the process uses from now on.
    #[must_use]
    pub fn meter(&self) -> CpuMeter {
        CpuMeter::start(self.pid())
    }

    /// The values of all lines `key VALUE...` that it logged so far.
    #[must_use]
    pub fn logged(&self, key: &str) -> Vec<String> {
        logged(&self.log, key)
    }

    /// Kills it and everything it started, at once.
    pub fn kill(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it fails.
    pub fn wait(&mut self) {
        let status = self.child.wait().expect("wait for the workload");
        assert!(status.success(), "the workload failed: {status}");
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The values of all lines `key VALUE...` of the log at `path`.
pub(crate) fn logged(path: &Path, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map(str::to_owned).collect()
}
