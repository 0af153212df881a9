//! What guests need of the machine: QEMU, a file server for its root, a shell for the first process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result};

use super::architecture::Architecture;
use super::archive::Archive;
use crate::{command, install};

/// Before it, QEMU's emulation of several processors breaks guests that patch their own code, which tracing does
/// ("Oops: int3", seen with 7.2 in six runs of six, and with 10.0 in none).
const QEMU_FOR_MANY_CPUS: u32 = 10;

/// Programs to run guests with.
pub(crate) struct Tools {
    /// QEMU.
    pub(crate) qemu: PathBuf,
    /// Whether this QEMU may emulate several processors at once.
    pub(crate) many_cpus: bool,
    /// The server of the machine's root. QEMU had it until 8.0; its successor in Rust needs newer libraries than some have.
    pub(crate) virtiofsd: PathBuf,
    /// A static busybox for the guest.
    pub(crate) busybox: PathBuf,
}

impl Tools {
    /// Finds them, installs QEMU where it is missing, and takes the others out of their packages into `cache`. QEMU and the
    /// file server come from the archive of the machine's architecture, the guest's shell from that of its own.
    pub(crate) fn prepare(
        machine: &Archive,
        archive: &Archive,
        architecture: &Architecture,
        cache: &Path,
    ) -> Result<Self> {
        if command::find(architecture.qemu).is_none() {
            machine.install(&[architecture.qemu_package], "guests")?;
        }
        install::packages(&["kmod", "xz-utils", "util-linux", "libcap-ng0", "libseccomp2"], "guests")?;
        let qemu = command::find(architecture.qemu).with_context(|| format!("{} is missing", architecture.qemu))?;
        let version = command::read(Command::new(&qemu).arg("--version"))?;
        let many_cpus = major_version(&version).is_some_and(|major| major >= QEMU_FOR_MANY_CPUS);
        if !many_cpus {
            eprintln!(
                "warning: with QEMU before {QEMU_FOR_MANY_CPUS}, guests whose time is the machine's get one CPU; this is {}, \
                 and Debian's backports have a newer one",
                version.lines().next().unwrap_or_default()
            );
        }
        let virtiofsd = cache.join("virtiofsd");
        if !virtiofsd.exists() {
            // The last release whose QEMU has it.
            extract(machine, "qemu-system-common/bookworm", "usr/lib/qemu/virtiofsd", &virtiofsd)?;
        }
        let busybox = cache.join("busybox");
        if !busybox.exists() {
            extract(archive, "busybox-static", "bin/busybox", &busybox)?;
        }
        Ok(Self { qemu, many_cpus, virtiofsd, busybox })
    }
}

/// Takes one file out of a package. Packages of Debian 13 and later have what was in /bin in /usr/bin.
fn extract(archive: &Archive, package: &str, file: &str, to: &Path) -> Result<()> {
    let folder = to.with_extension("unpacked");
    let _ = fs::remove_dir_all(&folder);
    let pattern = format!("*/{file}");
    archive.unpack(&[package.to_owned()], &[&pattern], &folder)?;
    let found = [folder.join(file), folder.join("usr").join(file)].into_iter().find(|path| path.is_file());
    let found = found.with_context(|| format!("the package {package} has no {file}"))?;
    fs::rename(found, to).with_context(|| format!("cannot write {}", to.display()))?;
    fs::remove_dir_all(&folder).context("cannot remove an unpacked package")
}

/// `QEMU emulator version 10.0.2 (...)`
fn major_version(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

/// The search path with the folders of programs for the administrator, which users may not have in theirs.
pub(super) fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_of_qemu() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright";
        assert_eq!(super::major_version(debian), Some(10));
        assert_eq!(super::major_version("something else"), None);
    }
}
