//! The memory of other processes.

use std::{cell::RefCell, fs::File, os::unix::fs::FileExt as _};

/// Bytes of a stack that are read at once.
const AT_ONCE: usize = 16 << 10;

/// The memory of a process.
#[derive(Debug)]
pub struct Memory {
    file: File,
    /// What was read last, and where it begins.
    near: RefCell<(u64, Vec<u8>)>,
}

impl Memory {
    /// That of a thread's process, whose main thread may have ended; `None` if it is gone, or may not be read.
    #[must_use]
    pub fn of(tgid: u32, tid: u32) -> Option<Self> {
        let file = File::open(format!("/proc/{tgid}/task/{tid}/mem")).ok()?;
        Some(Self { file, near: RefCell::new((0, Vec::new())) })
    }

    /// So many bytes, or those before the first page that cannot be read; `None` if there are none.
    #[must_use]
    pub fn at_most(&self, at: u64, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.file.read_at(&mut bytes, at).ok()?;
        bytes.truncate(read);
        Some(bytes)
    }

    /// So many bytes; `None` if they cannot all be read.
    #[must_use]
    pub fn bytes(&self, at: u64, count: usize) -> Option<Vec<u8>> {
        self.at_most(at, count).filter(|bytes| bytes.len() == count)
    }

    /// The word at an address.
    #[must_use]
    pub fn word(&self, at: u64) -> Option<u64> {
        let mut near = self.near.borrow_mut();
        let word = |(start, bytes): &(u64, Vec<u8>)| {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            Some(u64::from_ne_bytes(bytes.get(from..from.checked_add(8)?)?.try_into().ok()?))
        };
        word(&near).or_else(|| {
            *near = (at, self.at_most(at, AT_ONCE)?);
            word(&near)
        })
    }
}
