//! The records of scheduling: what every thread does, since when, and how long it did what.
//!
//! A thread runs, or waits for a CPU (it is runnable), or is blocked: it waits for something else. It is always in one of
//! these, so the three times add up to the time since it was first heard of.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{kernel_lock::KernelWait, sample::Key};

#[cfg(test)]
mod tests;

/// What a thread does. Kept as numbers in [`Thread::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// User space has seen it in `/proc` as one that runs or could; what it does next tells which.
    Unheard = 0,
    /// It runs.
    Running = 1,
    /// It waits for a CPU.
    Runnable = 2,
    /// It waits for something else.
    Blocked = 3,
}

/// A thread of the target. All times are `CLOCK_MONOTONIC`.
///
/// The program that changes it writes `changes_after` first and `changes` last, and who copies it reads them the other way
/// round: a copy in which they differ is no copy of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Thread {
    /// How often this was changed.
    pub changes: u64,
    /// When it was first heard of.
    pub first_ns: u64,
    /// When it began to do what it does.
    pub since_ns: u64,
    /// When it left the CPU, if it does not run.
    pub off_ns: u64,
    /// For how long it ran, up to `since_ns`.
    pub running_ns: u64,
    /// For how long it waited for a CPU, up to `since_ns`.
    pub runnable_ns: u64,
    /// For how long it waited for something else, up to `since_ns`.
    pub blocked_ns: u64,
    /// For how long who woke it had been off the CPU itself, in this interval of its.
    pub waker_off_ns: u64,
    /// Where and why it left the CPU, and who ended that.
    pub wait: WaitKey,
    /// The frame pointer with which its user code came into the kernel, where it waits: with what `/proc` tells of a thread that
    /// waits, user space can walk its stack later. 0 if that is not known.
    pub fp: u64,
    /// For how long it had run, by the kernel's own account, when it last left the CPU; [`UNKNOWN_EXEC`] if that is not known.
    pub exec_ns: u64,
    /// [`crate::lock::LockState::born_ns`] of where it is counted as waiting.
    pub lock_born_ns: u64,
    /// The lock of the kernel for which it waits, whether it sleeps meanwhile or not.
    pub sleeps: KernelWait,
    /// The rwlock for which it waits on its CPU: within that wait, or by itself.
    pub shares: KernelWait,
    /// The spinlock for which it waits on its CPU, or an interrupt in its name does: within those waits, or by itself.
    pub spins: KernelWait,
    /// [`State`].
    pub state: u32,
    /// [`AtLock`].
    pub at_lock: u32,
    /// As `changes`.
    pub changes_after: u64,
}

/// What became of a wait at a lock. Kept as numbers in [`Thread::at_lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AtLock {
    /// It does not wait at one.
    Not = 0,
    /// It waits, and is counted among those that do.
    Waits = 1,
    /// Another woke it, by the lock.
    Woken = 2,
    /// Its time was over, or a signal came; or it is not counted.
    GaveUp = 3,
}

/// In place of [`Thread::exec_ns`].
pub const UNKNOWN_EXEC: u64 = u64::MAX;

impl Thread {
    /// For how long it ran since it last left the CPU, by the kernel's own account, which says `exec_ns` now; `None` if that is not
    /// known.
    #[inline(always)]
    #[must_use]
    pub fn ran_since(&self, exec_ns: u64) -> Option<u64> {
        // What cannot be read is zero.
        let is_known = self.exec_ns != UNKNOWN_EXEC && exec_ns != 0;
        if is_known { Some(exec_ns.saturating_sub(self.exec_ns)) } else { None }
    }

