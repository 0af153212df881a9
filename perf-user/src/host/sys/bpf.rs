//! bpf(2) and what rotating its maps needs.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    ptr,
};

use super::{check, check_fd};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_ENABLE_STATS: libc::c_long = 32;

/// How often a batch is asked for again when the kernel is too busy to hand it over.
const MAX_RETRIES: u32 = 1000;

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

/// # Safety
/// The pointers in `attr` lead to buffers as large as the command fills.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is as large as said; the caller answers for what it points to.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<T>()) })
}

/// Bytes of a map's keys and values: the third and fourth word of `struct bpf_map_info`.
fn entry_bytes(map: BorrowedFd<'_>) -> io::Result<(usize, usize)> {
    #[repr(C)]
    struct InfoAttr {
        fd: u32,
        bytes: u32,
        info: u64,
    }
    // Type, id, key size, value size: the kernel fills as much as is asked for.
    let mut info = [0_u32; 4];
    let bytes = size_of_val(&info) as u32;
    let mut attr = InfoAttr { fd: map.as_raw_fd() as u32, bytes, info: info.as_mut_ptr() as u64 };
    // SAFETY: `info` is as long as said.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok((info[2] as usize, info[3] as usize))
}

/// Whether this kernel hands out entries of this map in batches: of none, which changes nothing.
#[must_use]
pub fn has_batches(map: BorrowedFd<'_>) -> bool {
    let mut attr = BatchAttr { map_fd: map.as_raw_fd() as u32, ..BatchAttr::default() };
    // Tests have to be able to do without.
    let allowed = std::env::var_os("PERFPROBE_TEST_NO_BATCHES").is_none();
    // SAFETY: a batch of no entries leads to no buffers.
    allowed && unsafe { bpf(BPF_MAP_LOOKUP_AND_DELETE_BATCH, &mut attr) }.is_ok()
}

/// Whether entries stay in the map when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// They do; those that are changed or inserted meanwhile may be read as they were, or twice, or not.
    Look,
    /// They are taken out.
    Drain,
}

