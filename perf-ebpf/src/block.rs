//! The records of block I/O: requests to devices, how long they waited to be issued, and how long the device took.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{comm::Comm, histogram::Lengths, sample::Key};

/// What a request asks of a device. Kept as numbers in [`Key::why`] and [`BlockKey::operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Operation {
    /// To read.
    Read = 0,
    /// To write.
    Write = 1,
    /// To make what was written survive a loss of power. It is done by a request of the kernel's own, which can stand for several.
    Flush = 2,
    /// To forget blocks, or to fill them with zeros.
    Discard = 3,
    /// Another.
    Other = 4,
    /// To write what was left in memory: the kernel does that later, by threads of its own, for who left it there.
    Writeback = 5,
}

impl Operation {
    /// All.
    pub const ALL: [Self; 6] = [Self::Read, Self::Write, Self::Flush, Self::Discard, Self::Other, Self::Writeback];

    /// By the flags of a request (`cmd_flags`; `REQ_OP_*`) and its length.
    #[inline(always)]
    #[must_use]
    pub const fn of(command: u32, bytes: u32) -> Self {
        match command & 0xff {
            0 => Self::Read,
            // A flush that was asked for alone is an empty write.
            1 if bytes == 0 => Self::Flush,
            1 => Self::Write,
            2 => Self::Flush,
            // And secure erase, and to write zeros.
            3 | 5 | 9 => Self::Discard,
            _ => Self::Other,
        }
    }
}

/// A request that has not been completed. All times are `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenRequest {
    /// Who asked for it, and where. [`Key::why`] is the [`Operation`].
    pub key: Key,
    /// When that was.
    pub start_ns: u64,
    /// When it was given to the device, the last time; 0 if it was not, or not itself.
    pub issue_ns: u64,
    /// The first of its sectors, of 512 bytes each.
    pub sector: u64,
    /// Its length: what was merged into it before it was issued included.
    pub bytes: u64,
    /// The whole disk: its major number, shifted by 20, and its minor.
    pub device: u32,
    /// How often the device sent it back.
    pub requeues: u32,
    /// 1 if it failed, or part of it.
    pub failed: u32,
    /// Zero.
    pub reserved: u32,
    /// When the thread was where [`Self::key`] says: what is written later was changed before.
    pub place_ns: u64,
    /// The file that it is for, as far as that is known.
    pub file: FileKey,
}

/// A file, as its file system numbers it. All zero for none that is known.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FileKey {
    /// The inode's number.
    pub inode: u64,
    /// The file system, by its device's number: as [`OpenRequest::device`], of the partition; or a number of its own.
    pub system: u32,
    /// Which of the files that have had this number, as the file system tells them apart.
    pub generation: u32,
}

/// Pages of a file, [`DIRTY_PAGES`] of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirtyKey {
    /// Where the kernel has the file's pages: an address, which another file's may have later.
    pub mapping: u64,
    /// Which of its parts of so many pages.
    pub part: u64,
}

/// Whose pages are told apart: no finer than so many pages of a file, of which a thread mostly writes more at once.
pub const DIRTY_PAGES: u64 = 64;

/// Who changed pages last that are to be written. All times are `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dirtier {
    /// Who, and where. [`Key::why`] is [`Operation::Writeback`].
    pub key: Key,
    /// The file.
    pub file: FileKey,
    /// From which place, as [`crate::sched::WaitKey::place`], without how it was taken; 0 if that is not known.
    pub at: u64,
    /// When it was there.
    pub place_ns: u64,
    /// When the first of them was written since; 0 if none was.
    pub written_ns: u64,
}

/// What a CPU's last thread that changed a page changed. Sets of pages follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LastChange {
    /// Which pages.
    pub pages: DirtyKey,
    /// When that was taken note of.
    pub noted_ns: u64,
    /// The thread.
    pub tid: u64,
}

/// A thread that goes on to change the same pages is taken note of this often.
pub const NOTED_NS: u64 = 1_000_000;

/// A thread that goes on to change the same pages from the same place is taken to have come there the same way, for so long.
pub const SAME_WAY_NS: u64 = 100_000_000;

/// What was changed so long ago has been written: the kernel does not leave it for longer, unless it is told to.
pub const LEFT_NS: u64 = 60_000_000_000;

/// When pages are written, this much later none of those that were changed before are left: what is written then, others have changed.
pub const WRITTEN_NS: u64 = 1_000_000_000;

/// Bytes of [`FileName::text`] that parts begin in.
pub const NAME_BYTES: usize = 256;
/// Bytes of the longest part that is kept, with the zero that ends it.
pub const PART_BYTES: usize = 64;

