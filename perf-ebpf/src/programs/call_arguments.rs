//! The number and the arguments of a system call, in the registers with which the thread came into the kernel.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use core::ffi::c_void;
use perf_ebpf::calls::ARGUMENTS;

#[cfg(bpf_target_arch = "x86_64")]
mod registers {
    /// Where `pt_regs` has `r10`, and behind it `r9`, `r8`, `rax`, `rcx`, `rdx`, `rsi`, `rdi` and the number.
    pub(super) const FIRST: usize = 56;
    pub(super) const WORDS: usize = 9;
    /// Which of these words are the arguments, in their order.
    pub(super) const ARGUMENTS: [usize; super::ARGUMENTS] = [7, 6, 5, 0, 2, 1];
    /// Where `pt_regs` has the number.
    pub(super) const NUMBER: usize = 120;
}

#[cfg(bpf_target_arch = "aarch64")]
mod registers {
    /// Where `pt_regs` has `x1`, and behind it the others; the result is in the place of the first argument.
    pub(super) const FIRST: usize = 8;
    pub(super) const WORDS: usize = 5;
    /// Where `pt_regs` has the number, behind the first argument.
    pub(super) const NUMBER: usize = 280;
    /// And the first argument.
    pub(super) const ARGUMENT: usize = 272;
}

/// The calls that return twice: `clone`, `fork`, `vfork`, `clone3`.
#[cfg(bpf_target_arch = "x86_64")]
pub(super) const CLONES: [u32; 4] = [56, 57, 58, 435];
/// The calls that return twice: `clone`, `clone3`.
#[cfg(bpf_target_arch = "aarch64")]
pub(super) const CLONES: [u32; 2] = [220, 435];

/// The number of the call; that of none if it cannot be read.
#[inline(always)]
pub(super) fn number(at: *const c_void) -> u32 {
    // SAFETY: reads kernel memory through the helper, which fails rather than faults.
    unsafe { bpf_probe_read_kernel(at.byte_add(registers::NUMBER).cast::<u32>()) }.unwrap_or(u32::MAX)
}

/// The arguments of a call that returns.
#[inline(always)]
pub(super) fn arguments(at: *const c_void) -> Option<[u64; ARGUMENTS]> {
    // SAFETY: as above.
    let words: [u64; registers::WORDS] = unsafe { bpf_probe_read_kernel(at.byte_add(registers::FIRST).cast()) }.ok()?;
    #[cfg(bpf_target_arch = "x86_64")]
    return Some(registers::ARGUMENTS.map(|word| words[word]));
    #[cfg(bpf_target_arch = "aarch64")]
    {
        // SAFETY: as above.
        let first = unsafe { bpf_probe_read_kernel(at.byte_add(registers::ARGUMENT).cast::<u64>()) }.ok()?;
        let [second, third, fourth, fifth, sixth] = words;
        Some([first, second, third, fourth, fifth, sixth])
    }
}
