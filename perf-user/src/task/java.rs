//! Asking a Java virtual machine for its perf map, the way `jcmd PID Compiler.perfmap` does: by a file and a signal it is made
//! to listen on a socket, which then takes commands. OpenJDK has no document on this but its sources,
//! `src/hotspot/os/posix/attachListener_posix.cpp`.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::{
            fs::{FileTypeExt as _, OpenOptionsExt as _, fchown},
            net::UnixStream,
        },
    },
    thread,
    time::{Duration, Instant},
};

use super::OwnFiles;
use crate::host::{status::Status, sys};

/// How long it may take to listen and to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Protocol version, command and three arguments.
const REQUEST: &[u8] = b"1\0jcmd\0Compiler.perfmap\0\0\0";

/// Of an answer no more is read.
const MOST_ANSWER: usize = 4096;

impl OwnFiles {
    /// Whether the process has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        sys::pidfd_open(self.tgid()).is_ok_and(|process| !has_ended(process.as_fd()))
            && Status::of(self.tgid()).is_ok_and(|status| self.is_same(status))
    }

    /// Has the virtual machine write its perf map anew, and waits until it has.
    ///
    /// # Errors
    /// What the virtual machine says, or what keeps it from being asked: `WouldBlock` if it may answer later, though nobody
    /// waited for it; what [`is_hang_up`] knows if it is ending, or its socket is not what it seems.
    pub fn ask_java(&self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut socket = match self.connect() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.have_it_listen(until)?;
                self.connect()?
            }
            connected => connected?,
        };
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(REQUEST)?;
        let answer = read_answer(&mut socket, until)?;
        heard(&answer, || self.perf_map().is_ok())
    }

    fn is_same(&self, status: Status) -> bool {
        (status.own_tgid, status.uid) == (self.own_tgid(), self.uid())
    }

    /// Connects to the socket. The directory is the target's, so what is there must be of the target.
    fn connect(&self) -> io::Result<UnixStream> {
        let (handle, metadata) = self.handle(&format!(".java_pid{}", self.own_tgid()))?;
        if !metadata.file_type().is_socket() {
            return Err(io::Error::other("its socket is something else"));
        }
        sys::connect(handle.as_fd())
    }

    fn have_it_listen(&self, until: Instant) -> io::Result<()> {
        let process = sys::pidfd_open(self.tgid())?;
        // From here on the id is that of the same process, or of none.
        let status = Status::of(self.tgid()).ok().filter(|status| self.is_same(*status));
        let status = status.ok_or(io::ErrorKind::NotFound)?;
        // A virtual machine that has just begun would be ended by the signal.
        if status.handled & (1 << (libc::SIGQUIT - 1)) == 0 {
            let why = "it does not handle SIGQUIT (it is starting, or is no JVM)";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
        }
        let wish = self.path(&format!(".attach_pid{}", self.own_tgid()));
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&wish)?;
        let asked = fchown(&made, Some(self.uid()), None).and_then(|()| {
            sys::send_signal_by(process.as_fd(), libc::SIGQUIT)?;
            self.wait_for_socket(process.as_fd(), until)
        });
        // Not for long, and of no use to anybody else.
        let _ = fs::remove_file(&wish);
        asked
    }

    fn wait_for_socket(&self, process: BorrowedFd<'_>, until: Instant) -> io::Result<()> {
        while Instant::now() < until {
            if has_ended(process) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if self.handle(&format!(".java_pid{}", self.own_tgid())).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("it does not listen (it has the option -XX:+DisableAttachMechanism, or is no JVM)"))
    }
}

/// What an answer means.
fn heard(answer: &str, has_map: impl FnOnce() -> bool) -> io::Result<()> {
    match answer.split_once('\n') {
        _ if answer.is_empty() => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up without an answer")),
        Some(("0", _)) if has_map() => Ok(()),
        Some(("0", said)) => Err(io::Error::other(format!("it wrote no perf map, and said: {}", said.trim()))),
        _ => Err(io::Error::other(format!("it said: {}", answer.trim().replace('\n', " ")))),
    }
}

/// Whether a virtual machine was not there to answer, or went away meanwhile: its socket is closed before it has ended.
pub(crate) fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | UnexpectedEof)
}

/// A process that nobody has waited for yet still has its files in `/proc`.
fn has_ended(process: BorrowedFd<'_>) -> bool {
    sys::poll_readable(&[process], 0).contains(&true)
}

/// Reads to the end of the stream, but not for longer than that, and not more than an answer can be.
fn read_answer(socket: &mut UnixStream, until: Instant) -> io::Result<String> {
    let (mut answer, mut chunk) = (Vec::new(), [0; MOST_ANSWER]);
    while answer.len() < MOST_ANSWER {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other("it does not answer"));
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(got) => answer.extend(&chunk[..got]),
            // Time is over.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_up_says_nothing() {
        let (mut ours, its) = UnixStream::pair().unwrap();
        drop(its);
        let answer = read_answer(&mut ours, Instant::now() + PATIENCE).unwrap();
        let hung_up = heard(&answer, || true).unwrap_err();
        assert!(is_hang_up(&hung_up), "{hung_up:?}");
        assert_eq!(hung_up.to_string(), "it hung up without an answer");
        assert!(heard("0\nCommand executed successfully\n", || true).is_ok());
        let refused = heard("1\nUnknown diagnostic\ncommand\n", || true).unwrap_err();
        assert!(!is_hang_up(&refused), "{refused:?}");
        assert_eq!(refused.to_string(), "it said: 1 Unknown diagnostic command");
    }
}
