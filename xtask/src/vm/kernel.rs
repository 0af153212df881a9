//! Kernels: the newest Debian package of a series, unpacked into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::architecture::Architecture;
use super::archive::Archive;
use super::tools;
use crate::command;

/// What a guest may load, where its kernel does not have it built in: the root file system, overlays upon it, and disks of tests.
const MODULES: &[&str] = &["virtio_pci", "virtiofs", "overlay", "loop"];
/// The files of those modules and of what they need, the image, and what depmod reads.
const FILES: &[&str] = &[
    "*/vmlinuz*",
    "*/modules.builtin*",
    "*/modules.order",
    "*/drivers/virtio/*",
    "*/drivers/block/loop*",
    "*/fs/fuse/*",
    "*/fs/overlayfs/*",
];
/// The file that says which modules were looked for.
const LOOKED_FOR: &str = "looked-for";

/// A kernel to boot.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// `6.1`.
    pub(crate) series: String,
    /// As `uname -r` prints it.
    pub(crate) release: String,
    /// What QEMU boots.
    pub(crate) image: PathBuf,
    /// Modules to load, in this order.
    pub(crate) modules: Vec<PathBuf>,
}

/// Why there is no kernel of a series.
#[derive(Debug)]
pub(crate) struct NotInArchive(String);

impl std::fmt::Display for NotInArchive {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for NotInArchive {}

impl Kernel {
    /// The newest kernel of a series (`6.1`, or `7.x` for the newest series of that number), fetched when the cache lacks it.
    ///
    /// Fails with [`NotInArchive`] when the archive has none.
    pub(crate) fn get(series: &str, archive: &Archive, architecture: &Architecture, cache: &Path) -> Result<Self> {
        let release = newest(series, archive, architecture)?;
        let folder = cache.join(&release);
        let looked_for = fs::read_to_string(folder.join(LOOKED_FOR)).unwrap_or_default();
        if looked_for != MODULES.join(" ") {
            let _ = fs::remove_dir_all(&folder);
            fetch(&release, archive, cache)?;
        }
        let series = series_of(&release).with_context(|| format!("{release} has no series"))?;
        let mut modules = Vec::new();
        for entry in fs::read_dir(folder.join("modules"))? {
            modules.push(entry?.path());
        }
        modules.sort();
        Ok(Self { series, release, image: folder.join("image"), modules })
    }
}

/// The release of the newest kernel of a series.
fn newest(series: &str, archive: &Archive, architecture: &Architecture) -> Result<String> {
    let names = archive.names("linux-image-")?;
    let release = |name: &'_ String| {
        let release = name.strip_prefix("linux-image-")?;
        (release.ends_with(architecture.flavour) && series_of(release).is_some()).then(|| release.to_owned())
    };
    let mut releases: Vec<String> = names.iter().filter_map(release).collect();
    releases.sort_by_key(|release| numbers(release));
    if let Some(found) = releases.iter().rfind(|release| is_of(release, series)) {
        return Ok(found.clone());
    }
    let mut others: Vec<String> = releases.iter().filter_map(|release| series_of(release)).collect();
    others.dedup();
    bail!(NotInArchive(format!(
        "there is no kernel {series} for {} in the package sources of this machine; there are {}",
        architecture.debian,
        others.join(", ")
    )))
}

fn is_of(release: &str, series: &str) -> bool {
    match series.strip_suffix(".x") {
        Some(major) => release.split('.').next() == Some(major),
        None => series_of(release).as_deref() == Some(series),
    }
}

/// `6.1` of `6.1.0-56-cloud-amd64`; `None` for what is no release, such as `6.1-cloud-amd64`.
pub(crate) fn series_of(release: &str) -> Option<String> {
    let mut parts = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let (major, minor, _) = (parts.next()??, parts.next()??, parts.next()??);
    Some(format!("{major}.{minor}"))
}

