//! What the kernel half counts beside the samples: one array of these for each CPU and generation of maps.
//!
//! A sample counts in the generation it is stored in, so the balance `taken = reported + lost` holds in every window.

mod balances;
mod names;
#[cfg(test)]
mod tests;

pub use balances::*;

/// What a slot of [`Counters`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Sampling interrupts on this CPU, whatever it ran.
    Ticks,
    /// Of those, the ones that found the CPU idle.
    Idle,
    /// Of those, the ones that hit the target.
    Taken,
    /// Taken, but the map of counts was full.
    LostCountsFull,
    /// Taken, but the map of stacks was full.
    LostStacksFull,
    /// Taken, but a map refused the update because it was in use on this CPU.
    LostMapBusy,
    /// User stacks cut off at the deepest frame that is kept.
    UserTruncated,
    /// Kernel stacks cut off at the deepest frame that is kept.
    KernelTruncated,
    /// Samples of a user process whose user stack could not be read.
    UserStackFailed,
    /// Child processes that were not followed because the map of processes was full.
    ChildrenMissed,
    /// Stacks of Python frames cut off at the deepest frame that is kept.
    PythonTruncated,
    /// Nanoseconds off the CPU, of intervals that ended.
    OffTaken,
    /// Of those, the ones for which the map of waits was full.
    OffLostFull,
    /// Of those, the ones for which it was in use on this CPU.
    OffLostBusy,
    /// Times that a thread left the CPU and its stack found no place.
    OffStackless,
    /// Threads of the target whose time was not kept because the map of threads was full.
    ThreadsMissed,
    /// Times that a thread left the CPU in a storm, and no stack was taken.
    OffSkipped,
    /// Wakers that found no place in their map.
    WakersMissed,
    /// Times that a thread came to run, or left the CPU, and no program was run: the kernel's account of its time tells of it.
    SwitchesUnseen,
    /// Nanoseconds off the CPU, of intervals that ended and that a filter leaves out.
    OffLeftOut,
    /// Times that a thread waited for a CPU whose length found no place in its map.
    QueuesMissed,
    /// Times that who ran meanwhile did not.
    TakersMissed,
    /// Times that something happened at a lock that found no place in its map.
    LocksMissed,
    /// System calls that returned.
    CallsTaken,
    /// Of those, the ones for which the map of calls was full.
    CallsLostFull,
    /// Of those, the ones for which it was in use on this CPU.
    CallsLostBusy,
    /// Of those, the ones whose beginning was not kept because the map of threads was full.
    CallsLostThreads,
    /// Of those, the ones of which the kernel did not tell that they returned.
    CallsLostReturn,
    /// Of those, the ones of which it did not tell that they began.
    CallsLostEntry,
    /// Calls that returned and whose beginning nobody had listened to.
    CallsBegunBefore,
    /// Calls of 32-bit programs, whose numbers are those of another table.
    CallsOtherAbi,
    /// Errors that were not told apart because the map of errors was full.
    CallErrorsMissed,
    /// Nanoseconds in calls, as those stand for it that were taken with their stack.
    CallTime,
    /// Of those, the ones for which the map of calls with stacks was full.
    CallTimeLostFull,
    /// Of those, the ones for which it was in use on this CPU.
    CallTimeLostBusy,
    /// Calls that were taken with their stack.
    CallsSampled,
    /// Of those, the ones whose stack found no place.
    CallStackless,
    /// Samples that the timeline was to have.
    TimelineSamples,
    /// Of those, the ones for which its ring had no room.
    TimelineSamplesLost,
    /// Waits that the timeline was to have.
    TimelineWaits,
    /// Of those, the ones for which its ring had no room.
    TimelineWaitsLost,
    /// Requests to devices that the target asked for.
    IoStarted,
    /// Requests that were completed.
    IoDone,
    /// Of those, the ones for which the map of sums was full.
    IoLostSumsFull,
    /// Of those, the ones for which it was in use on this CPU.
    IoLostSumsBusy,
    /// Requests that were not kept because the map of requests was full.
    IoLostFull,
    /// Requests that were not kept because their CPU was busy with another.
    IoLostBusy,
    /// Requests whose completion was not seen.
    IoLostEnd,
    /// Requests that were made part of others before they were issued.
    IoMerged,
    /// Nanoseconds of requests that were completed.
    IoTime,
    /// Of those, the ones for which the map of requests with stacks was full.
    IoTimeLostFull,
    /// Of those, the ones for which it was in use on this CPU.
    IoTimeLostBusy,
    /// Bytes of requests that were completed.
    IoBytes,
    /// Of those, the ones for which the map of requests with stacks was full.
    IoBytesLostFull,
    /// Of those, the ones for which it was in use on this CPU.
    IoBytesLostBusy,
    /// Requests whose stack found no place.
    IoStackless,
    /// Requests whose file found no place.
    IoFilesMissed,
    /// System calls on files and sockets that returned.
    FileCallsTaken,
    /// Of those, the ones for which the map of calls by file was full.
    FileCallsLostFull,
    /// Of those, the ones for which it, or their CPU, was in use.
    FileCallsLostBusy,
    /// Of those, operations of io_uring that were not kept because the map of operations was full.
    FileCallsLostOpen,
    /// Of those, the ones whose completion was not seen.
    FileCallsLostEnd,
    /// As [`Self::CallsLostReturn`].
    FileCallsLostReturn,
    /// As [`Self::CallsLostEntry`].
    FileCallsLostEntry,
    /// Nanoseconds in them, as those stand for it that were taken with their stack.
    FileTime,
    /// Of those, the ones for which the map of calls with stacks and files was full.
    FileTimeLostFull,
    /// Of those, the ones for which it was in use on this CPU.
    FileTimeLostBusy,
    /// Page faults that ended.
    FaultsTaken,
    /// Of those, the ones for which the map of calls by file was full.
    FaultsLostFull,
    /// Of those, the ones for which it, or their CPU, was in use.
    FaultsLostBusy,
    /// Of those, the ones whose beginning was not seen, or not kept.
    FaultsLostStart,
    /// Nanoseconds in page faults that ended.
    FaultTime,
    /// Of those, the ones for which the map of calls with stacks and files was full.
    FaultTimeLostFull,
    /// Of those, the ones for which it was in use on this CPU.
    FaultTimeLostBusy,
    /// Page faults whose stack found no place.
    FaultStackless,
    /// Waits for locks of the kernel that ended.
    KernelLocksTaken,
    /// Of those, the ones for which the map of them was full.
    KernelLocksLostFull,
    /// Of those, the ones for which the CPU was busy with another program.
    KernelLocksLostBusy,
    /// And others, within which an interrupt waited.
    KernelLocksLostNested,
    /// Nanoseconds in waits for locks of the kernel, of those that were taken with their stacks: what they stand for.
    KernelLockTime,
    /// Of those, the ones for which the map of stacks was full.
    KernelLockTimeLostFull,
    /// Of those, the ones for which the CPU, or the map, was busy.
    KernelLockTimeLostBusy,
    /// Waits for locks of the kernel whose stack found no place.
    KernelLockStackless,
    /// Bytes of memory that was touched for the first time, as samples stand for it.
    MemoryTaken,
    /// Of those, the ones for which the map of them was full.
    MemoryLostFull,
    /// Of those, the ones for which the CPU, or the map, was busy.
    MemoryLostBusy,
    /// The page faults that this was.
    MemoryFaults,
    /// Of those, the ones that were looked at.
    MemorySamples,
    /// The sum of the squares of how many faults each of these stands for, of smallest pages: how exact the bytes are.
    MemorySquares,
    /// The same of huge pages.
    MemoryHugeSquares,
    /// Of those, the ones whose stack found no place.
    MemoryStackless,
    /// Answers of peers that found no place in their map.
    PeersMissed,
    /// Names of files that found no place in their map.
    NamesMissed,
}

