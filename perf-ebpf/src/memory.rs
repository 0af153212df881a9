//! The records of memory that is touched: how much of it, where it lies, and from where.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What was touched, as [`crate::sample::Key::why`] says it: not known.
pub const UNREAD: u32 = 0;
/// Memory of no file: large blocks, other threads' stacks, arenas.
pub const ANONYMOUS: u32 = 1;
/// What lies below the program break.
pub const HEAP: u32 = 2;
/// The first thread's stack.
pub const STACK: u32 = 3;
/// A file's page that is mapped, or the copy of one.
pub const FILE: u32 = 4;
/// Memory that is shared with others, or could be (`MAP_SHARED`), of a file or not.
pub const SHARED: u32 = 5;
/// Added to these: by a page larger than the smallest.
pub const HUGE: u32 = 1 << 8;

/// How often so much was touched at one place, as far as samples stand for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Touched {
    /// Bytes.
    pub bytes: u64,
    /// `CLOCK_MONOTONIC` time of the first sample.
    pub first_ns: u64,
}

/// How the kernel half finds out where the kernel sees all physical memory, which not every kernel tells: there a page of user space's own
/// lies, of which it knows the physical address and what stands in it. The memory begins at a multiple of [`ALIGNMENT`], below all page
/// tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AllMemory {
    /// What stands in the page, each bit turned over, so that it stands nowhere else.
    pub inverted: u64,
    /// Where that is in physical memory; 0 if it is not looked for.
    pub physical: u64,
    /// Where all memory begins; 0 if that is not known yet.
    pub base: u64,
    /// How many beginnings have been tried.
    pub tried: u64,
    /// How many there are to try.
    pub most: u64,
}

/// Of the beginning of all memory (`PUD_SIZE`).
pub const ALIGNMENT: u64 = 1 << 30;

/// How many bits of an address lie below what the entry of a page table at this level covers: 0 are the smallest pages'.
#[inline(always)]
#[must_use]
pub const fn table_shift(level: u32) -> u32 {
    12 + 9 * level
}

/// The bytes of a page that a table's entry at this level leads to.
#[inline(always)]
#[must_use]
pub const fn page_bytes(level: u32) -> u64 {
    1 << table_shift(level)
}

/// In an entry of a page table (x86-64): there is something.
pub const IS_PRESENT: u64 = 1;
/// It is a page, not another table.
pub const IS_PAGE: u64 = 1 << 7;
/// Where it lies in physical memory.
pub const PHYSICAL: u64 = 0x000f_ffff_ffff_f000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_large_as_their_level_says() {
        assert_eq!([0, 1, 2].map(page_bytes), [4 << 10, 2 << 20, 1 << 30]);
    }
}
