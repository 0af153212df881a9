//! Who did something and where: what all kinds of events are counted under.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::comm::Comm;

/// Who, and where: the key under which events of one window are counted.
///
/// The name and the count of execs are part of the key, so that what happened before and after a rename or an exec stays
/// apart: the same addresses mean something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Key {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: Comm,
    /// How many programs the thread and its ancestors have executed (`task_struct.self_exec_id`), modulo 2^32; 0 when the
    /// kernel does not say where it keeps that.
    pub exec_count: u32,
    /// What kinds tell apart beside: why a thread waits ([`crate::sched::why`]); else 0.
    pub why: u32,
    /// The user stack's id; 0 when there is none.
    pub user_stack: u64,
    /// The kernel stack's id; 0 when the thread ran in user mode.
    pub kernel_stack: u64,
    /// The id of the Python frames of the user stack; 0 when there are none.
    pub python_stack: u64,
}
