//! The set of processes that are the target: children of members join it, and processes that take the wanted name.

use aya_ebpf::{
    Global,
    bindings::BPF_ANY,
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_probe_read_kernel_str_bytes},
    macros::{map, raw_tracepoint},
    maps::HashMap,
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    comm::{COMM_BYTES, Comm, comm_words},
    counters::Counter,
};

use super::{
    counters::{count, counters, generation},
    marks::{is_marked, mark},
    target::read_u32,
};

/// Whether children of members join.
#[unsafe(no_mangle)]
static INHERIT: Global<u32> = Global::new(1);

/// The wanted name, as `comm_words` gives it; zeros if no name is wanted.
#[unsafe(no_mangle)]
static COMM_LOW: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
static COMM_HIGH: Global<u64> = Global::new(0);

/// Where `task_struct` of the running kernel keeps the thread's id, and its process's: from BTF.
#[unsafe(no_mangle)]
pub(super) static TASK_PID_OFFSET: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
pub(super) static TASK_TGID_OFFSET: Global<u32> = Global::new(0);

/// The members, by process id. The value says nothing yet.
#[map]
static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

/// Whether the process is part of the target.
#[inline(always)]
pub(super) fn is_followed(tgid: u32) -> bool {
    is_marked(tgid) && PROCESSES.get_ptr(&tgid).is_some()
}

#[inline(always)]
fn follow(tgid: u32) {
    mark(tgid);
    if PROCESSES.insert(&tgid, &1, u64::from(BPF_ANY)).is_err()
        && let Some(counters) = counters(generation())
    {
        count(counters, Counter::ChildrenMissed);
    }
}

#[inline(always)]
fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`; runs in the parent, before the child
/// has run.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(super) fn follow_fork(ctx: RawTracePointContext) -> i32 {
    let child: *const c_void = ctx.arg(1);
    let (tid, tgid) = (read_u32(child, TASK_PID_OFFSET.load()), read_u32(child, TASK_TGID_OFFSET.load()));
    if tid != tgid {
        return 0;
    }
    let inherited = INHERIT.load() != 0 && is_followed(current_tgid());
    // The child has the name of the thread that forked it.
    if inherited || bpf_get_current_comm().is_ok_and(|comm| is_wanted(&comm)) {
        follow(tgid);
    } else if is_followed(tgid) {
        // The id belonged to a member that has ended, and is now another process's.
        let _ = PROCESSES.remove(&tgid);
    }
    0
}

#[inline(always)]
fn is_wanted(comm: &Comm) -> bool {
    let wanted = [COMM_LOW.load(), COMM_HIGH.load()];
    wanted != [0; 2] && comm_words(comm) == wanted
}

/// `task_rename(struct task_struct *task, const char *comm)`; a process is called what its main thread is called. Every
/// exec renames.
#[raw_tracepoint(tracepoint = "task_rename")]
pub(super) fn follow_rename(ctx: RawTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let name: *const c_void = ctx.arg(1);
    let (tid, tgid) = (read_u32(task, TASK_PID_OFFSET.load()), read_u32(task, TASK_TGID_OFFSET.load()));
    if tid != tgid {
        return 0;
    }
    let mut comm: Comm = [0; COMM_BYTES];
    // SAFETY: reads kernel memory through the helper, which fails rather than faults.
    let read = unsafe { bpf_probe_read_kernel_str_bytes(name.cast(), &mut comm) };
    if read.is_ok() && is_wanted(&comm) {
        follow(tgid);
    }
    0
}
