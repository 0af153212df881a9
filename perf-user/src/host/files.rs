//! Making files where others may write, so that nothing is written to but what was meant.
//!
//! Who owns a directory can put a link in the place of a file at any moment, and the recorder usually is root. So in a
//! directory of another user root makes files with that user's rights: whatever the path leads to, it is nothing that the
//! user could not write to without us. In a directory of its own that all may write to, it is nobody; if only owners remove
//! files from there, as from `/tmp`, it stays root, but follows no links and writes to no file but its own.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::sys::{self, FileRights};

/// Only for the owner: a recording tells paths, names and arguments of programs that others may not look into. perf(1) does
/// the same.
pub const PRIVATE: u32 = 0o600;

/// As the umask has it.
pub const COMMON: u32 = 0o666;

/// The user and the group that own nothing.
const NOBODY: u32 = 65_534;

/// The user and the group that called sudo, if anybody did.
#[must_use]
pub fn caller() -> Option<(u32, u32)> {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}

/// Opens a regular file of somebody else's, who may have put something else in its place: nothing that is no file makes this wait.
///
/// # Errors
/// When there is none, or it may not be read.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Whose file it is, or whose link.
fn owner(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.uid())
}

/// Where a file is to be made.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    /// The user and group whose directory it is, if that is another than root, which we are.
    owner: Option<(u32, u32)>,
    /// Others can make files beside it, and not replace ours.
    shared: bool,
}

impl Place {
    /// Looks at the directory of `path`.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut place = Self { path: path.to_owned(), owner: None, shared: false };
        if !sys::is_root() {
            return Ok(place);
        }
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let metadata = fs::metadata(directory)?;
        const STICKY: u32 = 0o1000;
        const ALL_WRITE: u32 = 0o002;
        match (metadata.uid(), metadata.mode() & (STICKY | ALL_WRITE)) {
            (0, 0 | STICKY) => {}
            (0, ALL_WRITE) => place.owner = Some((NOBODY, NOBODY)),
            // What was given to the caller of sudo can be written again.
            (0, _) => match caller().filter(|(uid, _)| owner(path) == Some(*uid)) {
                Some(caller) => place.owner = Some(caller),
                None => place.shared = true,
            },
            // Root's own group can have rights that are not the user's.
            (owner, _) => place.owner = Some((owner, if metadata.gid() == 0 { NOBODY } else { metadata.gid() })),
        }
        Ok(place)
    }

    /// Takes the rights with which files are made here; `None` where our own are right.
    ///
    /// # Errors
    /// When this process may not take them.
    pub fn rights(&self) -> io::Result<Option<FileRights>> {
        self.owner.map(|(uid, gid)| FileRights::of(uid, gid)).transpose()
    }

    /// Whether files made here are another user's.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.owner.is_some()
    }

    /// Opens the file for reading and writing; makes it with this mode, if it is not there. What it holds stays.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file, or is not to be trusted.
    pub fn open(&self, mode: u32) -> io::Result<File> {
        let _rights = self.rights()?;
        if fs::metadata(&self.path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::other("it is there and no regular file"));
        }
        let no_links = if self.shared { libc::O_NOFOLLOW } else { 0 };
        // Nothing that takes the file's place meanwhile can make the open wait.
        let flags = no_links | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).mode(mode).custom_flags(flags).open(&self.path);
        let file = file.map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) if self.shared => {
                io::Error::other("it is a link, in a directory that others may write to")
            }
            Some(libc::EACCES | libc::EPERM) => match self.owner {
                Some((uid, _)) => {
                    io::Error::other(format!("permission denied to user {uid}, as whom root writes there"))
                }
                None => error,
            },
            _ => error,
        })?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        if self.shared && (metadata.uid() != 0 || metadata.nlink() != 1) {
            let why = "it is another user's or has several names, in a directory that others may write to";
            return Err(io::Error::other(why));
        }
        Ok(file)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            Some((uid, _)) => {
                write!(out, "{} is in a directory of user {uid}, and made as that user", self.path.display())
            }
            None => write!(out, "{}", self.path.display()),
        }
    }
}
