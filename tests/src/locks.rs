//! Locks in a report.

use serde::Deserialize;

use crate::Accounting;

/// A lock.
#[derive(Debug, Deserialize)]
pub struct Lock {
    /// Process and address.
    pub id: String,
    /// What lies there.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Waits that ended.
    #[serde(default)]
    pub waits: u64,
    /// The time of waits.
    pub wait_ns: u64,
    /// Of that, in waits that ended because they had lasted long enough.
    pub timeout_ns: u64,
    /// The longest.
    #[serde(default)]
    pub max_wait_ns: u64,
    /// How many waited at once.
    #[serde(default)]
    pub most_waiting: u64,
    /// Times that it was held after a wait.
    #[serde(default)]
    pub holds: u64,
    /// In all.
    #[serde(default)]
    pub hold_ns: u64,
    /// Whether somebody always waits.
    #[serde(default)]
    pub convoy: bool,
    /// Who waited.
    pub waiters: Vec<LockWaiter>,
    /// Who had it.
    pub holders: Vec<LockHolder>,
    /// How much faster the program could be.
    pub speedup_at_most: Option<f64>,
}

/// A stack that waited for a lock.
#[derive(Debug, Deserialize)]
pub struct LockWaiter {
    /// Its functions.
    pub stack: Vec<String>,
    /// For how long.
    pub wait_ns: u64,
}

/// A thread that had a lock.
#[derive(Debug, Deserialize)]
pub struct LockHolder {
    /// Which.
    pub tid: u32,
    /// Whether that is concluded.
    pub inferred: bool,
    /// Why it waited itself.
    pub waited: Option<String>,
    /// Its functions.
    pub stack: Vec<String>,
    /// For how long others waited.
    pub blamed_ns: u64,
}

/// Threads that wait for one another.
#[derive(Debug, Deserialize)]
pub struct Deadlock {
    /// The threads.
    pub threads: Vec<Deadlocked>,
    /// When it was complete.
    pub since_ns: u64,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct Deadlocked {
    /// The thread.
    pub tid: u32,
    /// The lock.
    pub waits_for: String,
    /// Who has it.
    pub owner: u32,
    /// Where it waits.
    #[serde(default)]
    pub place: String,
}

impl Lock {
    /// The time for which holders are known that pass a check.
    #[must_use]
    pub fn blamed(&self, wanted: impl Fn(&LockHolder) -> bool) -> u64 {
        self.holders.iter().filter(|holder| wanted(holder)).map(|holder| holder.blamed_ns).sum()
    }

    /// The time waited in stacks with this function.
    #[must_use]
    pub fn waited_in(&self, function: &str) -> u64 {
        let there = self.waiters.iter().filter(|waiter| waiter.stack.iter().any(|frame| frame == function));
        there.map(|waiter| waiter.wait_ns).sum()
    }
}

/// Waits for the kernel's own locks.
#[derive(Debug, Deserialize)]
pub struct KernelLocks {
    /// What became of all waits.
    pub accounting: Accounting,
    /// By process and lock.
    pub locks: Vec<KernelLock>,
    /// Where threads waited.
    pub places: Vec<KernelPlace>,
}

/// A lock of the kernel.
#[derive(Debug, Deserialize)]
pub struct KernelLock {
    /// What it is.
    pub lock: String,
    /// How many waited.
    pub waits: u64,
    /// For how long.
    pub total_ns: u64,
    /// Half of them no longer than this.
    pub p50_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// A place where threads waited for a lock of the kernel.
#[derive(Debug, Deserialize)]
pub struct KernelPlace {
    /// The kernel's function.
    pub kernel: String,
    /// The program's.
    pub function: String,
    /// What kind of lock.
    pub why: String,
    /// For how long.
    pub value: u64,
}

impl KernelLocks {
    /// Waits for locks whose name begins so: how many, and for how long.
    #[must_use]
    pub fn of(&self, beginning: &str) -> (u64, u64) {
        let found = self.locks.iter().filter(|lock| lock.lock.starts_with(beginning));
        found.fold((0, 0), |(waits, ns), lock| (waits + lock.waits, ns + lock.total_ns))
    }

    /// The time waited for locks of a kind in a function of the program.
    #[must_use]
    pub fn waited_in(&self, function: &str, kind: &str) -> u64 {
        let there = self.places.iter().filter(|place| place.function == function && place.why.starts_with(kind));
        there.map(|place| place.value).sum()
    }
}
