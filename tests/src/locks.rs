//! Locks in a report.

use serde::Deserialize;

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
