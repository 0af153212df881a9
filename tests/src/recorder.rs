//! Describing one `perfprobe record` and starting it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::lab::open_to_everyone;
use crate::{Finished, Lab, Launcher, Program, Recording, Session, in_guest};

/// The most a sampler is asked for here: over a second, a share of one half then has a standard error of 1.6 points.
const FREQUENCY_HZ: u32 = 999;

/// A `perfprobe record` to be run. It writes a recording, a JSON report and folded stacks into a directory of its own.
#[derive(Debug)]
pub struct Recorder<'lab> {
    lab: &'lab Lab,
    directory: PathBuf,
    options: Vec<OsString>,
    outputs: Vec<OsString>,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    frequency_hz: Option<u32>,
    launcher: Option<Launcher>,
}

impl<'lab> Recorder<'lab> {
    pub(crate) fn new(lab: &'lab Lab) -> Self {
        let directory = tempfile::tempdir_in(lab.path()).expect("create a directory for a recording").keep();
        let outputs = ["out.perfprobe", "out.json", "out.folded"].map(|name| directory.join(name).into_os_string());
        Self {
            lab,
            directory,
            options: Vec::new(),
            outputs: outputs.to_vec(),
            command: Vec::new(),
            environment: Vec::new(),
            frequency_hz: Some(FREQUENCY_HZ),
            launcher: None,
        }
    }

    /// Records one running process.
    #[must_use]
    pub fn pid(self, pid: u32) -> Self {
        self.option("--pid", pid.to_string())
    }

    /// Records several running processes.
    #[must_use]
    pub fn pids(self, pids: &[u32]) -> Self {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        self.option("--pid", list.join(","))
    }

    /// Records a started command.
    #[must_use]
    pub fn command(mut self, program: &Program, arguments: &[impl AsRef<OsStr>]) -> Self {
        self.command = vec![program.path().into()];
        self.command.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Records a started shell script.
    #[must_use]
    pub fn shell(mut self, script: &str) -> Self {
        self.command = ["sh", "-c", script].map(OsString::from).to_vec();
        self
    }

    /// Records for this long (`2s`) instead of until the target ends.
    #[must_use]
    pub fn duration(self, duration: &str) -> Self {
        self.option("--duration", duration)
    }

    /// Samples at this frequency instead of 999 Hz.
    #[must_use]
    pub fn frequency(mut self, frequency_hz: u32) -> Self {
        self.frequency_hz = Some(frequency_hz);
        self
    }

    /// Leaves the frequency to perfprobe.
    #[must_use]
    pub fn default_frequency(mut self) -> Self {
        self.frequency_hz = None;
        self
    }

    /// Starts perfprobe by `launcher`.
    #[must_use]
    pub fn by(mut self, launcher: &Launcher) -> Self {
        open_to_everyone(&self.directory);
        self.launcher = Some(launcher.clone());
        self
    }

    /// Adds an option without a value.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.options.push(flag.into());
        self
    }

    /// Adds an option with its value.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.push(name.into());
        self.options.push(value.into());
        self
    }

    /// Adds an output beside the usual ones, in the same directory.
    #[must_use]
    pub fn output(mut self, name: &str) -> Self {
        self.outputs.push(self.directory.join(name).into_os_string());
        self
    }

    /// Puts the recording itself at `path`, and writes nothing else.
    #[must_use]
    pub fn only_output(mut self, path: &Path) -> Self {
        self.outputs = vec![path.into()];
        self
    }

    /// Names no output: the files get their default names in the working directory, which is [`Recorder::directory`].
    #[must_use]
    pub fn default_outputs(mut self) -> Self {
        self.outputs.clear();
        self
    }

    /// Sets a variable in the environment of perfprobe (and of the command it starts).
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Where the outputs go, and where perfprobe runs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts recording.
    #[must_use]
    pub fn start(mut self) -> Session {
        let mut arguments: Vec<OsString> = vec!["record".into()];
        if let Some(frequency_hz) = self.frequency_hz {
            arguments.extend(["--frequency".into(), frequency_hz.to_string().into()]);
        }
        // What the programs that see waits cost an emulated verifier, seconds, would be most of what such a test waits for.
        if in_guest() && !self.options.iter().any(|option| option == "--event") {
            arguments.extend(["--event".into(), "cpu".into()]);
        }
        arguments.append(&mut self.options);
        for output in self.outputs {
            arguments.extend(["--output".into(), output]);
        }
        if !self.command.is_empty() {
            arguments.push("--".into());
            arguments.append(&mut self.command);
        }
        self.environment.push(("WORKLOAD_LOG".into(), self.directory.join("workload.log").into()));
        let Some(launcher) = self.launcher else {
            return Session::start(self.lab, &self.directory, &arguments, &self.environment);
        };
        let mut command = Session::command_by(self.lab, &launcher, &arguments);
        command.envs(self.environment);
        Session::spawn(self.lab, &self.directory, command)
    }

    /// Records until perfprobe ends by itself.
    #[must_use]
    pub fn finish(self) -> Finished {
        self.start().wait()
    }

    /// Records until perfprobe ends by itself, which must be with exit code 0, and reads the outputs.
    #[must_use]
    pub fn run(self) -> Recording {
        self.finish().succeeded().recording()
    }
}