    /// Whether this copy is of one moment.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.changes == self.changes_after
    }

    /// It runs as far as was seen, and has left the CPU: it ran as long as the kernel's account says, which is `exec_ns` now, and has
    /// been blocked since, nobody knows where. The first time, that account is not known, and what it ran not either.
    #[inline(always)]
    pub fn leave_unseen(&mut self, exec_ns: u64, now_ns: u64) {
        let ran_ns = self.ran_since(exec_ns).unwrap_or(0);
        let open_ns = now_ns.saturating_sub(self.since_ns);
        let left_ns = self.since_ns + if ran_ns < open_ns { ran_ns } else { open_ns };
        self.turn(left_ns, State::Running, State::Blocked);
        (self.off_ns, self.exec_ns, self.fp) = (left_ns, exec_ns, 0);
        (self.wait.waker, self.waker_off_ns, self.wait.place) = (0, 0, 0);
        self.wait.leave_lock();
        let key = &mut self.wait.key;
        key.why = why(TASK_INTERRUPTIBLE, NO_SYSTEM_CALL);
        (key.user_stack, key.kernel_stack, key.python_stack) = (0, 0, 0);
    }

    /// Ends what the thread has done until `now_ns`, and begins something else.
    #[inline(always)]
    pub fn turn(&mut self, now_ns: u64, did: State, does: State) {
        let passed_ns = now_ns.saturating_sub(self.since_ns);
        match did {
            State::Running => self.running_ns += passed_ns,
            State::Runnable => self.runnable_ns += passed_ns,
            State::Blocked | State::Unheard => self.blocked_ns += passed_ns,
        }
        (self.since_ns, self.state) = (now_ns, does as u32);
    }

    /// Off the CPU until `now_ns`: how long it was blocked in that time, and then runnable.
    #[inline(always)]
    #[must_use]
    pub fn off(&self, now_ns: u64) -> [u64; 2] {
        let woken_ns = if self.state == State::Blocked as u32 { now_ns } else { self.since_ns };
        [woken_ns.saturating_sub(self.off_ns), now_ns.saturating_sub(woken_ns)]
    }

    /// The times up to `now_ns`: running, runnable, blocked. One of which nothing was heard is taken to run.
    #[must_use]
    pub fn times(&self, now_ns: u64) -> [u64; 3] {
        let open_ns = now_ns.saturating_sub(self.since_ns);
        let mut times = [self.running_ns, self.runnable_ns, self.blocked_ns];
        let open = match self.state {
            state if state == State::Runnable as u32 => 1,
            state if state == State::Blocked as u32 => 2,
            _ => 0,
        };
        times[open] += open_ns;
        times
    }
}

/// A wait: who waits, where, why, and for whom. What is counted under it is [`Waits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WaitKey {
    /// Who, where and why.
    pub key: Key,
    /// [`place`]: where exactly, and how its stacks were come by.
    pub place: u64,
    /// Who ended the wait: the id under which the window, or an earlier one, has a waker's [`Key`], of which `why` tells what
    /// the waker itself had waited for meanwhile, if it had. 0 if nobody was seen.
    pub waker: u64,
    /// The futex at which it waited; 0 if that is not recorded, or it waited for something else.
    pub lock: u64,
    /// The thread that had it then, as far as that lies where [`crate::lock::owner_at`] says; 0 if none is known.
    pub owner: u32,
    /// [`crate::lock::how`] it waited.
    pub how: u32,
}

impl WaitKey {
    /// It does not wait at a lock.
    #[inline(always)]
    pub fn leave_lock(&mut self) {
        (self.lock, self.owner, self.how) = (0, 0, 0);
    }
}

/// Who ended a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Waker {
    /// Who, where, and what it had waited for itself meanwhile, if it had.
    pub key: Key,
    /// The user stack of that wait of its own; 0 if there was none.
    pub waited_stack: u64,
    /// And the Python frames of that.
    pub waited_python: u64,
}

/// A thread that waits at the same place again and again within this time has no stack taken each time.
pub const STORM_NS: u64 = 2_000_000;

/// Of so many waits in a storm, one has its stack taken, by chance.
pub const STORM_SHARE: u32 = 64;

/// Where a thread waited, and how the stacks of that were come by, in one number: [`WaitKey::place`].
pub mod place {
    /// How stacks were come by.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum How {
        /// Nothing is known of the place; they are the wait's own.
        Unknown = 0,
        /// They are the wait's own, and stand for it alone.
        Own = 1,
        /// None were taken: it was one of a storm of waits at this place.
        Skipped = 2,
        /// They are its own, and stand for those that were skipped there, too.
        Sampled = 3,
    }

    const HOW: u64 = 3;

    /// The number for a place that is not 0.
    #[inline(always)]
    #[must_use]
    pub const fn with(place: u64, how: How) -> u64 {
        place & !HOW | how as u64
    }

    /// What [`with`] was told.
    #[inline(always)]
    #[must_use]
    pub const fn how(place: u64) -> How {
        match place & HOW {
            1 => How::Own,
            2 => How::Skipped,
            3 => How::Sampled,
            _ => How::Unknown,
        }
    }

    /// The place alone.
    #[must_use]
    pub const fn of(place: u64) -> u64 {
        place & !HOW
    }
}

/// The last stacks that were taken at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Seen {
    /// When.
    pub taken_ns: u64,
    /// Their ids: user, kernel, Python.
    pub stacks: [u64; 3],
}

