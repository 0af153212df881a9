//! The CPU sampler: counts who runs where, on every CPU, at the sampling frequency.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_NOEXIST,
    helpers::bpf_get_current_pid_tgid,
    macros::{map, perf_event},
    maps::HashMap,
    programs::PerfEventContext,
};
use perf_ebpf::{counters::Counter, cpu::CpuValue, sample::Key, target::BOTH_SIDES};

use super::{
    counters::{count, counters, generation},
    stacks::{SAMPLER, StackIds, Walked, insert_failure, take},
    target::{exec_count, is_target, now, read_comm},
    timeline,
};

#[map]
static CPU_COUNTS_0: HashMap<Key, CpuValue> = HashMap::with_max_entries(1, 0);

#[map]
static CPU_COUNTS_1: HashMap<Key, CpuValue> = HashMap::with_max_entries(1, 0);

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
    sample(
        &ctx,
        |tgid| super::unwind::walk(SAMPLER, tgid, (!in_kernel(&ctx)).then_some(registers)),
        |tgid| super::python::read(SAMPLER, tgid),
    )
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
    let stacks = take(
        SAMPLER,
        BOTH_SIDES,
        ctx.as_ptr(),
        in_kernel(ctx),
        || walk(tgid),
        || read_python(tgid),
        generation,
        counters,
    );
    let lost = stacks.and_then(|stacks| {
        let StackIds { user: user_stack, kernel: kernel_stack, python: python_stack } = stacks;
        let exec_count = exec_count();
        let mut key = Key { tgid, tid, exec_count, user_stack, kernel_stack, python_stack, ..Key::default() };
        read_comm(&mut key.comm);
        add(&key, generation).map(|()| timeline::sampled(&key, generation, counters))
    });
    if let Err(cause) = lost {
        count(counters, cause);
    }
    0
}

/// Whether the kernel itself was interrupted: the privilege level in the low two bits of the code segment is 0.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(super) fn in_kernel(ctx: &PerfEventContext) -> bool {
    // SAFETY: the context of a perf_event program begins with the registers of what was interrupted.
    let code_segment = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).regs.cs) };
    code_segment & 3 == 0
}

/// Whether the kernel itself was interrupted: the exception level in the low four bits of the state is not 0.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(super) fn in_kernel(ctx: &PerfEventContext) -> bool {
    // SAFETY: the context of a perf_event program begins with the registers of what was interrupted.
    let state = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).regs.pstate) };
    state & 0xf != 0
}

#[inline(always)]
fn add(key: &Key, generation: u32) -> Result<(), Counter> {
    let counts = if generation == 0 { &CPU_COUNTS_0 } else { &CPU_COUNTS_1 };
    if let Some(value) = counts.get_ptr_mut(key) {
        // SAFETY: the key names one thread, which runs on this CPU only, with interrupts off; and user space touches a
        // generation only when no program writes to it any more.
        unsafe { (*value).count += 1 };
        return Ok(());
    }
    let first_ns = now();
    counts
        .insert(key, &CpuValue { count: 1, first_ns }, u64::from(BPF_NOEXIST))
        .map_err(|error| insert_failure(error, Counter::LostCountsFull, Counter::LostMapBusy))
}
