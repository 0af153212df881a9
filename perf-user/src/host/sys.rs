//! The system calls that have no safe form in `std` or aya, each wrapped once.

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering, fence},
};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_fd(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just handed out this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
const BPF_ENABLE_STATS: libc::c_long = 32;

/// The `batch` member of the kernel's `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is as large as said, and the pointers in it were made from live buffers by the callers below.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<T>()) })
}

/// Empties a hash map, calling `each` with every key and value. One system call for up to `batch` entries (Linux 5.6).
///
/// Returns the number of system calls made.
///
/// # Errors
/// What the kernel says.
pub fn drain_hash_map(
    map: BorrowedFd<'_>,
    key_bytes: usize,
    value_bytes: usize,
    batch: usize,
    mut each: impl FnMut(&[u8], &[u8]),
) -> io::Result<u64> {
    let mut batch = batch.max(1);
    let (mut token, mut next_token, mut started) = (0_u64, 0_u64, false);
    let mut calls = 0;
    let mut keys = vec![0; batch * key_bytes];
    let mut values = vec![0; batch * value_bytes];
    loop {
        let mut attr = BatchAttr {
            in_batch: if started { ptr::from_mut(&mut token) as u64 } else { 0 },
            out_batch: ptr::from_mut(&mut next_token) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: batch as u32,
            map_fd: map.as_raw_fd() as u32,
            ..BatchAttr::default()
        };
        let result = bpf(BPF_MAP_LOOKUP_AND_DELETE_BATCH, &mut attr);
        calls += 1;
        let end = match &result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            // One bucket holds more than fits; nothing of it was handed over or deleted.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && attr.count == 0 => {
                batch *= 2;
                keys.resize(batch * key_bytes, 0);
                values.resize(batch * value_bytes, 0);
                continue;
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => false,
            Err(_) => return result.map(|_| calls),
        };
        let count = attr.count as usize;
        for (key, value) in keys.chunks_exact(key_bytes).zip(values.chunks_exact(value_bytes)).take(count) {
            each(key, value);
        }
        if end {
            return Ok(calls);
        }
        (token, started) = (next_token, true);
    }
}

/// Makes the kernel count run time and runs of BPF programs while the descriptor is open (Linux 5.8, `CAP_SYS_ADMIN`).
///
/// # Errors
/// When the kernel refuses.
pub fn enable_bpf_stats() -> io::Result<OwnedFd> {
    // BPF_STATS_RUN_TIME is 0.
    let mut kind = 0_u32;
    check_fd(bpf(BPF_ENABLE_STATS, &mut kind)?)
}

/// Returns when no BPF program or interrupt handler that was running at the call still runs: the membarrier command
/// "global" waits for an RCU grace period (`kernel/sched/membarrier.c`), and BPF programs run inside RCU read sections.
///
/// # Errors
/// When the kernel has no membarrier, or runs with `nohz_full` CPUs.
pub fn wait_for_running_programs() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
    // SAFETY: takes no pointer.
    check(unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) }).map(drop)
}

/// `struct perf_event_attr` up to its fifth published size.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PerfEventAttr {
    /// `PERF_TYPE_*`.
    pub kind: u32,
    /// Bytes of this structure.
    pub size: u32,
    /// Which event of the type.
    pub config: u64,
    /// Period or frequency.
    pub sample_period: u64,
    /// `PERF_SAMPLE_*`.
    pub sample_type: u64,
    /// `PERF_FORMAT_*`.
    pub read_format: u64,
    /// The bit field that starts with `disabled`.
    pub flags: u64,
    /// Events or bytes before a wake-up.
    pub wakeup: u32,
    /// Breakpoint type.
    pub breakpoint: u32,
    /// Extension of `config`.
    pub config1: u64,
    /// Extension of `config1`.
    pub config2: u64,
    /// Branch filter.
    pub branch_sample_type: u64,
    /// User registers to dump.
    pub sample_regs_user: u64,
    /// Bytes of user stack to dump.
    pub sample_stack_user: u32,
    /// Clock of the time stamps, if the flag `use_clockid` is set.
    pub clock: i32,
    /// Interrupt registers to dump.
    pub sample_regs_intr: u64,
    /// Aux watermark.
    pub aux_watermark: u32,
    /// Frames of a call chain, and padding.
    pub sample_max_stack: u32,
}

/// Opens a perf event on one CPU for all processes, not started if `attr` says so.
///
/// # Errors
/// What the kernel says: `ENOENT` for an event it lacks, `EACCES` without the privilege.
pub fn perf_event_open(mut attr: PerfEventAttr, cpu: u32) -> io::Result<OwnedFd> {
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
    attr.size = size_of::<PerfEventAttr>() as u32;
    // SAFETY: `attr` lives across the call and says its own size.
    check_fd(unsafe {
        libc::syscall(libc::SYS_perf_event_open, ptr::from_ref(&attr), -1, cpu as libc::c_int, -1, PERF_FLAG_FD_CLOEXEC)
    })
}

