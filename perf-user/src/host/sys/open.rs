//! Opening files as another process sees them, so that no link leads out of its root.

use std::{
    ffi::CStr,
    fs::File,
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::check_fd;

/// A handle to what `path` names for a process whose root directory is `root`, without opening it: a handle can be asked for
/// its metadata, and paths can begin at it. Links are followed inside that root, but for those of `/proc`.
///
/// # Errors
/// What the kernel says.
pub fn handle_in_root(root: BorrowedFd<'_>, path: &CStr) -> io::Result<File> {
    // SAFETY: all of its fields are numbers.
    let mut how: libc::open_how = unsafe { mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the path ends in a zero, and `how` is as long as said.
    let fd = check_fd(unsafe {
        libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<libc::open_how>())
    })?;
    Ok(fd.into())
}
