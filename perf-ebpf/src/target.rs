//! What the kernel half is told of the target, as read-only globals set before loading.

/// How the kernel half decides whether the running thread belongs to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TargetKind {
    /// Every thread does.
    All,
    /// Its process is in the map `PROCESSES`.
    Processes,
    /// Its cgroup lies in the subtree of the one in the map `CGROUPS`.
    Cgroup,
}

/// Bit of the global `STACK_SIDES`: keep user frames.
pub const SIDE_USER: u32 = 1;

/// Bit of the global `STACK_SIDES`: keep kernel frames.
pub const SIDE_KERNEL: u32 = 2;

/// Both.
pub const BOTH_SIDES: u32 = SIDE_USER | SIDE_KERNEL;

/// Entries of the map `MARKS`: an id is marked at the place of its low bits. A power of two.
pub const MARK_SLOTS: u32 = 16_384;
