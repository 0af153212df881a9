//! Opening what other processes made: so that no link leads out of their root, and nothing makes the opener wait.

use std::{
    ffi::CStr,
    fs::File,
    io, mem,
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
};

use super::{check, check_fd};

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

/// Connects to the socket of a handle, unless it has others waiting already.
///
/// # Errors
/// What the kernel says: `EAGAIN` if it would have to wait.
pub fn connect(socket: BorrowedFd<'_>) -> io::Result<UnixStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no pointer.
    let stream = check_fd(libc::c_long::from(unsafe { libc::socket(libc::AF_UNIX, kind, 0) }))?;
    // SAFETY: all of its fields are numbers.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    address.sun_path.iter_mut().zip(path.bytes()).for_each(|(to, byte)| *to = byte as libc::c_char);
    let bytes = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is as long as said, and its path is shorter than the room for it, which was zeroed.
    check(libc::c_long::from(unsafe { libc::connect(stream.as_raw_fd(), (&raw const address).cast(), bytes) }))?;
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
