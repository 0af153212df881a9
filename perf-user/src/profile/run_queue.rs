//! Waiting for a CPU as a recording has it.

use std::collections::BTreeMap;

use super::Lengths;

/// Waiting for a CPU, over the windows of the profile.
#[derive(Clone, Debug, Default)]
pub struct RunQueues {
    /// By process, thread and CPU.
    pub waits: BTreeMap<(u32, u32, u32), Lengths>,
    /// By process and thread: who ran meanwhile.
    pub takers: BTreeMap<(u32, u32), Takers>,
}

/// For how long threads ran (process, thread, name), in nanoseconds.
pub type Takers = BTreeMap<(u32, u32, String), u64>;
