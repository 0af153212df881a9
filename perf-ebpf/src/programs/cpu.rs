//! The CPU sampler: counts who runs where, on every CPU, at the sampling frequency.

use aya_ebpf::{
    EbpfContext, Global,
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel,
    },
    macros::{map, perf_event},
    maps::{CgroupArray, HashMap},
    programs::PerfEventContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    counters::Counter,
    cpu::{CpuKey, CpuValue},
    target::TargetKind,
};

use super::{
    counters::{count, counters, generation},
    follow::is_followed,
    stacks::{Walked, insert_failure, take},
};

#[unsafe(no_mangle)]
static TARGET_KIND: Global<u32> = Global::new(TargetKind::All as u32);

/// The cgroup whose subtree is the target, at index 0. Asking for the task's ancestor instead, by
/// `bpf_get_current_ancestor_cgroup_id`, is not allowed in 5.10.
#[map]
static CGROUPS: CgroupArray = CgroupArray::with_max_entries(1, 0);

/// Where `task_struct` of the running kernel counts execs: from BTF; 0 if that is not known.
#[unsafe(no_mangle)]
static EXEC_COUNT_OFFSET: Global<u32> = Global::new(0);

#[map]
static CPU_COUNTS_0: HashMap<CpuKey, CpuValue> = HashMap::with_max_entries(1, 0);

#[map]
static CPU_COUNTS_1: HashMap<CpuKey, CpuValue> = HashMap::with_max_entries(1, 0);

/// Runs at each sampling interrupt of each CPU.
#[perf_event]
pub(super) fn cpu_sample(ctx: PerfEventContext) -> u32 {
    sample(&ctx, |_| None, |_| None)
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[perf_event]
pub(super) fn cpu_sample_walk(ctx: PerfEventContext) -> u32 {
    // SAFETY: the context of a perf_event program begins with the registers of what was interrupted.
    let registers = unsafe { &(*ctx.ctx).regs };
    sample(&ctx, |tgid| super::unwind::walk(tgid, (!in_kernel(&ctx)).then_some(registers)), super::python::read)
}

#[inline(always)]
fn sample(
    ctx: &PerfEventContext,
    walk: impl FnOnce(u32) -> Option<Walked<'static>>,
    read_python: impl FnOnce(u32) -> Option<Walked<'static>>,
) -> u32 {
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    count(counters, Counter::Ticks);
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if tid == 0 {
        count(counters, Counter::Idle);
        return 0;
    }
    if !is_target(tgid) {
        return 0;
    }
    count(counters, Counter::Taken);
    let stacks = take(ctx.as_ptr(), in_kernel(ctx), || walk(tgid), || read_python(tgid), generation, counters);
    let lost = stacks.and_then(|stacks| {
        let key = CpuKey {
            tgid,
            tid,
            comm: bpf_get_current_comm().unwrap_or_default(),
            exec_count: exec_count(),
            reserved: 0,
            user_stack: stacks.user,
            kernel_stack: stacks.kernel,
            python_stack: stacks.python,
        };
        add(&key, generation)
    });
    if let Err(cause) = lost {
        count(counters, cause);
    }
    0
}

/// Whether the kernel itself was interrupted: the privilege level in the low two bits of the code segment is 0.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn in_kernel(ctx: &PerfEventContext) -> bool {
    // SAFETY: the context of a perf_event program begins with the registers of what was interrupted.
    let code_segment = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).regs.cs) };
    code_segment & 3 == 0
}

/// Whether the kernel itself was interrupted: the exception level in the low four bits of the state is not 0.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn in_kernel(ctx: &PerfEventContext) -> bool {
    // SAFETY: the context of a perf_event program begins with the registers of what was interrupted.
    let state = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).regs.pstate) };
    state & 0xf != 0
}

#[inline(always)]
fn exec_count() -> u32 {
    let offset = EXEC_COUNT_OFFSET.load();
    if offset == 0 {
        return 0;
    }
    // SAFETY: takes no pointer; then reads kernel memory through the helper, which fails rather than faults.
    unsafe {
        let task = bpf_get_current_task() as *const c_void;
        bpf_probe_read_kernel(task.byte_add(offset as usize).cast::<u32>()).unwrap_or(0)
    }
}

#[inline(always)]
fn is_target(tgid: u32) -> bool {
    let kind = TARGET_KIND.load();
    if kind == TargetKind::Processes as u32 {
        return is_followed(tgid);
    }
    if kind == TargetKind::Cgroup as u32 {
        return CGROUPS.current_task_under_cgroup(0).unwrap_or(false);
    }
    true
}

#[inline(always)]
fn add(key: &CpuKey, generation: u32) -> Result<(), Counter> {
    let counts = if generation == 0 { &CPU_COUNTS_0 } else { &CPU_COUNTS_1 };
    if let Some(value) = counts.get_ptr_mut(key) {
        // SAFETY: the key names one thread, which runs on this CPU only, with interrupts off; and user space touches a
        // generation only when no program writes to it any more.
        unsafe { (*value).count += 1 };
        return Ok(());
    }
    // SAFETY: takes no pointer.
    let first_ns = unsafe { bpf_ktime_get_ns() };
    counts
        .insert(key, &CpuValue { count: 1, first_ns }, u64::from(BPF_NOEXIST))
        .map_err(|error| insert_failure(error, Counter::LostCountsFull))
}