/// Slots in [`Counters`].
pub const COUNTER_SLOTS: usize = Counter::NamesMissed as usize + 1;

/// The counters of one CPU, indexed by [`Counter`].
pub type Counters = [u64; COUNTER_SLOTS];

impl Counter {
    /// All of them, in the order of their slots.
    pub const ALL: [Self; COUNTER_SLOTS] = [
        Self::Ticks,
        Self::Idle,
        Self::Taken,
        Self::LostCountsFull,
        Self::LostStacksFull,
        Self::LostMapBusy,
        Self::UserTruncated,
        Self::KernelTruncated,
        Self::UserStackFailed,
        Self::ChildrenMissed,
        Self::PythonTruncated,
        Self::OffTaken,
        Self::OffLostFull,
        Self::OffLostBusy,
        Self::OffStackless,
        Self::ThreadsMissed,
        Self::OffSkipped,
        Self::WakersMissed,
        Self::SwitchesUnseen,
        Self::OffLeftOut,
        Self::QueuesMissed,
        Self::TakersMissed,
        Self::LocksMissed,
        Self::CallsTaken,
        Self::CallsLostFull,
        Self::CallsLostBusy,
        Self::CallsLostThreads,
        Self::CallsLostReturn,
        Self::CallsLostEntry,
        Self::CallsBegunBefore,
        Self::CallsOtherAbi,
        Self::CallErrorsMissed,
        Self::CallTime,
        Self::CallTimeLostFull,
        Self::CallTimeLostBusy,
        Self::CallsSampled,
        Self::CallStackless,
        Self::TimelineSamples,
        Self::TimelineSamplesLost,
        Self::TimelineWaits,
        Self::TimelineWaitsLost,
        Self::IoStarted,
        Self::IoDone,
        Self::IoLostSumsFull,
        Self::IoLostSumsBusy,
        Self::IoLostFull,
        Self::IoLostBusy,
        Self::IoLostEnd,
        Self::IoMerged,
        Self::IoTime,
        Self::IoTimeLostFull,
        Self::IoTimeLostBusy,
        Self::IoBytes,
        Self::IoBytesLostFull,
        Self::IoBytesLostBusy,
        Self::IoStackless,
        Self::IoFilesMissed,
        Self::FileCallsTaken,
        Self::FileCallsLostFull,
        Self::FileCallsLostBusy,
        Self::FileCallsLostOpen,
        Self::FileCallsLostEnd,
        Self::FileCallsLostReturn,
        Self::FileCallsLostEntry,
        Self::FileTime,
        Self::FileTimeLostFull,
        Self::FileTimeLostBusy,
        Self::FaultsTaken,
        Self::FaultsLostFull,
        Self::FaultsLostBusy,
        Self::FaultsLostStart,
        Self::FaultTime,
        Self::FaultTimeLostFull,
        Self::FaultTimeLostBusy,
        Self::FaultStackless,
        Self::KernelLocksTaken,
        Self::KernelLocksLostFull,
        Self::KernelLocksLostBusy,
        Self::KernelLocksLostNested,
        Self::KernelLockTime,
        Self::KernelLockTimeLostFull,
        Self::KernelLockTimeLostBusy,
        Self::KernelLockStackless,
        Self::MemoryTaken,
        Self::MemoryLostFull,
        Self::MemoryLostBusy,
        Self::MemoryFaults,
        Self::MemorySamples,
        Self::MemorySquares,
        Self::MemoryHugeSquares,
        Self::MemoryStackless,
        Self::PeersMissed,
        Self::NamesMissed,
    ];
}
