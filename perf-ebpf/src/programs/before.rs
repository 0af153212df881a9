//! Where threads wait that left the CPU before the recording: no event tells, so they are looked at once.

use aya_ebpf::{
    bindings::{seq_file, task_struct},
    helpers::generated::{bpf_get_task_stack, bpf_seq_write},
    macros::map,
    maps::PerCpuArray,
};
use core::ffi::c_void;
use perf_ebpf::{before::Before, stack::FRAMES_BYTES};

use super::{follow::TASK_PID_OFFSET, marks::is_marked, system_call::frame_pointer_of, target::read_u32};

/// What the kernel calls the program with for each thread (`struct bpf_iter__task`): the file that is read, and the thread; none
/// at the end.
#[repr(C)]
pub(super) struct TaskContext {
    meta: *const Meta,
    task: *mut task_struct,
}

#[repr(C)]
struct Meta {
    file: *mut seq_file,
}

/// The record in the making: the stack of a program has no room for it.
#[map]
static BEFORE: PerCpuArray<Before> = PerCpuArray::with_max_entries(1, 0);

/// Tells of a thread, by its id if that is marked.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn threads_before(ctx: *const TaskContext) -> i32 {
    // SAFETY: the kernel calls with both; volatile, so that each is one access to the context.
    let (meta, task) = unsafe { ((&raw const (*ctx).meta).read_volatile(), (&raw const (*ctx).task).read_volatile()) };
    if task.is_null() {
        return 0;
    }
    let tid = read_u32(task.cast::<c_void>(), TASK_PID_OFFSET.load());
    if !is_marked(tid) {
        return 0;
    }
    let Some(before) = BEFORE.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's, and nothing else writes to it; the file and the thread are the kernel's.
    unsafe {
        ((*before).tid, (*before).fp) = (tid, frame_pointer_of(task.cast()).unwrap_or(0));
        let frames = (&raw mut (*before).kernel).cast();
        if bpf_get_task_stack(task, frames, FRAMES_BYTES as u32, 0) <= 0 {
            (*before).kernel[0] = 0;
        }
        bpf_seq_write((*meta).file, before.cast(), size_of::<Before>() as u32);
    }
    0
}
