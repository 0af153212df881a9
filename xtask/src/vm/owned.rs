//! What a run of a guest owns and nothing may leave behind: processes, and a folder.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use anyhow::{Context as _, Result, bail};

/// Begins the names of the folders that runs use; a dead owner's is removed.
const FOLDER_PREFIX: &str = "perfprobe-guest-";

/// A child process that does not outlive us: killed when dropped, and by the kernel when we die of a signal.
pub(super) struct Owned(pub(super) Child);

impl Owned {
    /// Starts a program with what `prepare` adds.
    pub(super) fn start(program: &Path, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        let child = prepare(&mut command).spawn();
        child.map(Self).with_context(|| format!("cannot start {}", program.display()))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for the files of one run, removed with the value.
pub(super) struct RunFolder(pub(super) PathBuf);

impl RunFolder {
    /// Creates it, and removes those whose owner is dead.
    pub(super) fn create(name: &str) -> Result<Self> {
        let temporary = env::temp_dir();
        for entry in fs::read_dir(&temporary).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(FOLDER_PREFIX).and_then(|rest| rest.split('-').next().map(str::to_owned));
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = temporary.join(format!("{FOLDER_PREFIX}{}-{name}", process::id()));
        let created = fs::DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts the server of the machine's root, and waits until it listens.
pub(super) fn serve_root(virtiofsd: &Path, socket: &Path, log: &Path) -> Result<Owned> {
    let log_file = File::create(log)?;
    let mut server = Owned::start(virtiofsd, |command| {
        command.arg(format!("--socket-path={}", socket.display()));
        command.args(["-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot", "-o", "log_level=err", "-f"]);
        command.stdin(Stdio::null()).stderr(log_file)
    })?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        if let Some(status) = server.0.try_wait()? {
            let said = fs::read_to_string(log).unwrap_or_default();
            bail!("the server of the guest's root ended ({status}): {}", said.trim());
        }
        if Instant::now() > deadline {
            bail!("the server of the guest's root does not listen");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}
