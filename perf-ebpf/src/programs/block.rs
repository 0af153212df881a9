//! Requests to block devices: who asks for them and where, and how long they wait and take.

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{BPF_ANY, bpf_raw_tracepoint_args},
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::{map, raw_tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    block::{OpenRequest, Operation},
    counters::Counter,
    sched::NO_SYSTEM_CALL,
    target::BOTH_SIDES,
};

use super::{
    calls,
    completed::block_completed,
    counters::{count, counters, generation},
    files::{self, pointer},
    place::{Asked, place_for, put_stacks, stacks_by_pointers},
    stacks::{Busy, PROCESS},
    system_call::{Entry, argument_by_offset, by_offset},
    target::{is_target, now, put_runner, read_u32, read_u64},
    writeback,
};

/// 1 if the kernel tells when requests are asked for (`block_io_start`, 6.5); else that is when they are first heard of: where they
/// are put into a queue, or given to the device, which their thread mostly does itself.
#[unsafe(no_mangle)]
static TELLS_START: Global<u32> = Global::new(0);

/// Which argument of the block layer's events is the request: on older kernels the second.
#[unsafe(no_mangle)]
static REQUEST_ARGUMENT: Global<u32> = Global::new(0);

/// Where `request` of the running kernel keeps its disk: from BTF; 0 if it is its queue that does (5.17).
#[unsafe(no_mangle)]
static REQUEST_DISK: Global<u32> = Global::new(0);

/// And its queue.
#[unsafe(no_mangle)]
static REQUEST_QUEUE: Global<u32> = Global::new(0);

/// And its flags.
#[unsafe(no_mangle)]
static REQUEST_FLAGS: Global<u32> = Global::new(0);

/// And its length.
#[unsafe(no_mangle)]
static REQUEST_BYTES: Global<u32> = Global::new(0);

/// And its first sector.
#[unsafe(no_mangle)]
static REQUEST_SECTOR: Global<u32> = Global::new(0);

/// Where `request_queue` keeps its disk.
#[unsafe(no_mangle)]
static QUEUE_DISK: Global<u32> = Global::new(0);

/// Where `gendisk` keeps its major number.
#[unsafe(no_mangle)]
static DISK_MAJOR: Global<u32> = Global::new(0);

/// And its minor number.
#[unsafe(no_mangle)]
static DISK_MINOR: Global<u32> = Global::new(0);

/// Requests that have not been completed, by their addresses.
#[map]
pub(super) static OPEN_IO: HashMap<u64, OpenRequest> = HashMap::with_max_entries(1, 0);

/// A request in the making: the stack of a program has no room for it.
#[map]
static OPENING: PerCpuArray<OpenRequest> = PerCpuArray::with_max_entries(1, 0);

/// The thread that runs asks for a request. `block_io_start(struct request *rq)`; on older kernels `block_rq_insert` and
/// `block_rq_issue`.
#[raw_tracepoint(tracepoint = "block_io_start")]
pub(super) fn io_start(ctx: RawTracePointContext) -> i32 {
    starts(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory), by_offset, argument_by_offset)
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "block_io_start")]
pub(super) fn io_start_walk(ctx: RawTracePointContext) -> i32 {
    use super::{place::stacks_by_tables, system_call};
    starts(&ctx, |ctx, memory| stacks_by_tables(ctx, memory), system_call::by_helper, system_call::argument_by_helper)
}

/// `block_rq_issue(struct request *rq)`: it is given to the device.
#[raw_tracepoint(tracepoint = "block_rq_issue")]
pub(super) fn io_issue(ctx: RawTracePointContext) -> i32 {
    let request = request(&ctx);
    if let Some(open) = OPEN_IO.get_ptr_mut(&(request as u64)) {
        // SAFETY: a request is in one place at a time.
        let open = unsafe { &mut *open };
        open.issue_ns = now();
        // What it became by others that were merged into it; of one that was sent back, what is left may be less.
        if open.requeues != 0 {
            return 0;
        }
        open.bytes = u64::from(read_u32(request, REQUEST_BYTES.load()));
        open.sector = read_u64(request, REQUEST_SECTOR.load());
    }
    0
}

