//! The records of the kernel's own locks: for which a thread waits, and for how long.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `LCB_F_SPIN`: who waits does not leave the CPU.
pub const SPIN: u32 = 1;
/// `LCB_F_READ`: with others that read.
pub const READ: u32 = 1 << 1;
/// `LCB_F_WRITE`: alone.
pub const WRITE: u32 = 1 << 2;
/// `LCB_F_RT`: a lock that hands on priorities, as all are of a kernel for real time.
pub const RT: u32 = 1 << 3;
/// `LCB_F_PERCPU`: each CPU has its part.
pub const PERCPU: u32 = 1 << 4;
/// `LCB_F_MUTEX`: with [`SPIN`], as long as it waits on the CPU.
pub const MUTEX: u32 = 1 << 5;
/// Beside what the kernel says: it is the lock of the mappings of the thread's own memory.
pub const MAPPINGS: u32 = 1 << 8;

/// A wait for a lock of the kernel that has not ended. Kept with its thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelWait {
    /// Where the lock is.
    pub lock: u64,
    /// Since when, `CLOCK_MONOTONIC`; 0 if it waits for none.
    pub since_ns: u64,
    /// How: bits as [`SPIN`].
    pub how: u32,
    /// Zero.
    pub reserved: u32,
}

impl KernelWait {
    /// Whether what begins at this lock is but the next part of this wait: mutexes are waited for on the CPU first, and then off it.
    #[inline(always)]
    #[must_use]
    pub const fn goes_on(&self, lock: u64, how: u32) -> bool {
        self.since_ns != 0 && self.lock == lock && self.how & how & MUTEX != 0
    }
}

/// Whether who waits so stays on its CPU until it has the lock: such waits lie within others, as the locks of mutexes themselves.
#[inline(always)]
#[must_use]
pub const fn spins(how: u32) -> bool {
    how & SPIN != 0 && how & MUTEX == 0
}

/// What waits are counted under. Every CPU has entries of its own, so that none is written from two at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelLockKey {
    /// The process.
    pub tgid: u32,
    /// On which CPU the wait ended.
    pub cpu: u32,
    /// How: bits as [`SPIN`], and [`MAPPINGS`].
    pub how: u32,
    /// Zero.
    pub reserved: u32,
    /// Where it is, if it is a variable of the kernel, which has a name; else 0.
    pub lock: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutex_is_waited_for_in_two_ways_and_once() {
        let wait = KernelWait { lock: 7, since_ns: 5, how: MUTEX | SPIN, reserved: 0 };
        assert!(wait.goes_on(7, MUTEX) && !wait.goes_on(8, MUTEX));
        assert!(!KernelWait { since_ns: 0, ..wait }.goes_on(7, MUTEX), "it has ended");
        assert!(!KernelWait { how: WRITE, ..wait }.goes_on(7, WRITE), "the end of the last one was missed");
        assert!(!spins(MUTEX | SPIN) && spins(SPIN | READ) && !spins(RT));
    }
}
