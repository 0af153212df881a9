//! What the kernel half counts beside the samples: one array of these for each CPU and generation of maps.
//!
//! A sample counts in the generation it is stored in, so the balance `taken = reported + lost` holds in every window.

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
}

/// Slots in [`Counters`].
pub const COUNTER_SLOTS: usize = Counter::PythonTruncated as usize + 1;

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
    ];

    /// Its name in recordings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ticks => "timer_ticks",
            Self::Idle => "timer_ticks_idle",
            Self::Taken => "taken",
            Self::LostCountsFull => "counts_full",
            Self::LostStacksFull => "stacks_full",
            Self::LostMapBusy => "map_busy",
            Self::UserTruncated => "user_stack_truncated",
            Self::KernelTruncated => "kernel_stack_truncated",
            Self::UserStackFailed => "user_stack_unreadable",
            Self::ChildrenMissed => "children_not_followed",
            Self::PythonTruncated => "python_stack_truncated",
        }
    }

    /// Whether it is a cause for which a taken sample is lost.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::LostCountsFull | Self::LostStacksFull | Self::LostMapBusy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_in_order() {
        for (slot, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, slot);
        }
    }
}
