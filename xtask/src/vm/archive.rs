//! The archive that guests' kernels come from: an apt of its own, which leaves the machine's configuration alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::architecture::Architecture;
use super::sources;
use crate::{command, install};

/// How long the lists of packages are good for.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Debian's packages for one architecture, of all releases that guests need.
pub(crate) struct Archive {
    folder: PathBuf,
    /// The machine's own release.
    pub(crate) codename: String,
}

impl Archive {
    /// Writes the configuration into `folder` and fetches the lists of packages when they are older than a day.
    pub(crate) fn open(folder: PathBuf, architecture: &Architecture) -> Result<Self> {
        if command::find("apt-get").is_none() {
            bail!("guests boot Debian's kernels, and there is no apt-get here to fetch them with");
        }
        let derived = sources::derive()?;
        for sub in ["lists/partial", "cache/archives/partial", "sources.list.d"] {
            let dir = folder.join(sub);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let changed = [
            write(&folder.join("sources.list.d/debian.sources"), &derived.sources)?,
            write(&folder.join("preferences"), &derived.preferences)?,
            write(&folder.join("apt.conf"), &configuration(&folder, architecture))?,
        ];
        let archive = Self { folder, codename: derived.codename };
        let stamp = archive.folder.join("updated");
        let age = fs::metadata(&stamp).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if changed.contains(&true) || age.is_none_or(|age| age > FRESH) {
            archive.update()?;
            File::create(&stamp).with_context(|| format!("cannot write {}", stamp.display()))?;
        }
        Ok(archive)
    }

    /// One of apt's commands with this configuration.
    pub(crate) fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// A suite that has left the archive is a warning: what is missing without it is named by whoever asks for it.
    fn update(&self) -> Result<()> {
        eprintln!("fetching the lists of packages for guests");
        let output = self.apt("apt-get").args(["-q", "update"]).output().context("cannot start apt-get")?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        for line in complaints.lines().filter(|line| line.starts_with("E:") || line.starts_with("W:")) {
            eprintln!("warning: apt: {line}");
        }
        if !output.status.success() && self.names("linux-image-")?.is_empty() {
            bail!("the lists of packages cannot be fetched: {}", complaints.trim());
        }
        Ok(())
    }

    /// The packages whose name begins with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = command::read(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Does the archive have a package of exactly this name?
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.names(name)?.iter().any(|found| found == name))
    }

    /// Fetches packages (apt checks their checksums) and unpacks those of their files that match `patterns` into `folder`.
    pub(crate) fn unpack(&self, packages: &[String], patterns: &[&str], folder: &Path) -> Result<()> {
        let downloads = folder.join("downloads");
        fs::create_dir_all(&downloads).with_context(|| format!("cannot create {}", downloads.display()))?;
        eprintln!("fetching {}", packages.join(" "));
        let download = || {
            let mut apt = self.apt("apt-get");
            command::read(apt.args(["-qq", "download"]).args(packages).current_dir(&downloads))
        };
        if download().is_err() {
            // A package that was replaced since the lists were fetched is gone.
            self.update()?;
            download()?;
        }
        for entry in fs::read_dir(&downloads)? {
            let package = entry?.path();
            let mut contents = Command::new("dpkg-deb")
                .arg("--fsys-tarfile")
                .arg(&package)
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot start dpkg-deb")?;
            let tar = contents.stdout.take().context("cannot read from dpkg-deb")?;
            let mut unpack = Command::new("tar");
            unpack.args(["-x", "--wildcards", "-C"]).arg(folder).args(patterns).stdin(tar);
            // A pattern that no file of this package matches is an error to tar, and none here.
            unpack.stderr(Stdio::null()).status().context("cannot start tar")?;
            if !contents.wait()?.success() {
                bail!("{} cannot be unpacked: delete {} and try again", package.display(), self.folder.display());
            }
        }
        fs::remove_dir_all(&downloads)?;
        Ok(())
    }

    /// Installs packages into the machine, from its backports where these have them.
    pub(crate) fn install(&self, packages: &[&str], why: &str) -> Result<()> {
        eprintln!("installing packages: {} ({why})", packages.join(" "));
        let backports = format!("{}-backports", self.codename);
        let install = |release: &[&str]| -> Result<()> {
            let mut command = install::as_root("apt-get")?;
            command.arg("-c").arg(self.folder.join("apt.conf")).args(release);
            command.args(install::INSTALL).arg("-qq").args(packages);
            command::read(&mut command).map(drop)
        };
        install(&["-t", &backports]).or_else(|_| install(&[]))
    }
}

/// Writes a file whose text has changed; whether it had.
fn write(path: &Path, text: &str) -> Result<bool> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Read after the machine's own configuration, whose proxies and the like stay in force.
fn configuration(folder: &Path, architecture: &Architecture) -> String {
    let folder = folder.display();
    let architecture = architecture.debian;
    format!(
        "Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{folder}/sources.list.d\";\n\
         Dir::Etc::preferences \"{folder}/preferences\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State::Lists \"{folder}/lists\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         APT::Architecture \"{architecture}\";\n\
         #clear APT::Architectures;\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         DPkg::Lock::Timeout \"300\";\n"
    )
}