/// What a file is called: by the names of its directories from the root of its file system, or as [`FileName::kind`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileName {
    /// The names of the file, of its directory, and so on, each ended by a zero.
    pub text: [u8; NAME_BYTES + PART_BYTES],
    /// Bytes in use.
    pub used: u32,
    /// 1 if the last one is in the root.
    pub is_whole: u32,
    /// 1 if the file was deleted.
    pub is_deleted: u32,
    /// [`crate::file_calls::PATH`] or another of these.
    pub kind: u32,
}

/// What requests are counted under, by file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileRequestsKey {
    /// Who asked which disk for what, and where they were completed.
    pub of: BlockKey,
    /// The file.
    pub file: FileKey,
}

/// The requests that were for one file, and completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileRequests {
    /// How many.
    pub count: u64,
    /// Their lengths.
    pub bytes: u64,
    /// Their time from when they were asked for.
    pub ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What requests are counted under. Every CPU has entries of its own, so that none is written from two at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockKey {
    /// The process that asked.
    pub tgid: u32,
    /// As [`OpenRequest::device`].
    pub device: u32,
    /// [`Operation`].
    pub operation: u32,
    /// On which CPU they were completed.
    pub cpu: u32,
}

/// Requests that were completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockSum {
    /// Their lengths.
    pub bytes: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How often the device sent them back.
    pub requeues: u64,
    /// From when they were asked for until they were completed.
    pub whole: Lengths,
    /// From when they were asked for until they were given to the device.
    pub queue: Lengths,
    /// From then on.
    pub device: Lengths,
}

impl BlockSum {
    /// Nothing yet.
    pub const NONE: Self =
        Self { bytes: 0, failed: 0, requeues: 0, whole: Lengths::NONE, queue: Lengths::NONE, device: Lengths::NONE };
}

/// What the time and the bytes of requests are counted under, by stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockStackKey {
    /// As [`OpenRequest::key`].
    pub key: Key,
    /// As [`OpenRequest::device`].
    pub device: u32,
    /// On which CPU they were completed.
    pub cpu: u32,
}

/// The requests that were asked for with one stack, and completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockTime {
    /// Their time from when they were asked for.
    pub ns: u64,
    /// Their lengths.
    pub bytes: u64,
    /// [`OpenRequest::place_ns`] of the first of them.
    pub first_ns: u64,
}

/// One request that took long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlowRequest {
    /// When it was asked for.
    pub start_ns: u64,
    /// How long it waited to be given to the device.
    pub queue_ns: u64,
    /// How long that took.
    pub device_ns: u64,
    /// As [`OpenRequest::sector`].
    pub sector: u64,
    /// As [`OpenRequest::bytes`].
    pub bytes: u64,
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: Comm,
    /// As [`OpenRequest::device`].
    pub device: u32,
    /// [`Operation`].
    pub operation: u32,
    /// As [`OpenRequest::requeues`].
    pub requeues: u32,
    /// As [`OpenRequest::failed`].
    pub failed: u32,
    /// As [`OpenRequest::file`].
    pub file: FileKey,
}

impl OpenRequest {
    /// How long it waited for the device, and how long that has taken, until `now_ns`. The time of one that was never issued
    /// itself, which is what flushes do, is the device's.
    #[inline(always)]
    #[must_use]
    pub fn times(&self, now_ns: u64) -> [u64; 2] {
        let issue_ns = if self.issue_ns == 0 { self.start_ns } else { self.issue_ns };
        [issue_ns.saturating_sub(self.start_ns), now_ns.saturating_sub(issue_ns)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_by_flags_and_lengths() {
        const PREFLUSH: u32 = 1 << 18;
        for (command, bytes, operation) in [
            (0, 4096, Operation::Read),
            (1, 4096, Operation::Write),
            (1 | PREFLUSH, 4096, Operation::Write),
            (1 | PREFLUSH, 0, Operation::Flush),
            (2, 0, Operation::Flush),
            (3, 1 << 20, Operation::Discard),
            (9, 4096, Operation::Discard),
            (13, 0, Operation::Other),
        ] {
            assert_eq!(Operation::of(command, bytes), operation, "{command:#x} {bytes}");
        }
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, number);
        }
    }

    #[test]
    fn times_add_up() {
        let open = OpenRequest { start_ns: 100, issue_ns: 130, ..OpenRequest::default() };
        assert_eq!(open.times(200), [30, 70]);
        assert_eq!(OpenRequest { issue_ns: 0, ..open }.times(200), [0, 100]);
        // Clocks of CPUs may differ by a little.
        assert_eq!(OpenRequest { issue_ns: 90, ..open }.times(80), [0, 0]);
    }
}
