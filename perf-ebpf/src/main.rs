//! The BPF object: one module a kind of event. For the host there is nothing to run.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod programs;

/// The object is for the kernel; on the host this target only has to build.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