/// `block_rq_requeue(struct request *rq)`: the device had no room for it, or lost it.
#[raw_tracepoint(tracepoint = "block_rq_requeue")]
pub(super) fn io_requeue(ctx: RawTracePointContext) -> i32 {
    if let Some(open) = OPEN_IO.get_ptr_mut(&(request(&ctx) as u64)) {
        // SAFETY: as above.
        let open = unsafe { &mut *open };
        open.issue_ns = 0;
        open.requeues += 1;
    }
    0
}

/// `block_rq_merge(struct request *rq)`: it becomes part of another, and is never completed itself.
#[raw_tracepoint(tracepoint = "block_rq_merge")]
pub(super) fn io_merge(ctx: RawTracePointContext) -> i32 {
    if OPEN_IO.remove(&(request(&ctx) as u64)).is_ok()
        && let Some(counters) = counters(generation())
    {
        count(counters, Counter::IoMerged);
    }
    0
}

/// `block_io_done(struct request *rq)`: it is complete.
#[raw_tracepoint(tracepoint = "block_io_done")]
pub(super) fn io_done(ctx: RawTracePointContext) -> i32 {
    block_completed(ctx.arg(0));
    0
}

/// `block_rq_error(struct request *rq, blk_status_t error, unsigned int nr_bytes)`: so much of it failed.
#[raw_tracepoint(tracepoint = "block_rq_error")]
pub(super) fn io_error(ctx: RawTracePointContext) -> i32 {
    if let Some(open) = OPEN_IO.get_ptr_mut(&ctx.arg::<u64>(0)) {
        // SAFETY: as above.
        unsafe { (*open).failed = 1 };
    }
    0
}

/// `block_rq_complete(struct request *rq, error, unsigned int nr_bytes)`: so much of it is complete. For kernels without
/// `block_io_done` (6.5).
#[raw_tracepoint(tracepoint = "block_rq_complete")]
pub(super) fn io_complete(ctx: RawTracePointContext) -> i32 {
    let request: *const c_void = ctx.arg(0);
    let Some(open) = OPEN_IO.get_ptr_mut(&(request as u64)) else { return 0 };
    if ctx.arg::<u64>(1) as u32 != 0 {
        // SAFETY: as above.
        unsafe { (*open).failed = 1 };
    }
    if ctx.arg::<u64>(2) as u32 >= read_u32(request, REQUEST_BYTES.load()) {
        block_completed(request as u64);
    }
    0
}

#[inline(always)]
fn request(ctx: &RawTracePointContext) -> *const c_void {
    if REQUEST_ARGUMENT.load() == 0 {
        return ctx.arg(0);
    }
    // Through the helper: the compiler would choose an address first and read then, where verifiers want a constant one.
    // SAFETY: the arguments are the kernel's.
    unsafe { bpf_probe_read_kernel(ctx.as_ptr().cast::<*const c_void>().add(1)) }.unwrap_or(core::ptr::null())
}

/// [`OpenRequest::device`].
#[inline(always)]
fn device(request: *const c_void) -> u32 {
    let of_request = REQUEST_DISK.load();
    let disk = if of_request == 0 {
        pointer(pointer(request, REQUEST_QUEUE.load()), QUEUE_DISK.load())
    } else {
        pointer(request, of_request)
    };
    if disk.is_null() {
        return 0;
    }
    read_u32(disk, DISK_MAJOR.load()) << 20 | read_u32(disk, DISK_MINOR.load())
}

