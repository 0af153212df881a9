//! A load where it can run: its packages are there, its folder is filled, its server can be started.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::loads::Load;
use super::target::Target;
use crate::{command, install};

/// A server that does not answer after this long does not work here.
const START_LIMIT: Duration = Duration::from_secs(20);
/// A server that has not ended this long after SIGINT is killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A load that is installed.
pub(super) struct Site {
    pub(super) load: &'static Load,
    folder: PathBuf,
    last_cpu: usize,
}

/// A running server. Ended when dropped.
pub(super) struct Serving {
    child: Child,
}

impl Site {
    /// Installs the load and prepares its folder in `dir`.
    pub(super) fn prepare(load: &'static Load, dir: &Path, cpus: usize) -> Result<Self> {
        install::packages(load.packages, load.name)?;
        let folder = dir.join(load.name.replace(' ', "-"));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        command::read(&mut command::shell(load.prepare, &folder))?;
        Ok(Self { load, folder, last_cpu: cpus - 1 })
    }

    /// The command of so much work.
    pub(super) fn work(&self, amount: u64) -> String {
        self.placed(self.load.work).replace("$N", &amount.to_string())
    }

    /// A process that becomes this command once it is told to go.
    pub(super) fn start(&self, amount: u64) -> Result<Target> {
        let script = format!("read go; exec 2>&1; exec {}", self.work(amount));
        Target::start(command::shell(&script, &self.folder).env("LC_ALL", "C"))
    }

    /// Starts the server, where there is one, and waits until it answers.
    pub(super) fn serve(&self) -> Result<Option<Serving>> {
        let Some(server) = &self.load.server else { return Ok(None) };
        let log = File::create(self.folder.join("server.log"))?;
        let mut run = command::shell(&format!("exec {}", self.placed(server.run)), &self.folder);
        run.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let mut serving = Serving { child: run.spawn().context("cannot start the server")? };
        let started = Instant::now();
        while command::read(&mut command::shell(server.answers, &self.folder)).is_err() {
            let ended = serving.child.try_wait().context("cannot wait for the server")?;
            if ended.is_some() || started.elapsed() > START_LIMIT {
                let text = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                bail!("its server does not answer: {}", text.lines().last().unwrap_or("it says nothing"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(serving))
    }

    fn placed(&self, script: &str) -> String {
        script.replace("$CPU", &self.last_cpu.to_string())
    }
}

impl Serving {
    /// The server's process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A server that is killed leaves its children and its memory behind, so it is asked first.
        let _ = command::read(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < END_LIMIT {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
