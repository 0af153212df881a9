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

/// Of so many faults on a CPU, whosever, the kernel tells one: a prime, so that nothing runs in step with it.
pub const TOLD: u64 = 17;

/// Told faults of the target on a CPU that are looked at in a [slot](SLOT_NS), if it goes on as in the slot before; in the first of a
/// storm some more.
pub const LOOKED_AT: u64 = 8;

/// What is counted before it is decided anew how many are looked at.
pub const SLOT_NS: u64 = 10_000_000;

/// How many faults of the target were told on a CPU, of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// When this slot began.
    pub since_ns: u64,
    /// In this slot.
    pub told: u64,
    /// In the slot before.
    pub before: u64,
}

impl Rate {
    /// One more is told: of how many such as this one is looked at, by chance. It depends on what was before alone, so that sums of
    /// what those stand for that are looked at are right on average.
    #[inline(always)]
    pub fn one_of(&mut self, now_ns: u64) -> u64 {
        let age_ns = now_ns.wrapping_sub(self.since_ns);
        if age_ns >= SLOT_NS {
            self.before = if age_ns < 2 * SLOT_NS { self.told } else { 0 };
            (self.since_ns, self.told) = (now_ns, 0);
        }
        self.told += 1;
        let most = if self.told > self.before { self.told } else { self.before };
        most.div_ceil(LOOKED_AT)
    }
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
    /// The highest that it can be: below the first page table that was seen. 0 before that.
    pub highest: u64,
    /// How many beginnings have been tried, from there down.
    pub tried: u64,
    /// How many there are to try.
    pub most: u64,
    /// Which bits of page tables' entries are addresses: others may say that memory is encrypted.
    pub address_bits: u64,
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
/// Where it lies in physical memory: these bits, as far as there is memory.
pub const PHYSICAL: u64 = 0x000f_ffff_ffff_f000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_looked_at_and_stand_for_all() {
        for told_a_second in [50_u64, 1_000, 20_000, 300_000] {
            let (mut rate, mut chance) = (Rate::default(), 1_u64);
            let (mut looks, mut stands_for) = (0_u64, 0_u64);
            for at in 0..told_a_second {
                let one_of = rate.one_of(1_000_000_000 + at * 1_000_000_000 / told_a_second);
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if (chance >> 33) % one_of == 0 {
                    (looks, stands_for) = (looks + 1, stands_for + one_of);
                }
            }
            assert!(looks <= 100 * (LOOKED_AT + 3) && looks >= told_a_second.min(400), "{looks} of {told_a_second}");
            let slack = 4.0 * (told_a_second as f64) / (looks as f64).sqrt();
            assert!(stands_for.abs_diff(told_a_second) as f64 <= slack, "{stands_for} for {told_a_second}");
        }
    }

    #[test]
    fn pages_are_as_large_as_their_level_says() {
        assert_eq!([0, 1, 2].map(page_bytes), [4 << 10, 2 << 20, 1 << 30]);
    }
}