/// The memory of a perf event's ring: one control page, then a power of two of data pages.
#[derive(Debug)]
pub struct PerfMapping {
    base: *mut u8,
    bytes: usize,
    data_bytes: usize,
}

// SAFETY: the mapping belongs to this value alone, and all access goes through `&mut self`.
unsafe impl Send for PerfMapping {}

/// Offsets of `data_head` and `data_tail` in `struct perf_event_mmap_page` (`include/uapi/linux/perf_event.h`).
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

impl PerfMapping {
    /// Maps the ring of `fd`, with `data_pages` (a power of two) pages of data.
    ///
    /// # Errors
    /// What the kernel says: `EPERM` when the memory may not be locked.
    pub fn new(fd: BorrowedFd<'_>, data_pages: usize) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = (data_pages + 1) * page;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), bytes, data_bytes: data_pages * page })
    }

    fn control(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the control page is mapped as long as `self` lives, and both words are aligned to eight bytes.
        unsafe { &*self.base.add(offset).cast::<AtomicU64>() }
    }

    /// Appends all that is in the ring to `out`, and frees it.
    pub fn read_all(&mut self, out: &mut Vec<u8>) {
        let head = self.control(DATA_HEAD).load(Ordering::Acquire);
        let tail = self.control(DATA_TAIL).load(Ordering::Relaxed);
        if head == tail {
            return;
        }
        let used = (head.wrapping_sub(tail) as usize).min(self.data_bytes);
        let start = tail as usize % self.data_bytes;
        let first = used.min(self.data_bytes - start);
        // SAFETY: the data area follows the control part, of which it is `bytes - data_bytes` long; the kernel does not
        // write between tail and head.
        unsafe {
            let data = self.base.add(self.bytes - self.data_bytes);
            out.extend_from_slice(std::slice::from_raw_parts(data.add(start), first));
            out.extend_from_slice(std::slice::from_raw_parts(data, used - first));
        }
        fence(Ordering::SeqCst);
        self.control(DATA_TAIL).store(head, Ordering::Release);
    }
}

impl Drop for PerfMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing points into it any more.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

/// Blocks SIGINT, SIGTERM and SIGHUP for this thread and those it will start, and returns a descriptor that becomes
/// readable when one arrives. Each takes its default action again after [`restore_signals`].
///
/// # Errors
/// What the kernel says.
pub fn signal_fd() -> io::Result<OwnedFd> {
    let set = ending_signals();
    // SAFETY: `set` is initialized; no old set is asked for.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        check_fd(libc::c_long::from(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)))
    }
}

/// Lets the ending signals act on this thread again: the next one ends the process at once.
pub fn restore_signals() {
    let set = ending_signals();
    // SAFETY: as in `signal_fd`.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
}

fn ending_signals() -> libc::sigset_t {
    // SAFETY: `sigemptyset` initializes the set.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
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

/// A descriptor that becomes readable when the process ends.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(tgid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    check_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, tgid as libc::pid_t, 0) })
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
    // SAFETY: `time` is written in full.
    let time = unsafe {
        let mut time: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
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

/// Raises the limit of locked memory as far as this process may; kernels before 5.11 charge BPF maps to it.
///
/// # Errors
/// When it may not; newer kernels do not need it.
pub fn raise_memlock() -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` lives across the call.
    check(libc::c_long::from(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })).map(drop)
}

/// Raises the soft limit of open files to the hard one: a recording holds the files it will name symbols from.
pub fn raise_open_files() {
    // SAFETY: `limit` is written in full, then lives across the call.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// The effective user of this process.
#[must_use]
pub fn effective_uid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { libc::geteuid() }
}

/// An anonymous file in memory holding `data`.
///
/// # Errors
/// What the kernel says.
pub fn memory_file(data: &[u8]) -> io::Result<std::fs::File> {
    use std::io::Write as _;
    // SAFETY: the name is a constant with its zero.
    let fd = check_fd(libc::c_long::from(unsafe { libc::memfd_create(c"perfprobe".as_ptr(), libc::MFD_CLOEXEC) }))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(data)?;
    Ok(file)
}

/// Year, month, day, hour, minute and second of a time in the machine's zone.
#[must_use]
pub fn local_time(unix_seconds: u64) -> [i32; 6] {
    let seconds = unix_seconds as libc::time_t;
    // SAFETY: `time` is written in full, or stays zeroed.
    let time = unsafe {
        let mut time: libc::tm = mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut time);
        time
    };
    [time.tm_year + 1900, time.tm_mon + 1, time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec]
}
