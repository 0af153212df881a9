//! How the running thread came into the kernel, as its registers of then tell.

use aya_ebpf::Global;
use perf_ebpf::sched::NO_SYSTEM_CALL;

/// Where `task_struct` of the running kernel keeps the lowest address of the thread's kernel stack: from BTF; 0 if that is not
/// known.
#[unsafe(no_mangle)]
static TASK_STACK_OFFSET: Global<u32> = Global::new(0);

/// How a thread came into the kernel.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The system call's number, or what stands for none.
    pub(super) system_call: u32,
    /// A number made of the call, and of where its user code and its user stack were: calls by different ways have different
    /// ones, as far as they have stacks of different depth. 0 where that is not known.
    pub(super) place: u64,
}

impl Entry {
    /// Of which nothing is known.
    pub(super) const UNKNOWN: Self = Self { system_call: NO_SYSTEM_CALL, place: 0 };
}

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64 {
    use aya_ebpf::{
        bindings::pt_regs,
        helpers::{
            bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel,
            generated::{bpf_probe_read_kernel as bpf_probe_read_kernel_into, bpf_task_pt_regs},
        },
    };
    use core::ffi::c_void;
    use perf_ebpf::{
        sched::{INTERRUPTED, NO_SYSTEM_CALL},
        stack::mix,
    };

    use super::Entry;

    /// Bytes of a kernel stack, at whose end the registers are.
    const KERNEL_STACK_BYTES: usize = 16 << 10;

    /// Where a thread's registers are; `None` if that is not known.
    #[inline(always)]
    fn at_the_end_of_the_stack(task: *const c_void) -> Option<*const pt_regs> {
        let offset = super::TASK_STACK_OFFSET.load() as usize;
        if offset == 0 {
            return None;
        }
        // SAFETY: reads kernel memory through the helper, which fails rather than faults.
        unsafe {
            let stack = bpf_probe_read_kernel(task.byte_add(offset).cast::<*const c_void>()).ok()?;
            Some(stack.byte_add(KERNEL_STACK_BYTES - size_of::<pt_regs>()).cast())
        }
    }

    /// For kernels without `bpf_task_pt_regs` (5.15).
    #[inline(always)]
    pub(in super::super) fn by_offset() -> Entry {
        // SAFETY: takes no pointer.
        let task = unsafe { bpf_get_current_task() } as *const c_void;
        // SAFETY: the helper fails rather than faults.
        at_the_end_of_the_stack(task).map_or(Entry::UNKNOWN, |registers| unsafe { entry(registers) })
    }

    /// The frame pointer with which a thread's user code came into the kernel; `None` if it has none.
    #[inline(always)]
    pub(in super::super) fn frame_pointer_of(task: *const c_void) -> Option<u64> {
        let registers = at_the_end_of_the_stack(task)?;
        // SAFETY: as above.
        unsafe {
            let read = |at: *const u64| bpf_probe_read_kernel(at).ok();
            let of_user = read((&raw const (*registers).cs).cast())? & 3 == 3;
            let fp = read((&raw const (*registers).rbp).cast())?;
            of_user.then_some(fp)
        }
    }

    /// For kernels with it.
    #[inline(always)]
    pub(in super::super) fn by_helper() -> Entry {
        // SAFETY: the task is the running one.
        unsafe { entry(bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs) }
    }

    /// The first argument of the call that the running thread is in; 0 if it cannot be read.
    #[inline(always)]
    pub(in super::super) fn argument_by_offset() -> u64 {
        // SAFETY: takes no pointer.
        let task = unsafe { bpf_get_current_task() } as *const c_void;
        at_the_end_of_the_stack(task).map_or(0, first_argument)
    }

    /// The same, for kernels with `bpf_task_pt_regs`.
    #[inline(always)]
    pub(in super::super) fn argument_by_helper() -> u64 {
        // SAFETY: the task is the running one.
        first_argument(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs)
    }

    /// The second and the first argument of the call that the running thread is in, and its number; zeros if they cannot be read.
    #[inline(always)]
    pub(in super::super) fn arguments_by_offset() -> [u64; 3] {
        // SAFETY: takes no pointer.
        let task = unsafe { bpf_get_current_task() } as *const c_void;
        at_the_end_of_the_stack(task).map_or([0; 3], first_arguments)
    }

    /// The same, for kernels with `bpf_task_pt_regs`.
    #[inline(always)]
    pub(in super::super) fn arguments_by_helper() -> [u64; 3] {
        // SAFETY: the task is the running one.
        first_arguments(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs)
    }

    #[inline(always)]
    fn first_arguments(registers: *const pt_regs) -> [u64; 3] {
        // SAFETY: the helper fails rather than faults; they lie one behind another.
        unsafe { bpf_probe_read_kernel((&raw const (*registers).rsi).cast()) }.unwrap_or([0; 3])
    }

    #[inline(always)]
    fn first_argument(registers: *const pt_regs) -> u64 {
        // SAFETY: the helper fails rather than faults.
        unsafe { bpf_probe_read_kernel((&raw const (*registers).rdi).cast()) }.unwrap_or(0)
    }

    /// # Safety
    /// None: the helper fails rather than faults.
    #[inline(always)]
    unsafe fn entry(registers: *const pt_regs) -> Entry {
        // The instruction pointer, the code segment, the flags and the stack pointer lie behind the number.
        let mut words = [0_u64; 5];
        // SAFETY: as above. Not through what returns the words: there is no room for two of them.
        let failed = unsafe {
            let from = (&raw const (*registers).orig_rax).cast();
            bpf_probe_read_kernel_into((&raw mut words).cast(), size_of_val(&words) as u32, from)
        };
        let [number, ip, code_segment, _, sp] = words;
        // The kernel's own threads have not come from anywhere.
        if failed != 0 || code_segment & 3 != 3 {
            return Entry::UNKNOWN;
        }
        // Of faults and interrupts it is -1.
        let system_call = if number == u64::MAX { INTERRUPTED } else { number as u32 };
        if system_call != INTERRUPTED && number >= u64::from(NO_SYSTEM_CALL) {
            return Entry::UNKNOWN;
        }
        Entry { system_call, place: mix(mix(number, ip), sp) }
    }
}

#[cfg(bpf_target_arch = "x86_64")]
pub(super) use x86_64::{
    argument_by_helper, argument_by_offset, arguments_by_helper, arguments_by_offset, by_helper, by_offset,
    frame_pointer_of,
};

/// What stands for none: where the registers are is not known of this architecture.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn by_offset() -> Entry {
    let _ = TASK_STACK_OFFSET.load();
    Entry::UNKNOWN
}

/// As [`by_offset`].
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn frame_pointer_of(_task: *const core::ffi::c_void) -> Option<u64> {
    None
}

/// As [`by_offset`].
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn argument_by_offset() -> u64 {
    0
}

/// As [`by_offset`].
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn arguments_by_offset() -> [u64; 3] {
    [0; 3]
}
