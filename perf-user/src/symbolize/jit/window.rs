//! Reading here and there in a long file, mostly forwards, with few system calls.

use std::{fs::File, os::unix::fs::FileExt as _};

/// How much is read at once.
const BYTES: usize = 64 * 1024;

/// How often at most: a file that makes this many reads necessary keeps the recorder from its work.
const MOST_READS: u32 = 1 << 20;

/// The part of a file that was read last.
pub(super) struct FileWindow<'file> {
    file: &'file File,
    /// No more of it than this.
    length: u64,
    start: u64,
    bytes: Vec<u8>,
    reads: u32,
}

impl<'file> FileWindow<'file> {
    pub(super) fn new(file: &'file File, length: u64) -> Self {
        Self { file, length, start: 0, bytes: Vec::new(), reads: 0 }
    }

    /// `count` bytes from `offset` on, if there are so many; at most as many as are read at once.
    pub(super) fn get(&mut self, offset: u64, count: usize) -> Option<&[u8]> {
        let end = offset.checked_add(count as u64).filter(|end| *end <= self.length)?;
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let wanted = usize::try_from(self.length - offset).unwrap_or(BYTES).min(BYTES);
            self.bytes.resize(wanted, 0);
            self.reads += 1;
            let got = self.file.read_at(&mut self.bytes, offset).unwrap_or_default();
            self.bytes.truncate(got);
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        self.bytes.get(at..at + count)
    }

    /// Whether too much was asked of it.
    pub(super) fn is_exhausted(&self) -> bool {
        self.reads > MOST_READS
    }
}