/// An interval off the CPU that began in an earlier window, or the end of a thread: what user space adds up itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Past {
    /// The thread.
    pub tid: u32,
    /// 1 for a thread that has ended, else 0.
    pub ended: u32,
    /// When the interval began; of a thread, when it was first heard of.
    pub from_ns: u64,
}

/// What [`Past`] was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PastThread {
    /// The thread: of an interval, as it was before it came to run; of one that has ended, as it was then.
    pub thread: Thread,
    /// When the interval, or the thread, ended.
    pub until_ns: u64,
}

/// How long threads were off the CPU in intervals that ended in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Waits {
    /// Time blocked in them.
    pub blocked_ns: u64,
    /// Time runnable in them, after they were woken or since they were preempted.
    pub runnable_ns: u64,
    /// Time that who ended them had been off the CPU meanwhile, as far as its last such interval tells.
    pub waker_off_ns: u64,
    /// When the first of them began.
    pub first_ns: u64,
}

/// Why a thread leaves the CPU: its task state, of which the low bits are kept, and the system call that it is in.
#[inline(always)]
#[must_use]
pub const fn why(task_state: u32, system_call: u32) -> u32 {
    task_state & STATE_BITS | system_call << SYSTEM_CALL_SHIFT
}

/// Bits of the task state that [`why`] keeps.
pub const STATE_BITS: u32 = 0xfff;

const SYSTEM_CALL_SHIFT: u32 = 12;

/// In place of a system call's number: the thread is in none, as far as can be told.
pub const NO_SYSTEM_CALL: u32 = 0xf_fffe;

/// In place of a system call's number: the thread came into the kernel by an interrupt or a fault.
pub const INTERRUPTED: u32 = 0xf_ffff;

/// The task state of [`why`].
#[must_use]
pub const fn task_state(why: u32) -> u32 {
    why & STATE_BITS
}

/// The system call of [`why`]: a number, or one of the two that stand for none.
#[must_use]
pub const fn system_call(why: u32) -> u32 {
    why >> SYSTEM_CALL_SHIFT
}

/// Which waits are kept: those that are at least so long, and begin in one of some states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitFilter {
    /// The shortest, in nanoseconds off the CPU.
    pub min_ns: u64,
    /// Bits of [`state_bit`].
    pub states: u32,
}

impl WaitFilter {
    /// All waits.
    pub const ALL: Self = Self { min_ns: 0, states: u32::MAX };

    /// Whether a wait of this [`why`] that took so long is kept.
    #[inline(always)]
    #[must_use]
    pub const fn keeps(self, why: u32, off_ns: u64) -> bool {
        off_ns >= self.min_ns && self.states & state_bit(task_state(why)) != 0
    }
}

/// The states that a thread can leave the CPU in, as `ps` calls them, in the order of the bits of [`state_bit`].
pub const STATES: [(char, &str); 5] = [
    ('R', "it could run on"),
    ('S', "asleep, until a signal at the latest"),
    ('D', "asleep, signals or not: disk, page fault, kernel lock"),
    ('T', "stopped"),
    ('I', "idle: the kernel's own threads"),
];

/// One bit for each of [`STATES`].
#[inline(always)]
#[must_use]
pub const fn state_bit(task_state: u32) -> u32 {
    if task_state & TASK_STOPPED != 0 {
        1 << 3
    } else if task_state & TASK_UNINTERRUPTIBLE != 0 {
        if task_state & TASK_NOLOAD != 0 { 1 << 4 } else { 1 << 2 }
    } else if task_state & TASK_INTERRUPTIBLE != 0 {
        1 << 1
    } else {
        1
    }
}

/// Sleeps, and can be woken by signals.
pub const TASK_INTERRUPTIBLE: u32 = 1;
/// Sleeps, and cannot.
pub const TASK_UNINTERRUPTIBLE: u32 = 2;
/// Stopped by a signal, or by a debugger.
pub const TASK_STOPPED: u32 = 4 | 8;
/// Will never run again.
pub const TASK_DEAD: u32 = 0x80;
/// Only fatal signals wake it.
pub const TASK_WAKEKILL: u32 = 0x100;
/// Waits for nothing that counts as load.
pub const TASK_NOLOAD: u32 = 0x400;
/// In the place of a state that no thread leaves a CPU in (`TASK_NEW`): it waits for a lock of the kernel.
pub const AT_KERNEL_LOCK: u32 = 0x800;
