//! What the kernel half counts beside the samples: one array of these for each CPU, never reset during a recording.

/// What a slot of [`Counters`] counts. `taken = reported + the lost ones` is checked in every recording.
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
}

/// Slots in [`Counters`].
pub const COUNTER_SLOTS: usize = Counter::ChildrenMissed as usize + 1;

/// The counters of one CPU, indexed by [`Counter`].
pub type Counters = [u64; COUNTER_SLOTS];
