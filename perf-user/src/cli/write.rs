//! Writing files for the user: checked before the work begins, owned by whoever called sudo.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};

use super::Failure;
use crate::{
    output::{self, ExportOptions, Format},
    profile::Profile,
};

/// The formats of `paths`, by their names.
///
/// # Errors
/// When one has an extension that no format has: wrong use.
pub(super) fn formats(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Format)>, Failure> {
    let format = |path: &PathBuf| match Format::from_path(path) {
        Ok(format) => Ok((path.clone(), format)),
        Err(error) => Err(Failure::Usage(error.to_string())),
    };
    paths.iter().map(format).collect()
}

/// Whether two paths lead to the same file, by links too.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    one == other || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Makes sure that a file can be written before an hour is spent on its contents.
///
/// # Errors
/// Why it cannot.
pub(super) fn check_writable(path: &Path) -> anyhow::Result<()> {
    // A link that leads nowhere is not new, and must stay.
    let new = path.symlink_metadata().is_err();
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(anyhow!("cannot write {}: it is there and no regular file; choose another name", path.display()));
    }
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| anyhow!("cannot write {}: {error}; choose another place with --output", path.display()))?;
    if new {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Writes a profile in one format.
///
/// # Errors
/// Why the file could not be written.
pub(super) fn write(path: &Path, format: Format, profile: &Profile, options: &ExportOptions) -> anyhow::Result<()> {
    let writing = || format!("cannot write {}", path.display());
    let file = File::create(path).with_context(writing)?;
    let mut out = BufWriter::new(file);
    output::write(format, profile, options, &mut out).with_context(writing)?;
    out.flush().with_context(writing)?;
    give_to_caller(path);
    Ok(())
}

/// Prints to standard output. A reader that has seen enough, as `head`, is no failure.
pub(super) fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Tells the user something, if anybody still listens.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Under sudo, files belong to the user who called it.
pub(super) fn give_to_caller(path: &Path) {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
        // If that fails the file is there all the same, only root's.
        let _ = std::os::unix::fs::lchown(path, Some(uid), Some(gid));
    }
}
