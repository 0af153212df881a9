//! The records of system calls: how often, for how long, and which of them took longest.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{block::FileKey, comm::Comm};

/// The system call that a thread is in. Kept for as long as the thread lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenCall {
    /// When it began, `CLOCK_MONOTONIC`; 0 between calls and in one whose beginning was not seen, or [`OTHER_ABI`].
    pub start_ns: u64,
    /// Its number.
    pub call: u32,
    /// The process.
    pub tgid: u32,
    /// How many requests to disks the thread has made in it.
    pub requests: u64,
    /// Of a call that closes a file, which.
    pub file: FileKey,
    /// Where the kernel keeps the file of the descriptor that it was made with; 0 if it has none.
    pub opened: u64,
}

/// In place of the time when a call began: its number is that of another table than the machine's own, as in 32-bit programs.
pub const OTHER_ABI: u64 = u64::MAX;

/// Bit in the number of a call made by the rules of x32.
pub const X32_BIT: u64 = 0x4000_0000;

/// What calls are counted under. Every CPU has entries of its own, so that none is written from two at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallKey {
    /// The process.
    pub tgid: u32,
    /// The call's number.
    pub call: u32,
    /// On which CPU it returned.
    pub cpu: u32,
    /// For errors, which; else 0.
    pub error: u32,
}

/// Calls shorter than this are taken with their stack by chance only: the more rarely, the shorter.
pub const SURE_NS: u64 = 100_000;

/// Whether a call of this length is taken with its stack, by a random number. For each length the chance times what it then
/// [weighs](weight) is the length.
#[inline(always)]
#[must_use]
pub const fn is_sampled(length_ns: u64, random: u32) -> bool {
    length_ns >= SURE_NS || (random as u64 * SURE_NS) >> 32 < length_ns
}

/// The time that a call stands for that was taken with its stack.
#[inline(always)]
#[must_use]
pub const fn weight(length_ns: u64) -> u64 {
    if length_ns < SURE_NS { SURE_NS } else { length_ns }
}

/// The calls of one kind that were taken with one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallTime {
    /// The time that they stand for.
    pub ns: u64,
    /// When the first of them returned.
    pub first_ns: u64,
}

/// How many of the slowest calls are kept, of each CPU and window.
pub const SLOWEST: usize = 16;

/// The lengths of the slowest calls of a CPU in a window, so that the least of them is found at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlowLengths {
    /// The least of them.
    pub least_ns: u64,
    /// Where that is.
    pub least_at: u64,
    /// Each; 0 for none.
    pub ns: [u64; SLOWEST],
}

/// Arguments that a call can have.
pub const ARGUMENTS: usize = 6;

/// Bytes kept of what an argument leads to.
pub const TEXT_BYTES: usize = 128;

/// One call that took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlowCall {
    /// When it began.
    pub start_ns: u64,
    /// How long it took.
    pub length_ns: u64,
    /// What it returned: an error is negative.
    pub result: i64,
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: Comm,
    /// The call's number.
    pub call: u32,
    /// Bytes of `text` in use; of a text that ends with a zero, that included.
    pub text_bytes: u32,
    /// The arguments; the last two are no arguments.
    pub arguments: [u64; 8],
    /// What one of them led to, see [`Text`].
    pub text: [u8; TEXT_BYTES],
}

/// What to keep of that which an argument leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// A text that ends with a zero.
    Path {
        /// The argument.
        argument: u32,
    },
    /// As many bytes as another argument says.
    Bytes {
        /// The argument.
        argument: u32,
        /// The one that says how many.
        length: u32,
    },
    /// A `struct timespec`.
    Time {
        /// The argument.
        argument: u32,
    },
}

/// [`Text::Path`] in a [`Text::word`].
pub const TEXT_PATH: u32 = 1;
/// [`Text::Bytes`].
pub const TEXT_BYTES_OF: u32 = 2;
/// [`Text::Time`].
pub const TEXT_TIME: u32 = 3;

impl Text {
    /// As the number that the kernel half is told: the kind, the argument, and the one that says the length, a byte each.
    #[must_use]
    pub const fn word(self) -> u32 {
        match self {
            Self::Path { argument } => TEXT_PATH | argument << 8,
            Self::Bytes { argument, length } => TEXT_BYTES_OF | argument << 8 | length << 16,
            Self::Time { argument } => TEXT_TIME | argument << 8,
        }
    }
}

/// Calls whose arguments can lead to something that is kept: those with numbers below this.
pub const CALLS: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_calls_stand_for_all() {
        for length_ns in [1, 130, 4_000, 70_001, 99_999, 100_000, 5_000_000_u64] {
            const STEPS: u64 = 1 << 20;
            let taken = (0..STEPS).filter(|step| is_sampled(length_ns, (step << 12) as u32)).count() as u64;
            let (told, all) = (taken * weight(length_ns), STEPS * length_ns);
            assert!(told.abs_diff(all) <= SURE_NS * 2 + all / 1000, "{length_ns}: {told} of {all}");
        }
    }
}
