//! Starting, watching and ending other processes.

use std::{
    env,
    ffi::{CStr, CString, OsStr},
    fs, io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    ptr,
};

use super::{check, check_fd, signal::ending_signals};

/// A program that has been forked but not yet executed: it waits, and can be watched from its first instruction.
#[derive(Debug)]
pub struct StoppedChild {
    tgid: u32,
    go: OwnedFd,
    failure: OwnedFd,
}

/// The file of a program that this process may execute, by its path or in `PATH`; the path has a slash.
#[must_use]
pub fn find_program(name: &OsStr) -> Option<PathBuf> {
    // What execvp(3) takes where there is none.
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    find_in(name, &path)
}

fn find_in(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|file| may_execute(file));
    }
    // A directory without a name is the current one.
    let directory = |directory: PathBuf| if directory.as_os_str().is_empty() { ".".into() } else { directory };
    env::split_paths(path).map(|found| directory(found).join(name)).find(|file| may_execute(file))
}

fn may_execute(file: &Path) -> bool {
    let Ok(path) = CString::new(file.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends in a zero.
    let may = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) } == 0;
    may && fs::metadata(file).is_ok_and(|metadata| metadata.is_file())
}

/// Forks a child that will execute `program`, a path with a slash, with the arguments `argv` once it is
/// [released](StoppedChild::release). Between that and the program's first instruction it makes one system call: recordings of
/// calls show what the program asked for, and not what was done to start it.
///
/// # Errors
/// When the kernel cannot fork.
pub fn spawn_stopped(program: &CStr, argv: &[CString]) -> io::Result<StoppedChild> {
    let (go_read, go) = pipe()?;
    let (failure, failure_write) = pipe()?;
    let mut pointers: Vec<_> = argv.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(ptr::null());
    let set = ending_signals();
    // SAFETY: between fork and exec the child makes only calls that are safe there: read, sigmask, signal, execvp,
    // write, _exit. `pointers` was built before.
    unsafe {
        match check(libc::c_long::from(libc::fork()))? {
            0 => {
                let mut byte = 0_u8;
                // The recorder holds the only other end: if it dies, the read ends without a byte.
                libc::close(go.as_raw_fd());
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
                if libc::read(go_read.as_raw_fd(), (&raw mut byte).cast(), 1) == 1 {
                    // Not `execv`: what has no `#!` line is a shell's script. A path with a slash is tried once.
                    libc::execvp(program.as_ptr(), pointers.as_ptr());
                    let error = *libc::__errno_location();
                    libc::write(failure_write.as_raw_fd(), (&raw const error).cast(), size_of::<i32>());
                }
                libc::_exit(127)
            }
            child => Ok(StoppedChild { tgid: child as u32, go, failure }),
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: two descriptors are written, which nobody else owns.
    unsafe {
        check(libc::c_long::from(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC)))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

impl StoppedChild {
    /// Its process id.
    #[must_use]
    pub fn tgid(&self) -> u32 {
        self.tgid
    }

    /// Lets it execute its program. One that a signal has ended meanwhile is no error: it ended as programs do.
    ///
    /// # Errors
    /// Why the program could not be executed: `ENOENT` when there is none of that name.
    pub fn release(self) -> io::Result<()> {
        let mut error = [0_u8; 4];
        // SAFETY: the buffers are as long as said.
        let read = unsafe {
            match check(libc::write(self.go.as_raw_fd(), [1_u8].as_ptr().cast(), 1) as libc::c_long) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            };
            libc::read(self.failure.as_raw_fd(), error.as_mut_ptr().cast(), error.len())
        };
        if read == 4 { Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error))) } else { Ok(()) }
    }
}

/// Waits for a child; its exit code, or 128 + the signal that ended it, as shells have it.
///
/// # Errors
/// `ECHILD` when it is no child of this process.
pub fn wait_for_child(tgid: u32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is written.
        match check(libc::c_long::from(unsafe { libc::waitpid(tgid as libc::pid_t, &raw mut status, 0) })) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) if libc::WIFSIGNALED(status) => return Ok(128 + libc::WTERMSIG(status)),
            Ok(_) => return Ok(libc::WEXITSTATUS(status)),
        }
    }
}

/// Sends a signal to a process; nothing happens if it is gone.
pub fn send_signal(tgid: u32, signal: i32) {
    // SAFETY: takes no pointer.
    unsafe { libc::kill(tgid as libc::pid_t, signal) };
}

/// A descriptor that becomes readable when the process ends.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(tgid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    check_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, tgid as libc::pid_t, 0) })
}

/// Sends a signal to the process of a descriptor, and to no other that has come to have its id.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn send_signal_by(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: takes no pointer but the one that may be null.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0) })?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn programs_are_found_as_shells_find_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = |directory: &str, mode: u32| {
            let directory = folder.path().join(directory);
            fs::create_dir(&directory).unwrap();
            let file = directory.join("tool");
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            directory
        };
        let (plain, first, second) = (place("plain", 0o644), place("first", 0o755), place("second", 0o755));
        fs::create_dir_all(folder.path().join("folder/tool")).unwrap();
        let path = env::join_paths([folder.path().join("folder"), plain.clone(), first.clone(), second]).unwrap();
        assert_eq!(find_in(OsStr::new("tool"), &path), Some(first.join("tool")));
        assert_eq!(find_in(OsStr::new("absent"), &path), None);
        assert_eq!(find_in(plain.join("tool").as_os_str(), &path), None, "not executable");
        assert_eq!(find_in(first.join("tool").as_os_str(), OsStr::new("")), Some(first.join("tool")));
    }
}
