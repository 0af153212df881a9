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
    host::files::{COMMON, Place, caller},
    output::{self, ExportOptions, Format},
    profile::Profile,
    report::human::lines,
    store::Selection,
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

/// How much of a recording these show.
pub(super) fn detail(outputs: &[(PathBuf, Format)]) -> Selection {
    let any = |needs: fn(Format) -> bool| outputs.iter().any(|(_, format)| needs(*format));
    Selection { moments: any(Format::needs_moments), latencies: any(Format::needs_latencies), ..Selection::default() }
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
    open(path)?;
    if new {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Opens an output, whose contents stay; tells where it is.
fn open(path: &Path) -> anyhow::Result<(File, Place)> {
    let opened = Place::of(path).and_then(|place| Ok((place.open(COMMON)?, place)));
    opened.map_err(|error| anyhow!("cannot write {}: {error}; choose another place with --output", path.display()))
}

/// Writes a profile in one format.
///
/// # Errors
/// Why the file could not be written.
pub(super) fn write(path: &Path, format: Format, profile: &Profile, options: &ExportOptions) -> anyhow::Result<()> {
    let writing = || format!("cannot write {}", path.display());
    let (file, place) = open(path)?;
    let mut out = BufWriter::new(Replaced { file: &file, is_begun: false });
    output::write(format, profile, options, &mut out).with_context(writing)?;
    out.flush().with_context(writing)?;
    drop(out);
    give(&file, &place);
    Ok(())
}

/// A file whose contents are replaced: once there is something to take their place, not before.
struct Replaced<'file> {
    file: &'file File,
    is_begun: bool,
}

impl std::io::Write for Replaced<'_> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if !self.is_begun {
            self.file.set_len(0)?;
            self.is_begun = true;
        }
        self.file.write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Prints to standard output. A reader that has seen enough, as `head`, is no failure.
pub(super) fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Tells the user something, if anybody still listens. Names and paths in it may be anything.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", lines(text));
}

/// Under sudo, files belong to the user who called it.
pub(super) fn give_to_caller(path: &Path) {
    if let Ok((file, place)) = open(path) {
        give(&file, &place);
    }
}

fn give(file: &File, place: &Place) {
    // In a directory of another user the file is that user's already.
    if let (Some((uid, gid)), false) = (caller(), place.is_foreign()) {
        // If that fails the file is there all the same, only root's.
        let _ = std::os::unix::fs::fchown(file, Some(uid), Some(gid));
    }
}