/// All numbers in a release: in this order newer releases are greater.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Unpacks a kernel into the cache, whole or not at all, and removes older ones of its series.
fn fetch(release: &str, archive: &Archive, cache: &Path) -> Result<()> {
    let unfinished = cache.join(format!("{release}.unfinished"));
    let _ = fs::remove_dir_all(&unfinished);
    let tree = unfinished.join("tree");
    fs::create_dir_all(&tree).with_context(|| format!("cannot create {}", tree.display()))?;
    // From 6.19 on linux-image-* is empty, and the kernel and its modules come in packages of their own.
    let mut packages = vec![format!("linux-image-{release}")];
    let parts: Vec<String> =
        ["binary", "modules", "base"].iter().map(|part| format!("linux-{part}-{release}")).collect();
    if archive.has(&parts[0])? {
        packages.clear();
        for part in parts {
            if archive.has(&part)? {
                packages.push(part);
            }
        }
    }
    archive.unpack(&packages, FILES, &tree)?;
    let image = find(&tree, &|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
        .with_context(|| format!("{} has no image", packages.join(" ")))?;
    fs::copy(&image, unfinished.join("image"))?;
    fs::create_dir(unfinished.join("modules"))?;
    copy_modules(release, &tree, &unfinished.join("modules"))?;
    fs::remove_dir_all(&tree)?;
    fs::write(unfinished.join(LOOKED_FOR), MODULES.join(" "))?;
    let series = series_of(release);
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != *release && series.is_some() && series_of(&name) == series && entry.path() != unfinished {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    fs::rename(&unfinished, cache.join(release)).context("cannot put the kernel into the cache")
}

/// Copies the modules that are not built in, in the order in which they have to be loaded, uncompressed.
fn copy_modules(release: &str, tree: &Path, to: &Path) -> Result<()> {
    let is_folder = |path: &Path| path.ends_with(format!("lib/modules/{release}"));
    let Some(folder) = find(tree, &is_folder) else { return Ok(()) };
    let base = folder.ancestors().nth(3).context("modules without a root")?;
    let mut depmod = Command::new("depmod");
    depmod.env("PATH", tools::path_with_sbin()).arg("-b").arg(base).arg(release);
    command::read(&mut depmod)?;
    let mut copied: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe.env("PATH", tools::path_with_sbin());
        modprobe.arg("-d").arg(base).args(["-S", release, "--show-depends", module]);
        // Fails for a module that this kernel does not have, which is only missed by who asks for it.
        let needed = command::read(&mut modprobe).unwrap_or_default();
        for file in needed.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim());
            if copied.contains(&file) {
                continue;
            }
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = format!("{:02}-{}", copied.len(), name.trim_end_matches(".xz"));
            if file.extension().is_some_and(|extension| extension == "xz") {
                let output = Command::new("xz").arg("-dc").arg(&file).output().context("cannot start xz")?;
                fs::write(to.join(name), output.stdout)?;
            } else {
                fs::copy(&file, to.join(name))?;
            }
            copied.push(file);
        }
    }
    Ok(())
}

/// The first file or folder below `folder` that is wanted.
fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries.iter().find(|path| wanted(path)).cloned().or_else(|| {
        let folders = entries.iter().filter(|path| path.is_dir() && !path.is_symlink());
        folders.into_iter().find_map(|path| find(path, wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::{is_of, numbers, series_of};

    #[test]
    fn the_newest_of_a_series() {
        let mut releases = ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.1.0-0.deb11.60-cloud-amd64"];
        releases.sort_by_key(|release| numbers(release));
        assert_eq!(releases.last(), Some(&"6.1.0-56-cloud-amd64"));
        assert!(numbers("6.12.117+deb13-cloud-amd64") > numbers("6.12.117+deb12-cloud-amd64"));
    }

    #[test]
    fn a_series_is_not_another_that_begins_like_it() {
        assert!(is_of("6.1.0-56-cloud-amd64", "6.1") && !is_of("6.12.117+deb13-cloud-amd64", "6.1"));
        assert!(is_of("7.2.12+deb13-cloud-amd64", "7.x") && !is_of("6.1.0-7.2-cloud-amd64", "7.x"));
        assert_eq!(series_of("6.1-cloud-amd64"), None);
    }
}
