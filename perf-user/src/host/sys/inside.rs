//! Opening files within another process's root directory, where that process may have put anything.

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    },
    path::Path,
};

use super::{handle_in_root, is_last_descriptor};

/// A directory to look for files in: links and `..` do not lead out of it, whatever is put there meanwhile.
///
/// # Errors
/// When it cannot be opened.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Some(directory).filter(|file| !is_last_descriptor(file.as_fd())).map(OwnedFd::from).ok_or_else(not_found)
}

/// Opens a regular file for reading, by a path that is taken within `root`. What is no regular file is not opened, so that
/// nothing waits and no device notices; what takes its place meanwhile is not opened either.
///
/// # Errors
/// When there is no such file, or it may not be read. `ENOSYS` before Linux 5.6.
pub fn open_regular_within(root: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let found = handle_in_root(root, &path)?;
    if !found.metadata()?.is_file() {
        return Err(not_found());
    }
    let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    Some(file).filter(|file| !is_last_descriptor(file.as_fd())).ok_or_else(not_found)
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{io::Read as _, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_stay_within_the_root_and_only_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("root");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(folder.path().join("secret"), "outside").unwrap();
        std::fs::write(inner.join("plain"), "inside").unwrap();
        symlink("/plain", inner.join("absolute")).unwrap();
        symlink("../secret", inner.join("upwards")).unwrap();
        symlink("/proc/self/exe", inner.join("magic")).unwrap();
        let fifo = CString::new(inner.join("fifo").as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends in a zero.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        let root = open_root(&inner).unwrap();
        let read = |path: &str| {
            let mut text = String::new();
            open_regular_within(root.as_fd(), Path::new(path)).ok()?.read_to_string(&mut text).ok()?;
            Some(text)
        };
        for (path, expected) in [
            ("plain", Some("inside")),
            ("/plain", Some("inside")),
            ("absolute", Some("inside")),
            ("/../plain", Some("inside")),
            ("upwards", None),
            ("../secret", None),
            ("magic", None),
            ("fifo", None),
            ("/", None),
        ] {
            assert_eq!(read(path).as_deref(), expected, "{path}");
        }
    }
}
