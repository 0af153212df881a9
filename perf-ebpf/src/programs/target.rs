//! Who belongs to the target, who is who, and what time it is.

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_task, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_kernel, generated},
    macros::map,
    maps::CgroupArray,
};
use core::ffi::c_void;
use perf_ebpf::{
    comm::{COMM_BYTES, Comm},
    sample::Key,
    target::TargetKind,
};

use super::follow::is_followed;

#[unsafe(no_mangle)]
static TARGET_KIND: Global<u32> = Global::new(TargetKind::All as u32);

/// The cgroup whose subtree is the target, at index 0. Asking for the task's ancestor instead, by
/// `bpf_get_current_ancestor_cgroup_id`, is not allowed in 5.10.
#[map]
static CGROUPS: CgroupArray = CgroupArray::with_max_entries(1, 0);

/// Where `task_struct` of the running kernel counts execs: from BTF; 0 if that is not known.
#[unsafe(no_mangle)]
static EXEC_COUNT_OFFSET: Global<u32> = Global::new(0);

/// The CPU that this runs on.
#[inline(always)]
pub(super) fn cpu() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { bpf_get_smp_processor_id() }
}

/// How many programs the running thread and its ancestors have executed.
#[inline(always)]
pub(super) fn exec_count() -> u32 {
    let offset = EXEC_COUNT_OFFSET.load();
    if offset == 0 {
        return 0;
    }
    // SAFETY: takes no pointer.
    read_u32(unsafe { bpf_get_current_task() } as *const c_void, offset)
}

/// The time, as `CLOCK_MONOTONIC` tells it, in nanoseconds.
#[inline(always)]
pub(super) fn now() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { bpf_ktime_get_ns() }
}

/// Writes the running thread's name, in place: copies of it would be made a byte at a time.
#[inline(always)]
pub(super) fn read_comm(comm: &mut Comm) {
    // SAFETY: it is as long as the helper is told; the helper fills all of it, with zeros if it fails.
    unsafe { generated::bpf_get_current_comm(core::ptr::from_mut(comm).cast(), COMM_BYTES as u32) };
}

/// Writes who runs, and why that is told, into what it is counted under, in place.
#[inline(always)]
pub(super) fn put_runner(key: &mut Key, pid_tgid: u64, why: u32) {
    (key.tgid, key.tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    (key.exec_count, key.why) = (exec_count(), why);
    read_comm(&mut key.comm);
}

/// A number in a structure of the kernel; 0 if it cannot be read.
#[inline(always)]
pub(super) fn read_u32(structure: *const c_void, offset: u32) -> u32 {
    // SAFETY: reads kernel memory through the helper, which fails rather than faults.
    unsafe { bpf_probe_read_kernel(structure.byte_add(offset as usize).cast::<u32>()) }.unwrap_or(0)
}

/// The same of a shorter one.
#[inline(always)]
pub(super) fn read_u16(structure: *const c_void, offset: u32) -> u16 {
    // SAFETY: as above.
    unsafe { bpf_probe_read_kernel(structure.byte_add(offset as usize).cast::<u16>()) }.unwrap_or(0)
}

/// The same of a longer one.
#[inline(always)]
pub(super) fn read_u64(structure: *const c_void, offset: u32) -> u64 {
    // SAFETY: as above.
    unsafe { bpf_probe_read_kernel(structure.byte_add(offset as usize).cast::<u64>()) }.unwrap_or(0)
}

/// Whether a process is part of the target: the running thread's, or a child of it.
#[inline(always)]
pub(super) fn is_target(tgid: u32) -> bool {
    let kind = TARGET_KIND.load();
    if kind == TargetKind::Processes as u32 {
        return is_followed(tgid);
    }
    if kind == TargetKind::Cgroup as u32 {
        return CGROUPS.current_task_under_cgroup(0).unwrap_or(false);
    }
    true
}
