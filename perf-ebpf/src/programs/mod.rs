//! The programs, their maps and globals.

mod before;
mod block;
mod call_arguments;
mod calls;
mod completed;
mod connections;
mod counters;
mod cpu;
#[cfg(bpf_target_arch = "x86_64")]
mod faults;
mod file_calls;
mod files;
mod follow;
mod kernel_locks;
mod locks;
mod marks;
mod memory;
mod place;
#[cfg(bpf_target_arch = "x86_64")]
mod python;
mod run_queue;
mod sched;
mod slow_calls;
mod slowest;
mod sockets;
mod stacks;
mod system_call;
mod target;
mod threads;
mod timeline;
#[cfg(bpf_target_arch = "x86_64")]
mod unwind;
mod uring;
mod waking;
mod writeback;

/// The kernel requires a licence that is compatible with the GPL for the helpers used here.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing here panics; if something could, the endless loop makes the verifier refuse the program at load time.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
