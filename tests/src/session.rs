//! Running the `perfprobe` binary: started, signalled, waited for, never left behind.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::bpf_objects::holds_programs;
use crate::lab::build_directory;
use crate::machine::in_guest;
use crate::{Finished, Lab, Launcher};

/// No run of perfprobe in these tests takes this long; one that does hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A running perfprobe, killed with what it started when the value is dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    directory: PathBuf,
    streams: PathBuf,
}

/// Runs `perfprobe` with `arguments` in the lab's directory until it ends.
#[must_use]
pub fn perfprobe(lab: &Lab, arguments: &[impl AsRef<OsStr>]) -> Finished {
    Session::start(lab, lab.path(), arguments, &[]).wait()
}

/// Runs `perfprobe` with `arguments` and a standard output that nobody reads; what it wrote to standard error.
///
/// # Panics
/// If it can't be started.
#[must_use]
pub fn perfprobe_into_closed_pipe(arguments: &[&str]) -> String {
    let mut command = Command::new(binary());
    let mut child =
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start perfprobe");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("wait for perfprobe");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The binary under test.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub(crate) fn binary() -> PathBuf {
    let path = std::env::var_os("PERFPROBE").map_or_else(|| build_directory().join("perfprobe"), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no perfprobe at {}: build it first (cargo build -p perf-user, with --release if the tests have it), or \
         set PERFPROBE to the path of the binary to test",
        path.display()
    );
    path.canonicalize().expect("the absolute path of perfprobe")
}

impl Session {
    /// Starts perfprobe in `directory`.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(
        lab: &Lab,
        directory: &Path,
        arguments: &[impl AsRef<OsStr>],
        environment: &[(OsString, OsString)],
    ) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).envs(environment.iter().cloned());
        Self::spawn(lab, directory, command)
    }

    /// Starts a copy of perfprobe that everybody can reach, by `launcher`, in the lab's directory.
    #[must_use]
    pub fn start_by(lab: &Lab, launcher: &Launcher, arguments: &[impl AsRef<OsStr>]) -> Self {
        let command = Self::command_by(lab, launcher, arguments);
        Self::spawn(lab, lab.path(), command)
    }

    pub(crate) fn command_by(lab: &Lab, launcher: &Launcher, arguments: &[impl AsRef<OsStr>]) -> Command {
        lab.open_to_everyone();
        let copy = lab.file("perfprobe");
        if !copy.exists() {
            std::fs::copy(binary(), &copy).expect("copy perfprobe");
        }
        let mut words = launcher.words.iter().cloned().chain([copy.into_os_string()]);
        let mut command = Command::new(words.next().expect("a launcher or perfprobe"));
        command.args(words).args(arguments);
        command
    }

    pub(crate) fn spawn(lab: &Lab, directory: &Path, mut command: Command) -> Self {
        let streams = tempfile::tempdir_in(lab.path()).expect("create a directory for the output").keep();
        let stream = |name| File::create(streams.join(name)).expect("create a file for the output");
        let child = command
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stream("stdout"))
            .stderr(stream("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self { child, directory: directory.to_owned(), streams }
    }

    /// The process id of perfprobe.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the recording exists and has been sampled into for half a second.
    ///
    /// # Panics
    /// If perfprobe ends before.
    pub fn wait_until_recording(&mut self, recording: &str) {
        let path = self.directory.join(recording);
        while !path.exists() {
            if let Some(status) = self.child.try_wait().expect("ask for the state of perfprobe") {
                panic!("perfprobe ended ({status}) before it recorded:\n{}", self.stream("stderr"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // The programs can take longer on a machine with much to do. Who is not the recorder itself has none.
        let deadline = Instant::now() + Duration::from_secs(2);
        while !holds_programs(self.pid()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(500));
    }

    /// Sends a signal to perfprobe alone.
    ///
    /// # Panics
    /// If it has been waited for already.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("send a signal to perfprobe");
    }

    /// Sends a signal to perfprobe and all that it started, as a terminal does.
    ///
    /// # Panics
    /// If it has been waited for already.
    pub fn signal_group(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process_group(group, signal).expect("send a signal to perfprobe and its command");
    }

    /// Its working directory, where [`crate::Recorder`] puts the outputs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If it hangs.
    #[must_use]
    pub fn wait(mut self) -> Finished {
        let deadline = Instant::now() + if in_guest() { HANGS_AFTER * 5 } else { HANGS_AFTER };
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("ask for the state of perfprobe") {
                break status;
            }
            assert!(Instant::now() < deadline, "perfprobe hangs:\n{}", self.stream("stderr"));
            std::thread::sleep(Duration::from_millis(5));
        };
        let finished = Finished {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stream("stdout"),
            stderr: self.stream("stderr"),
            directory: self.directory.clone(),
        };
        assert!(!finished.stderr.contains("panicked at"), "perfprobe panicked:\n{}", finished.stderr);
        finished
    }

    fn stream(&self, name: &str) -> String {
        let bytes = std::fs::read(self.streams.join(name)).expect("read the output of perfprobe");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
