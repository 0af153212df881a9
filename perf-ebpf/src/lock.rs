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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LockState {
    /// When this was made: what is known of a lock for which nobody waits may be forgotten, and then it is another.
    pub born_ns: u64,
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
    /// Since when at least one does, as far as that has not been told; 0 if none does.
    pub since_ns: u64,
    /// Since when there has been somebody who waits, but for moments, as of who gives up and comes back.
    pub began_ns: u64,
    /// Since when nobody waits, if nobody does.
    pub empty_ns: u64,
    /// When `holder` came to run after it had waited for it.
    pub acquired_ns: u64,
    /// The thread that did so last; 0 if none has, or it has woken another since.
    pub holder: u32,
    /// Zero.
    pub reserved: u32,
}

/// Who comes back to a lock within this time has not done anything else.
pub const MOMENT_NS: u64 = 1_000_000;

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

/// The thread that has a futex, of whose word that is, and whether it can be one: what else is there are small numbers, as glibc's
/// mutexes have them.
#[inline(always)]
#[must_use]
pub const fn owner_in_word(word: u32) -> u32 {
    let tid = word & TID_BITS;
    if word & WAITERS != 0 || tid > 2 { tid } else { 0 }
}

/// The bits of a futex that are the thread that has it, where the kernel knows that.
const TID_BITS: u32 = 0x3fff_ffff;

/// The bit of such a futex that says that others wait.
const WAITERS: u32 = 0x8000_0000;

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

/// `futex_wake` (6.7).
pub const FUTEX_WAKE: u32 = 454;

/// `FUTEX_WAKE_OP`, which may wake those at a second futex.
const WAKE_OP: u32 = 5;

/// Operations that wake: `FUTEX_WAKE`, `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE`, `FUTEX_WAKE_OP`, `FUTEX_UNLOCK_PI`, `FUTEX_WAKE_BITSET`
/// and `FUTEX_CMP_REQUEUE_PI`.
const WAKES: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << WAKE_OP | 1 << 7 | 1 << 10 | 1 << 12;

/// Whether a thread in this system call, with these first two arguments, wakes who waits at this futex, which is its own process's unless
/// `elsewhere`: an interrupt, which wakes in its name, may have come in any call.
#[inline(always)]
#[must_use]
pub const fn wakes(system_call: u32, [second, first]: [u64; 2], lock: u64, elsewhere: bool) -> bool {
    if system_call == FUTEX_WAKE {
        return elsewhere || first == lock;
    }
    let operation = second as u32 & COMMAND;
    let is_wake = system_call == FUTEX && operation < 32 && WAKES & 1 << operation != 0;
    is_wake && (elsewhere || first == lock || operation == WAKE_OP)
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

    #[test]
    fn who_is_in_another_call_wakes_nobody() {
        let private = u64::from(PRIVATE);
        assert!(wakes(FUTEX, [1 | private, 64], 64, false) && wakes(FUTEX, [7, 64], 64, false));
        assert!(!wakes(FUTEX, [private, 64], 64, false), "it waits itself");
        assert!(!wakes(FUTEX, [1 | private, 128], 64, false) && wakes(FUTEX, [1, 128], 64, true));
        assert!(wakes(FUTEX, [5 | private, 128], 64, false) && wakes(FUTEX_WAKE, [0, 64], 64, false));
        assert!(!wakes(1, [1, 64], 64, false));
    }

    #[test]
    fn what_mutexes_have_in_their_word_is_no_thread() {
        assert_eq!([0, 1, 2, 3, 0x8000_0002, 0x4000_1000].map(owner_in_word), [0, 0, 0, 3, 2, 0x1000]);
    }
}
