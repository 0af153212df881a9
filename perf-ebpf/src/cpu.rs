//! The records of CPU sampling: who ran where, and how often within a window.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::comm::Comm;

/// Who was running and where: the key under which samples of one window are counted.
///
/// The name and the count of execs are part of the key, so that samples taken before and after a rename or an exec stay
/// apart: the same addresses mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuKey {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: Comm,
    /// How many programs the thread and its ancestors have executed (`task_struct.self_exec_id`), modulo 2^32; 0 when the
    /// kernel does not say where it keeps that.
    pub exec_count: u32,
    /// Zero.
    pub reserved: u32,
    /// The user stack's id; 0 when there is none.
    pub user_stack: u64,
    /// The kernel stack's id; 0 when the thread ran in user mode.
    pub kernel_stack: u64,
    /// The id of the Python frames of the user stack; 0 when there are none.
    pub python_stack: u64,
}

/// How often, and when first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuValue {
    /// Samples.
    pub count: u64,
    /// `CLOCK_MONOTONIC` time of the first of them: the mappings of that moment give its addresses their meaning.
    pub first_ns: u64,
}
