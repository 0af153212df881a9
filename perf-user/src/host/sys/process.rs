//! Starting, watching and ending other processes.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
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

/// Forks a child that will execute `argv`, found by `PATH`, once it is [released](StoppedChild::release).
///
/// # Errors
/// When an argument holds a zero byte, or the kernel cannot fork.
pub fn spawn_stopped(argv: &[CString]) -> io::Result<StoppedChild> {
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
                if libc::read(go_read.as_raw_fd(), (&raw mut byte).cast(), 1) == 1 {
                    libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
                    libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                    libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
                    libc::execvp(pointers[0], pointers.as_ptr());
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

    /// Lets it execute its program.
    ///
    /// # Errors
    /// Why the program could not be executed: `ENOENT` when there is none of that name.
    pub fn release(self) -> io::Result<()> {
        let mut error = [0_u8; 4];
        // SAFETY: the buffers are as long as said.
        let read = unsafe {
            check(libc::write(self.go.as_raw_fd(), [1_u8].as_ptr().cast(), 1) as libc::c_long)?;
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