#[inline(always)]
fn starts(
    ctx: &RawTracePointContext,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
    argument: impl FnOnce() -> u64,
) -> i32 {
    let request = request(ctx);
    let id = request as u64;
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    if let Some(open) = OPEN_IO.get_ptr(&id) {
        // SAFETY: as above.
        let issue_ns = unsafe { (*open).issue_ns };
        // It was put into a queue, and is taken out.
        if TELLS_START.load() == 0 && issue_ns == 0 {
            return 0;
        }
        // Its memory is another's now.
        count(counters, Counter::IoLostEnd);
        let _ = OPEN_IO.remove(&id);
    }
    // What is handed to the device as it is tells nothing of blocks, and not always when it is complete.
    if read_u32(request, REQUEST_FLAGS.load()) & 0xff >= PASSED_THROUGH {
        return 0;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if writeback::is_told() && block_writeback(id) == 0 {
        return 0;
    }
    if !is_target((pid_tgid >> 32) as u32) {
        return 0;
    }
    count(counters, Counter::IoStarted);
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::IoLostBusy);
        return 0;
    };
    if keep(ctx, id, pid_tgid, generation, take, entry, argument).is_none() {
        count(counters, Counter::IoLostFull);
    }
    busy.give_back();
    0
}

#[inline(always)]
fn keep(
    ctx: &RawTracePointContext,
    request: u64,
    pid_tgid: u64,
    generation: u32,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
    argument: impl FnOnce() -> u64,
) -> Option<()> {
    let Entry { system_call, place } = entry();
    block_open(request, pid_tgid, system_call, argument(), generation);
    // SAFETY: this CPU's, and it is claimed.
    let open = unsafe { &mut *OPENING.get_ptr_mut(0)? };
    let at = place_for(place, ASKS | u64::from(open.key.why));
    let (tid, now_ns) = (pid_tgid as u32, open.start_ns);
    let asked = Asked { memory: PROCESS, sides: BOTH_SIDES, tid, at, now_ns, generation };
    put_stacks(&mut open.key, Counter::IoStackless, ctx, asked, take);
    OPEN_IO.insert(request, &*open, u64::from(BPF_ANY)).ok()
}

/// Begins [`OPENING`], all but its stacks. Not inlined, so that what it needs of the stack is free again when stacks are walked, for
/// which 512 bytes have to do; with numbers alone, so that verifiers look at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn block_open(request: u64, pid_tgid: u64, call: u32, argument: u64, generation: u32) -> i64 {
    let Some(open) = OPENING.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's, and it is claimed.
    let open = unsafe { &mut *open };
    let at = request as *const c_void;
    let bytes = read_u32(at, REQUEST_BYTES.load());
    let operation = Operation::of(read_u32(at, REQUEST_FLAGS.load()), bytes) as u32;
    (open.start_ns, open.issue_ns, open.bytes) = (now(), 0, u64::from(bytes));
    (open.sector, open.device) = (read_u64(at, REQUEST_SECTOR.load()), device(at));
    (open.requeues, open.failed, open.place_ns) = (0, 0, open.start_ns);
    put_runner(&mut open.key, pid_tgid, operation);
    open.file = files::file(at, bytes, call, argument, generation);
    calls::take_note_of_request(pid_tgid as u32);
    #[cfg(bpf_target_arch = "x86_64")]
    super::faults::take_note_of_request(pid_tgid as u32);
    0
}

/// Keeps a request of a thread of the kernel's own for who changed the pages that it writes; 1 if that is not known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn block_writeback(request: u64) -> i64 {
    let at = request as *const c_void;
    if read_u32(at, REQUEST_FLAGS.load()) & 0xff != Operation::Write as u32 {
        return 1;
    }
    let generation = generation();
    let (Some(dirtier), Some(counters)) = (writeback::dirtier(at), counters(generation)) else { return 1 };
    count(counters, Counter::IoStarted);
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::IoLostBusy);
        return 0;
    };
    block_open(request, bpf_get_current_pid_tgid(), NO_SYSTEM_CALL, 0, generation);
    if let Some(open) = OPENING.get_ptr_mut(0) {
        // SAFETY: this CPU's, and it is claimed.
        let open = unsafe { &mut *open };
        (open.key, open.place_ns) = (dirtier.key, dirtier.place_ns);
        if OPEN_IO.insert(request, &*open, u64::from(BPF_ANY)).is_err() {
            count(counters, Counter::IoLostFull);
        }
    }
    busy.give_back();
    0
}

/// The first operation (`REQ_OP_*`) of those that are passed through to drivers.
const PASSED_THROUGH: u32 = 32;

/// What tells the places where a thread asks for requests from others.
const ASKS: u64 = 0x494f_0000;
