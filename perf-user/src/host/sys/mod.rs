//! The system calls that have no safe form in `std` or aya, each wrapped once.

mod bpf;
mod heap;
mod inside;
mod open;
mod perf_event;
mod process;
mod rights;
mod shared_map;
mod shrunk;
mod signal;

pub use bpf::{
    Reading, enable_bpf_stats, has_batches, insert_new, memlock_bytes, raise_memlock, read_hash_map, refused_calls,
    wait_for_running_programs,
};
pub use heap::{heap_bytes_of_thread, trim_heap};
pub use inside::{open_regular_within, open_root};
pub use open::{connect, handle_in_root};
pub use perf_event::{
    PERF_FORMAT_ENABLED, PERF_FORMAT_LOST, PerfEventAttr, PerfEventState, PerfMapping, perf_event_open, read_perf_event,
};
pub use process::{StoppedChild, find_program, pidfd_open, send_signal, send_signal_by, spawn_stopped, wait_for_child};
pub use rights::FileRights;
pub use shared_map::SharedMap;
pub use shrunk::with_files_that_shrink;
pub use signal::{Signal, read_signal, restore_signals, signal_fd};

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_fd(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just handed out this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits until one of the descriptors is readable, or the time is over; which of them are.
#[must_use]
pub fn poll_readable(fds: &[BorrowedFd<'_>], timeout_ms: i32) -> Vec<bool> {
    let mut polled: Vec<_> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the array is as long as said. An interrupted wait reads as "none".
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) };
    polled.iter().map(|fd| fd.revents != 0).collect()
}

/// Nanoseconds on `CLOCK_MONOTONIC`, the clock of every time stamp in a recording.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since the machine was started, suspended or not, by which `/proc` tells when processes began.
#[must_use]
pub fn boot_ns() -> u64 {
    clock_ns(libc::CLOCK_BOOTTIME)
}

/// CPU time of the calling thread so far, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    // SAFETY: `time` is written in full.
    let time = unsafe {
        let mut time: libc::timespec = mem::zeroed();
        libc::clock_gettime(clock, &raw mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How many ticks of the kernel's clock `/proc` counts in a second.
#[must_use]
pub fn ticks_per_second() -> u64 {
    // SAFETY: takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}

/// CPU time of this process so far, user and system, in nanoseconds, and its peak resident memory in bytes.
#[must_use]
pub fn own_usage() -> (u64, u64) {
    // SAFETY: `usage` is written in full.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    (ns(usage.ru_utime) + ns(usage.ru_stime), usage.ru_maxrss as u64 * 1024)
}

/// Raises the soft limit of open files to the hard one: a recording holds the files it will name symbols from.
pub fn raise_open_files() {
    let mut limit = open_file_limit();
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` lives across the call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

fn open_file_limit() -> libc::rlimit {
    // SAFETY: `limit` is written in full, or stays zeroed.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit
    }
}

/// Whether this descriptor is among the last that this process may open, which are kept for what it cannot do without.
#[must_use]
pub fn is_last_descriptor(fd: BorrowedFd<'_>) -> bool {
    const RESERVE: u64 = 64;
    (fd.as_raw_fd() as u64).saturating_add(RESERVE) > open_file_limit().rlim_cur
}

/// The bytes of the smallest pages.
#[must_use]
pub fn page_bytes() -> u64 {
    // SAFETY: takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    effective_uid() == 0
}

/// The user with whose rights this process opens files.
#[must_use]
pub fn effective_uid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { libc::geteuid() }
}

/// An anonymous file with a copy of this process's own memory.
///
/// # Errors
/// What the kernel says: `EFAULT` when nothing is mapped there.
pub fn memory_file(start: u64, bytes: u64) -> io::Result<std::fs::File> {
    // SAFETY: the name is a constant with its zero.
    let fd = check_fd(libc::c_long::from(unsafe { libc::memfd_create(c"perfprobe".as_ptr(), libc::MFD_CLOEXEC) }))?;
    // SAFETY: the kernel itself reads the memory, and refuses what is not mapped.
    let written = check(unsafe { libc::write(fd.as_raw_fd(), start as *const libc::c_void, bytes as usize) as _ })?;
    if written as u64 == bytes { Ok(fd.into()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Year, month, day, hour, minute and second of a time in the machine's zone.
#[must_use]
pub fn local_time(unix_seconds: u64) -> [i32; 6] {
    let seconds = unix_seconds.cast_signed();
    // SAFETY: `time` is written in full, or stays zeroed.
    let time = unsafe {
        let mut time: libc::tm = mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut time);
        time
    };
    [time.tm_year + 1900, time.tm_mon + 1, time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec]
}
