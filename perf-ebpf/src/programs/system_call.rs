//! The system call that the running thread is in, as the registers tell with which it came into the kernel.

use aya_ebpf::Global;
#[cfg(not(bpf_target_arch = "x86_64"))]
use perf_ebpf::sched::NO_SYSTEM_CALL;

/// Where `task_struct` of the running kernel keeps the lowest address of the thread's kernel stack: from BTF; 0 if that is not
/// known.
#[unsafe(no_mangle)]
static TASK_STACK_OFFSET: Global<u32> = Global::new(0);

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64 {
    use aya_ebpf::{
        bindings::pt_regs,
        helpers::{bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, generated::bpf_task_pt_regs},
    };
    use core::ffi::c_void;
    use perf_ebpf::sched::{INTERRUPTED, NO_SYSTEM_CALL};

    /// Bytes of a kernel stack, at whose end the registers are.
    const KERNEL_STACK_BYTES: usize = 16 << 10;

    /// Its number, or what stands for none; for kernels without `bpf_task_pt_regs` (5.15).
    #[inline(always)]
    pub(in super::super) fn by_offset() -> u32 {
        let offset = super::TASK_STACK_OFFSET.load() as usize;
        if offset == 0 {
            return NO_SYSTEM_CALL;
        }
        // SAFETY: reads kernel memory through the helper, which fails rather than faults.
        unsafe {
            let task = bpf_get_current_task() as *const c_void;
            let Ok(stack) = bpf_probe_read_kernel(task.byte_add(offset).cast::<*const c_void>()) else {
                return NO_SYSTEM_CALL;
            };
            number(stack.byte_add(KERNEL_STACK_BYTES - size_of::<pt_regs>()).cast())
        }
    }

    /// Its number, or what stands for none.
    #[inline(always)]
    pub(in super::super) fn by_helper() -> u32 {
        // SAFETY: the task is the running one.
        unsafe { number(bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs) }
    }

    /// # Safety
    /// None: the helper fails rather than faults.
    #[inline(always)]
    unsafe fn number(registers: *const pt_regs) -> u32 {
        // SAFETY: as above. The instruction pointer and the code segment lie behind the number.
        match unsafe { bpf_probe_read_kernel((&raw const (*registers).orig_rax).cast::<[u64; 3]>()) } {
            // The kernel's own threads have not come from anywhere.
            Ok([_, _, code_segment]) if code_segment & 3 != 3 => NO_SYSTEM_CALL,
            // Of faults and interrupts it is -1.
            Ok([u64::MAX, ..]) => INTERRUPTED,
            Ok([number, ..]) if number < u64::from(NO_SYSTEM_CALL) => number as u32,
            _ => NO_SYSTEM_CALL,
        }
    }
}

#[cfg(bpf_target_arch = "x86_64")]
pub(super) use x86_64::{by_helper, by_offset};

/// What stands for none: where the registers are is not known of this architecture.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn by_offset() -> u32 {
    let _ = TASK_STACK_OFFSET.load();
    NO_SYSTEM_CALL
}
