//! Which counters add up.

use super::Counter;

/// What the counters say of one kind of events.
#[derive(Clone, Copy, Debug)]
pub struct Balance {
    /// What was taken.
    pub taken: Counter,
    /// Of that, what was lost, by cause.
    pub lost: &'static [Counter],
    /// Facts about quality.
    pub facts: &'static [Counter],
}

/// Of CPU samples.
pub const CPU: Balance = Balance {
    taken: Counter::Taken,
    lost: &[Counter::LostCountsFull, Counter::LostStacksFull, Counter::LostMapBusy],
    facts: &[
        Counter::Ticks,
        Counter::Idle,
        Counter::UserTruncated,
        Counter::KernelTruncated,
        Counter::UserStackFailed,
        Counter::ChildrenMissed,
        Counter::PythonTruncated,
    ],
};

/// Of time off the CPU, in nanoseconds.
pub const OFF_CPU: Balance = Balance {
    taken: Counter::OffTaken,
    lost: &[Counter::OffLostFull, Counter::OffLostBusy],
    facts: &[
        Counter::OffStackless,
        Counter::ThreadsMissed,
        Counter::OffSkipped,
        Counter::WakersMissed,
        Counter::OffLeftOut,
    ],
};

/// Facts about what threads did, which has no losses of its own.
pub const SCHED_FACTS: &[Counter] = &[Counter::QueuesMissed, Counter::TakersMissed, Counter::SwitchesUnseen];

/// Facts about locks, whose time is of that off the CPU.
pub const LOCK_FACTS: &[Counter] = &[Counter::LocksMissed];

/// Of system calls.
pub const CALLS: Balance = Balance {
    taken: Counter::CallsTaken,
    lost: &[
        Counter::CallsLostFull,
        Counter::CallsLostBusy,
        Counter::CallsLostThreads,
        Counter::CallsLostReturn,
        Counter::CallsLostEntry,
    ],
    facts: &[Counter::CallsBegunBefore, Counter::CallsOtherAbi, Counter::CallErrorsMissed],
};

/// Of the time in system calls, in nanoseconds, by stack.
pub const CALL_TIME: Balance = Balance {
    taken: Counter::CallTime,
    lost: &[Counter::CallTimeLostFull, Counter::CallTimeLostBusy],
    facts: &[Counter::CallsSampled, Counter::CallStackless],
};

/// Of the timeline: samples, and waits. The sampler's interrupt counts in slots of its own.
pub const TIMELINE: [Balance; 2] = [
    Balance { taken: Counter::TimelineSamples, lost: &[Counter::TimelineSamplesLost], facts: &[] },
    Balance { taken: Counter::TimelineWaits, lost: &[Counter::TimelineWaitsLost], facts: &[] },
];

/// Of requests to devices.
pub const IO: Balance = Balance {
    taken: Counter::IoDone,
    lost: &[Counter::IoLostSumsFull, Counter::IoLostSumsBusy],
    facts: &[Counter::IoStarted, Counter::IoMerged, Counter::IoFilesMissed, Counter::NamesMissed],
};

/// Of requests to devices that never came to be counted as completed.
pub const IO_LOST: [Counter; 3] = [Counter::IoLostFull, Counter::IoLostBusy, Counter::IoLostEnd];

/// Of their time, in nanoseconds, by stack.
pub const IO_TIME: Balance = Balance {
    taken: Counter::IoTime,
    lost: &[Counter::IoTimeLostFull, Counter::IoTimeLostBusy],
    facts: &[Counter::IoStackless],
};

/// Of their bytes, by stack.
pub const IO_BYTES: Balance =
    Balance { taken: Counter::IoBytes, lost: &[Counter::IoBytesLostFull, Counter::IoBytesLostBusy], facts: &[] };

/// Of system calls on files and sockets.
pub const FILE_CALLS: Balance = Balance {
    taken: Counter::FileCallsTaken,
    lost: &[
        Counter::FileCallsLostFull,
        Counter::FileCallsLostBusy,
        Counter::FileCallsLostOpen,
        Counter::FileCallsLostEnd,
        Counter::FileCallsLostReturn,
        Counter::FileCallsLostEntry,
    ],
    facts: &[Counter::PeersMissed],
};

/// Of the time in them, in nanoseconds, by stack.
pub const FILE_TIME: Balance =
    Balance { taken: Counter::FileTime, lost: &[Counter::FileTimeLostFull, Counter::FileTimeLostBusy], facts: &[] };

/// Of page faults.
pub const FAULTS: Balance = Balance {
    taken: Counter::FaultsTaken,
    lost: &[Counter::FaultsLostFull, Counter::FaultsLostBusy, Counter::FaultsLostStart],
    facts: &[],
};

/// Of the time in page faults, in nanoseconds, by stack.
pub const FAULT_TIME: Balance = Balance {
    taken: Counter::FaultTime,
    lost: &[Counter::FaultTimeLostFull, Counter::FaultTimeLostBusy],
    facts: &[Counter::FaultStackless],
};

/// Of waits for locks of the kernel.
pub const KERNEL_LOCKS: Balance = Balance {
    taken: Counter::KernelLocksTaken,
    lost: &[Counter::KernelLocksLostFull, Counter::KernelLocksLostBusy],
    facts: &[],
};

/// Of waits for locks of the kernel that are not counted as taken: they are told by the program that sees beginnings.
pub const KERNEL_LOCKS_LOST: [Counter; 1] = [Counter::KernelLocksLostNested];

/// Of the time in them, in nanoseconds, by stack.
pub const KERNEL_LOCK_TIME: Balance = Balance {
    taken: Counter::KernelLockTime,
    lost: &[Counter::KernelLockTimeLostFull, Counter::KernelLockTimeLostBusy],
    facts: &[Counter::KernelLockStackless],
};

/// Of memory that was touched for the first time, in bytes.
pub const MEMORY: Balance = Balance {
    taken: Counter::MemoryTaken,
    lost: &[Counter::MemoryLostFull, Counter::MemoryLostBusy],
    facts: &[
        Counter::MemoryFaults,
        Counter::MemorySamples,
        Counter::MemorySquares,
        Counter::MemoryHugeSquares,
        Counter::MemoryStackless,
    ],
};
