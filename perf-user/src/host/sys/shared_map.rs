//! A BPF array that this process writes through a mapping, without a system call.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use zerocopy::FromBytes;

/// The values of an array map made with `BPF_F_MMAPABLE` (Linux 5.5). Unmapped when dropped.
#[derive(Debug)]
pub struct SharedMap {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone, and all writing goes through `&mut self`.
unsafe impl Send for SharedMap {}

impl SharedMap {
    /// Maps the `bytes` of the array's values.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(map: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), bytes })
    }

    /// What stands at byte `offset`; `None` beyond the end. Programs only read the map.
    #[must_use]
    pub fn read<T: FromBytes>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>()).filter(|end| *end <= self.bytes)?;
        // SAFETY: inside the mapping, as was just checked; any bytes are a value, and only this value writes to them.
        let bytes = unsafe { std::slice::from_raw_parts(self.base.add(offset), end - offset) };
        T::read_from_bytes(bytes).ok()
    }

    /// Writes `data` at byte `offset`; programs may see any part of it earlier than another.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        assert!(offset.checked_add(data.len()).is_some_and(|end| end <= self.bytes), "beyond the map");
        // SAFETY: inside the mapping, as was just checked; programs only read it.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.base.add(offset), data.len()) };
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing points into it any more.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}
