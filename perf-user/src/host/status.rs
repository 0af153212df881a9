//! What `/proc` says of a process as it sees itself: its id in its own namespace, its user, its beginning.

use std::{fs, io};

use super::{proc::Stat, sys};

/// A process as it is known to itself and to the files it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id in the innermost PID namespace it is in, which is what it calls itself.
    pub own_tgid: u32,
    /// Its effective user.
    pub uid: u32,
    /// The signals that it handles, as a mask: bit 0 is signal 1.
    pub handled: u64,
}

impl Status {
    /// Parses `status` (proc(5)).
    #[must_use]
    pub fn parse(status: &[u8]) -> Option<Self> {
        // A newline in the name is escaped there, so no name can pass for a line of its own.
        let value = |name: &[u8]| {
            let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
            std::str::from_utf8(line).ok()
        };
        Some(Self {
            own_tgid: value(b"NStgid:")?.split_ascii_whitespace().next_back()?.parse().ok()?,
            uid: value(b"Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()?,
            handled: u64::from_str_radix(value(b"SigCgt:")?.trim(), 16).ok()?,
        })
    }

    /// Asks `/proc`.
    ///
    /// # Errors
    /// When the process is gone, or may not be looked at.
    pub fn of(tgid: u32) -> io::Result<Self> {
        Self::parse(&fs::read(format!("/proc/{tgid}/status"))?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// When a process began, in nanoseconds of `CLOCK_MONOTONIC`, up to a tick of the kernel's clock too early.
///
/// # Errors
/// When it is gone.
pub fn started_ns(tgid: u32) -> io::Result<u64> {
    let stat = Stat::parse(&fs::read(format!("/proc/{tgid}/stat"))?).ok_or(io::ErrorKind::InvalidData)?;
    let suspended_ns = sys::boot_ns().saturating_sub(sys::monotonic_ns());
    let started_ns = stat.started_ticks().saturating_mul(1_000_000_000 / sys::ticks_per_second());
    Ok(started_ns.saturating_sub(suspended_ns))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_process_in_a_container_knows_itself_by_another_id() {
        let status = b"Name:\tx\\nUid:\t7\nTgid:\t812\nUid:\t1000\t1001\t1000\t1000\nNStgid:\t812\t40\t7\n\
            SigCgt:\t0000000000000004\n";
        let known = Status { own_tgid: 7, uid: 1001, handled: 4 };
        assert_eq!(Status::parse(status), Some(known));
        assert_eq!(Status::parse(b"NStgid:\t\nUid:\t0\t0\nSigCgt:\t0\n"), None);
        assert_eq!(Status::of(std::process::id()).unwrap().own_tgid, std::process::id());
    }

    #[test]
    fn this_process_began_a_while_ago() {
        let age_ns = sys::monotonic_ns() - started_ns(std::process::id()).unwrap();
        assert!(age_ns < 3_600_000_000_000, "{age_ns}");
    }
}
