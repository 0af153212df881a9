//! bpf(2) and what rotating its maps needs.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    ptr,
};

use super::{check, check_fd};

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

/// Raises the limit of locked memory as far as this process may; kernels before 5.11 charge BPF maps to it.
///
/// # Errors
/// When it may not; newer kernels do not need it.
pub fn raise_memlock() -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` lives across the call.
    check(libc::c_long::from(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })).map(drop)
}
