//! Installing what is missing, and saying what is installed.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::command;

/// The package index is refreshed once a run.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Installs without questions, after whoever else is installing something.
pub(crate) const INSTALL: &[&str] = &["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"];

/// Makes sure these Debian packages are there; installs the missing ones, as root or through `sudo`.
pub(crate) fn packages(names: &[&str], why: &str) -> Result<()> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if command::find("apt-get").is_none() {
        bail!(
            "{why} needs the Debian packages {list}, and there is no apt-get: install what your distribution calls them"
        );
    }
    eprintln!("installing packages: {list} ({why})");
    if !UPDATED.swap(true, Ordering::Relaxed) {
        command::run(as_root("apt-get")?.args(["-q", "update"]))?;
    }
    command::run(as_root("apt-get")?.args(INSTALL).arg("-q").args(&missing))
}

/// SQLite is compiled from its C sources: makes sure that there is a C compiler.
pub(crate) fn compiler() -> Result<()> {
    if command::find("cc").is_some() {
        return Ok(());
    }
    packages(&["gcc", "libc6-dev"], "building perfprobe")
}

/// A command that runs as root: directly, or through `sudo`; fails with the remedy where there is neither.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if command::is_root() {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        return Ok(command);
    }
    if command::find("sudo").is_none() {
        bail!("`{program}` has to run as root, and there is no sudo: run this command as root");
    }
    let mut command = Command::new("sudo");
    command.args(["-E", "--", program]);
    Ok(command)
}

fn is_installed(name: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", name])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}