/// Reads a hash map, calling `each` with every key and value. One system call for up to `batch` entries, or two or three for
/// each where the kernel has no batches.
///
/// # Errors
/// What the kernel says; `InvalidData` when entries are not as large as the caller thinks.
pub fn read_hash_map(
    map: BorrowedFd<'_>,
    reading: Reading,
    (key_bytes, value_bytes): (usize, usize),
    batch: usize,
    mut each: impl FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    if entry_bytes(map)? != (key_bytes, value_bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its entries have another size than expected"));
    }
    if !has_batches(map) {
        return read_one_by_one(map, reading, key_bytes, value_bytes, each);
    }
    let command = if reading == Reading::Drain { BPF_MAP_LOOKUP_AND_DELETE_BATCH } else { BPF_MAP_LOOKUP_BATCH };
    let (mut batch, mut retries) = (batch.max(1), 0);
    let (mut token, mut next_token, mut started) = (0_u64, 0_u64, false);
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
        // SAFETY: the buffers hold `batch` entries of the sizes that the map has.
        let result = unsafe { bpf(command, &mut attr) };
        let failure = result.err().and_then(|error| error.raw_os_error());
        if failure == Some(libc::EFAULT) {
            // The one failure after which the count says nothing.
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        let entries = keys.chunks_exact(key_bytes).zip(values.chunks_exact(value_bytes));
        entries.take(attr.count as usize).for_each(|(key, value)| each(key, value));
        (token, started) = (next_token, true);
        match failure {
            None => {}
            Some(libc::ENOENT) => return Ok(()),
            // The next bucket holds more than fits; nothing of it was handed over or deleted.
            Some(libc::ENOSPC) => {
                batch *= 2;
                keys.resize(batch * key_bytes, 0);
                values.resize(batch * value_bytes, 0);
            }
            // The next bucket's lock was held by code that was interrupted.
            Some(libc::EBUSY | libc::EDEADLK | libc::ETIMEDOUT | libc::EAGAIN) if retries < MAX_RETRIES => retries += 1,
            Some(error) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// The members of the kernel's `union bpf_attr` for one entry; `value` is the next key where that is asked for.
#[repr(C)]
struct EntryAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn read_one_by_one(
    map: BorrowedFd<'_>,
    reading: Reading,
    key_bytes: usize,
    value_bytes: usize,
    mut each: impl FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    let (mut key, mut next, mut value) = (vec![0; key_bytes], vec![0; key_bytes], vec![0; value_bytes]);
    let call = |command, key: u64, value: u64| {
        let mut attr = EntryAttr { map_fd: map.as_raw_fd() as u32, padding: 0, key, value, flags: 0 };
        // SAFETY: below, key and value lead to buffers of the sizes that the map has, or nowhere.
        unsafe { bpf(command, &mut attr) }
    };
    let mut found = call(BPF_MAP_GET_NEXT_KEY, 0, key.as_mut_ptr() as u64);
    loop {
        match found {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
        // Asked for before the entry it follows is gone, from which on the search would begin anew.
        found = call(BPF_MAP_GET_NEXT_KEY, key.as_ptr() as u64, next.as_mut_ptr() as u64);
        match call(BPF_MAP_LOOKUP_ELEM, key.as_ptr() as u64, value.as_mut_ptr() as u64) {
            Ok(_) => each(&key, &value),
            Err(error) if reading == Reading::Look && error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        if reading == Reading::Drain {
            call(BPF_MAP_DELETE_ELEM, key.as_ptr() as u64, 0)?;
        }
        std::mem::swap(&mut key, &mut next);
    }
}

/// Puts an entry into a map that has none of this key.
///
/// # Errors
/// What the kernel says; `InvalidData` when entries are not as large as these.
pub fn insert_new(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    const BPF_NOEXIST: u64 = 1;
    if entry_bytes(map)? != (key.len(), value.len()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its entries have another size than expected"));
    }
    let mut attr = EntryAttr {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags: BPF_NOEXIST,
    };
    // SAFETY: key and value are as large as the map's.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Makes the kernel count run time and runs of BPF programs while the descriptor is open (Linux 5.8, `CAP_SYS_ADMIN`).
///
/// # Errors
/// When the kernel refuses.
pub fn enable_bpf_stats() -> io::Result<OwnedFd> {
    // BPF_STATS_RUN_TIME is 0.
    let mut kind = 0_u32;
    // SAFETY: the command takes no pointer.
    check_fd(unsafe { bpf(BPF_ENABLE_STATS, &mut kind)? })
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

/// The system calls perfprobe lives on that are refused before the kernel looks at what they are for. This process has
/// the privileges for them.
#[must_use]
pub fn refused_calls() -> Vec<&'static str> {
    // Neither a command nor flags that any kernel knows: one that looks at them says `EINVAL`.
    const UNKNOWN: libc::c_long = 0x7fff_0000;
    let mut attr = 0_u64;
    // SAFETY: the kernel refuses the command, and takes no pointer from zeros.
    let bpf = unsafe { bpf(UNKNOWN, &mut attr) };
    // SAFETY: the kernel refuses the flags before it reads the attributes.
    let perf = check(unsafe { libc::syscall(libc::SYS_perf_event_open, ptr::null::<u8>(), -1, 0, -1, UNKNOWN) });
    let refused = |result: io::Result<libc::c_long>| {
        let error = result.err().and_then(|error| error.raw_os_error());
        matches!(error, Some(libc::EPERM | libc::EACCES | libc::ENOSYS))
    };
    [("bpf(2)", refused(bpf)), ("perf_event_open(2)", refused(perf))]
        .into_iter()
        .filter_map(|(call, refused)| refused.then_some(call))
        .collect()
}

/// The limit of locked memory in bytes; `None` for none.
#[must_use]
pub fn memlock_bytes() -> Option<u64> {
    // SAFETY: `limit` is written in full, or stays zeroed.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit);
        limit.rlim_cur
    };
    (limit != libc::RLIM_INFINITY).then_some(limit)
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
