//! The kernel's own accounts of a thread: what perfprobe's times and counts are held against.

use crate::{Queue, Recording};

/// What a thread of a workload logged of itself at its end: `tests/workloads/account.h`.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// The thread.
    pub tid: u32,
    /// On a CPU.
    pub run_ns: u64,
    /// Waiting for a CPU.
    pub wait_ns: u64,
    /// How often it came to run.
    pub slices: u64,
    /// How often it left the CPU to wait for something.
    pub voluntary: u64,
    /// How often the CPU was taken from it.
    pub involuntary: u64,
    /// Pages that it waited for.
    pub major_faults: u64,
}

/// What a thread does after it has told: it writes its log, which can wait, and ends.
const SLICES_AFTER: u64 = 20;

impl Account {
    /// Reads the rest of a line that begins with `thread`.
    ///
    /// # Panics
    /// If it is not made of seven numbers.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().expect("a number of an account")).collect();
        let [tid, run_ns, wait_ns, slices, voluntary, involuntary, major_faults] = numbers[..] else {
            panic!("an account has seven numbers, not {line}");
        };
        Self { tid: tid as u32, run_ns, wait_ns, slices, voluntary, involuntary, major_faults }
    }

    /// Asserts that the recording, which the thread began and ended in, has a wait for a CPU for each time that it came to run,
    /// but for so many in a hundred.
    ///
    /// # Panics
    /// If it has another number of them.
    pub fn assert_counted(&self, recording: &Recording, missing_percent: u64) {
        let queue = self.queue(recording);
        let least = self.slices - self.slices * missing_percent / 100;
        let known = least.saturating_sub(2 + self.slices / 1_000)..=self.slices + SLICES_AFTER;
        assert!(known.contains(&queue.count), "waits for a CPU, of which there were {known:?}: {queue:?}");
        let left = self.voluntary + self.involuntary;
        assert!(left.abs_diff(self.slices) <= 2, "who comes to run leaves the CPU again: {self:?}");
    }

    /// The thread's waits for a CPU.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn queue<'a>(&self, recording: &'a Recording) -> &'a Queue {
        let queue = recording.report.run_queue.as_ref().expect("a run queue");
        queue.threads.iter().find(|thread| thread.id == self.tid).expect("the thread waited for a CPU")
    }
}
