//! perf_event_open(2), and the ring that an event writes to.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use super::{check, check_fd};

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

/// What an event tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerfEventState {
    /// Nanoseconds for which it was enabled: those of its CPU are not once that has gone offline, even if it came back.
    pub enabled_ns: u64,
    /// Records that its ring had no room for; 0 unless it was opened with [`PERF_FORMAT_LOST`].
    pub lost: u64,
}

/// Bits of [`PerfEventAttr::read_format`] for [`read_perf_event`]; the second since Linux 6.0.
pub const PERF_FORMAT_ENABLED: u64 = 1;
/// See [`PERF_FORMAT_ENABLED`].
pub const PERF_FORMAT_LOST: u64 = 1 << 4;

/// Asks an event that was opened with [`PERF_FORMAT_ENABLED`] for its state. One that has lost its CPU may tell nothing,
/// which reads as zeros.
///
/// # Errors
/// What the kernel says.
pub fn read_perf_event(fd: BorrowedFd<'_>) -> io::Result<PerfEventState> {
    let mut words = [0_u64; 3];
    // SAFETY: the buffer is as long as said; the kernel writes as many words as the format asks for.
    let read = unsafe { libc::read(fd.as_raw_fd(), words.as_mut_ptr().cast(), size_of_val(&words)) };
    check(read as libc::c_long)?;
    let [_count, enabled_ns, lost] = words;
    Ok(PerfEventState { enabled_ns, lost })
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
    /// Maps the ring of `fd`, with `data_bytes` of data (a power of two), but at least a page.
    ///
    /// # Errors
    /// What the kernel says: `EPERM` when the memory may not be locked.
    pub fn new(fd: BorrowedFd<'_>, data_bytes: usize) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let data_bytes = data_bytes.max(page);
        let bytes = page + data_bytes;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), bytes, data_bytes })
    }

    fn control(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the control page is mapped as long as `self` lives, and both words are aligned to eight bytes.
        unsafe { &*self.base.add(offset).cast::<AtomicU64>() }
    }

    /// Appends all that is in the ring to `out`, and frees it; how many bytes of the ring were left.
    pub fn read_all(&mut self, out: &mut Vec<u8>) -> usize {
        let head = self.control(DATA_HEAD).load(Ordering::Acquire);
        let tail = self.control(DATA_TAIL).load(Ordering::Relaxed);
        if head == tail {
            return self.data_bytes;
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
        self.data_bytes - used
    }
}

impl Drop for PerfMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing points into it any more.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}
