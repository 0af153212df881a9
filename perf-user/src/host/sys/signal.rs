//! The signals that end a recording.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    ptr,
};

use super::check_fd;

/// Blocks SIGINT, SIGTERM and SIGHUP for this thread and those it will start, and returns a descriptor that becomes
/// readable when one arrives. Each takes its default action again after [`restore_signals`].
///
/// # Errors
/// What the kernel says.
pub fn signal_fd() -> io::Result<OwnedFd> {
    let set = ending_signals();
    // SAFETY: `set` is initialized; no old set is asked for.
    unsafe {
        // A write beyond the limit of file sizes is to fail, not to kill.
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        check_fd(libc::c_long::from(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)))
    }
}

/// Lets the ending signals act on this thread again: the next one ends the process at once.
pub fn restore_signals() {
    let set = ending_signals();
    // SAFETY: as in `signal_fd`.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
    }
}

pub(super) fn ending_signals() -> libc::sigset_t {
    // SAFETY: `sigemptyset` initializes the set.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // `nohup` is meant to outlive the terminal. An ignored SIGINT is only the mark of a script's background job,
            // which the script will end by that very signal.
            let mut action: libc::sigaction = mem::zeroed();
            libc::sigaction(signal, ptr::null(), &raw mut action);
            if signal != libc::SIGHUP || action.sa_sigaction != libc::SIG_IGN {
                libc::sigaddset(&raw mut set, signal);
            }
        }
        set
    }
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// Whether it came from the terminal, which sends it to every process in the foreground.
    pub from_terminal: bool,
}

/// The signal that made a descriptor of [`signal_fd`] readable, if one is there.
#[must_use]
pub fn read_signal(fd: BorrowedFd<'_>) -> Option<Signal> {
    // SAFETY: the buffer is as large as said; signalfd writes whole records.
    unsafe {
        let mut info: libc::signalfd_siginfo = mem::zeroed();
        let bytes = size_of::<libc::signalfd_siginfo>();
        let read = libc::read(fd.as_raw_fd(), (&raw mut info).cast(), bytes);
        let signal = Signal { number: info.ssi_signo as i32, from_terminal: info.ssi_code == libc::SI_KERNEL };
        (read == bytes as isize).then_some(signal)
    }
}
