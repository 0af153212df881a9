//! The records of locks that are futexes: at which one a thread waits, who has it, and how often and how long that was so.
//!
//! Nothing is asked of a lock for which nobody waits: it is looked at when a thread leaves the CPU in the system call.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::histogram::Lengths;

/// A lock of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LockKey {
    /// The process that waited for it.
    pub tgid: u32,
    /// [`crate::sample::Key::exec_count`]: after an exec it is another.
    pub exec_count: u32,
    /// Where it is.
    pub lock: u64,
}

/// What happened at a lock in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LockSum {
    /// Waits that ended: how long threads were blocked in them.
    pub waits: Lengths,
    /// Wake-ups after which others still waited.
    pub handed_on: u64,
    /// Times of which it is known for how long a thread had it that others waited for: from when it came to run after a wait for it
    /// until it woke another.
    pub holds: u64,
    /// In all.
    pub hold_ns: u64,
    /// The longest.
    pub hold_max_ns: u64,
    /// For how long at least one thread waited, as far as that ended.
    pub contended_ns: u64,
    /// How many waited at once, at most.
    pub most_waiting: u64,
}

impl LockSum {
    /// Nothing yet.
    pub const NONE: Self = Self {
        waits: Lengths::NONE,
        handed_on: 0,
        holds: 0,
        hold_ns: 0,
        hold_max_ns: 0,
        contended_ns: 0,
        most_waiting: 0,
    };
}

/// Who made others wait at a lock, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HolderKey {
    /// The lock.
    pub key: LockKey,
    /// Who let go of it: an id of a [`crate::sched::Waker`].
    pub waker: u64,
}

/// For how long who let go of a lock had made others wait: the time that all of them waited since somebody did so last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Blame {
    /// In all.
    pub ns: u64,
    /// Of that, the time in which it waited itself.
    pub waited_ns: u64,
}

/// Who waits at a lock now, and who has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LockState {
    /// How many threads wait.
    pub waiting: u64,
    /// The times at which waits ended less those at which they began: with `waiting` times the time added, it is how long all waited
    /// until then.
    pub balance_ns: u64,
    /// How long all had waited when it was let go of last.
    pub blamed_ns: u64,
    /// When that was.
    pub let_go_ns: u64,
    /// How many waited at once, at most, since a wait last ended.
    pub most_waiting: u64,
    /// Since when at least one does.
    pub since_ns: u64,
    /// When `holder` came to run after it had waited for it.
    pub acquired_ns: u64,
    /// The thread that did so last; 0 if none has, or it has woken another since.
    pub holder: u32,
    /// Zero.
    pub reserved: u32,
}

/// Where in a lock it was found who has it. What lies there may be something else: what kind of lock it is, the stack tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OwnerAt {
    /// Nowhere.
    Nowhere = 0,
    /// In the word itself: locks with priority inheritance, musl's mutexes, and threads that others wait for to end.
    Word = 1,
    /// 8 bytes after it: glibc's mutexes.
    Mutex = 2,
    /// 12 bytes after it: glibc's read-write locks, where writers wait.
    Writers = 3,
    /// 16 bytes after it: those, where readers wait.
    Readers = 4,
}

impl OwnerAt {
    /// All places, in the order in which they are looked at.
    pub const ALL: [Self; 4] = [Self::Word, Self::Mutex, Self::Writers, Self::Readers];

    /// Which word after the futex it is, itself included.
    #[must_use]
    pub const fn word(self) -> usize {
        match self {
            Self::Nowhere | Self::Word => 0,
            Self::Mutex => 2,
            Self::Writers => 3,
            Self::Readers => 4,
        }
    }

    /// Of a number.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number {
            1 => Self::Word,
            2 => Self::Mutex,
            3 => Self::Writers,
            4 => Self::Readers,
            _ => Self::Nowhere,
        }
    }
}

/// Words of a lock that are looked at.
pub const LOCK_WORDS: usize = 5;

/// How a thread waits at a lock: the operation of `futex(2)`, and where it was found who has it.
#[inline(always)]
#[must_use]
pub const fn how(operation: u32, owner_at: u32) -> u32 {
    operation & COMMAND | owner_at << OWNER_SHIFT
}

/// The operation of [`how`].
#[must_use]
pub const fn operation(how: u32) -> u32 {
    how & COMMAND
}

/// Where it was found who has it.
#[must_use]
pub const fn owner_at(how: u32) -> OwnerAt {
    OwnerAt::of(how >> OWNER_SHIFT)
}

const OWNER_SHIFT: u32 = 8;

/// The bits of a futex operation that are its number.
pub const COMMAND: u32 = 0x7f;
/// Only threads of one process use it.
pub const PRIVATE: u32 = 128;
/// `FUTEX_LOCK_PI`.
pub const LOCK_PI: u32 = 6;
/// `FUTEX_LOCK_PI2`.
pub const LOCK_PI2: u32 = 13;
/// In place of an operation: `futex_waitv`.
pub const WAIT_MANY: u32 = 0x7f;

/// The bits of a futex that are the thread that has it, where the kernel knows that.
pub const TID_BITS: u32 = 0x3fff_ffff;

/// The system call `futex`.
pub const FUTEX: u32 = 202;
/// `futex_waitv` (5.16).
pub const FUTEX_WAITV: u32 = 449;
/// `futex_wait` (6.7).
pub const FUTEX_WAIT: u32 = 455;

/// Whether threads wait at futexes in the system call of this number, as x86-64 has them.
#[inline(always)]
#[must_use]
pub const fn is_futex(system_call: u32) -> bool {
    system_call == FUTEX || system_call == FUTEX_WAITV || system_call == FUTEX_WAIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_thread_waits_keeps_both_parts() {
        for at in OwnerAt::ALL {
            for number in [0, LOCK_PI, LOCK_PI2, 9, WAIT_MANY] {
                let how = how(number | PRIVATE | 256, at as u32);
                assert_eq!((operation(how), owner_at(how)), (number, at));
            }
            assert!(at.word() < LOCK_WORDS);
        }
        assert_eq!(owner_at(how(9, 0)), OwnerAt::Nowhere);
    }
}
