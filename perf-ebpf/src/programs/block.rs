//! Requests to block devices: who asks for them and where, and how long they wait and take.

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_raw_tracepoint_args},
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_probe_read_kernel},
    macros::{map, raw_tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    block::{
        BlockKey, BlockStackKey, BlockSum, BlockTime, FileRequests, FileRequestsKey, OpenRequest, Operation,
        SlowRequest,
    },
    calls::{SLOWEST, SlowLengths},
    counters::{Counter, Counters},
    stack::mix,
    target::BOTH_SIDES,
};

use super::{
    counters::{add, count, count_length, counters, generation},
    files::{self, pointer},
    place::{Asked, stacks_at, stacks_by_pointers},
    slowest,
    stacks::{Busy, PROCESS, StackIds, insert_failure},
    system_call::{Entry, by_offset},
    target::{exec_count, is_target, now, read_comm, read_u32},
};

/// 1 if the kernel tells when requests are asked for (`block_io_start`, 6.5); else that is when they are first heard of: where they
/// are put into a queue, or given to the device, which their thread mostly does itself.
#[unsafe(no_mangle)]
static TELLS_START: Global<u32> = Global::new(0);

/// Which argument of the block layer's events is the request: before 5.11, the second.
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
static OPEN_IO: HashMap<u64, OpenRequest> = HashMap::with_max_entries(1, 0);

#[map]
static IO_0: HashMap<BlockKey, BlockSum> = HashMap::with_max_entries(1, 0);

#[map]
static IO_1: HashMap<BlockKey, BlockSum> = HashMap::with_max_entries(1, 0);

#[map]
static IO_TIMES_0: HashMap<BlockStackKey, BlockTime> = HashMap::with_max_entries(1, 0);

#[map]
static IO_TIMES_1: HashMap<BlockStackKey, BlockTime> = HashMap::with_max_entries(1, 0);

#[map]
static IO_FILES_0: HashMap<FileRequestsKey, FileRequests> = HashMap::with_max_entries(1, 0);

#[map]
static IO_FILES_1: HashMap<FileRequestsKey, FileRequests> = HashMap::with_max_entries(1, 0);

/// Those of one generation, then those of the other.
#[map]
static SLOW_IO: PerCpuArray<SlowRequest> = PerCpuArray::with_max_entries(2 * SLOWEST as u32, 0);

/// One entry a generation.
#[map]
static SLOW_IO_LENGTHS: PerCpuArray<SlowLengths> = PerCpuArray::with_max_entries(2, 0);

/// No requests: what a new entry begins with, for which the stack of a program has no room.
#[map]
static NO_IO: PerCpuArray<BlockSum> = PerCpuArray::with_max_entries(1, 0);

/// A request in the making, for the same reason.
#[map]
static IO_MEMORY: PerCpuArray<OpenRequest> = PerCpuArray::with_max_entries(1, 0);

/// The thread that runs asks for a request. `block_io_start(struct request *rq)`; on older kernels `block_rq_insert` and
/// `block_rq_issue`.
#[raw_tracepoint(tracepoint = "block_io_start")]
pub(super) fn io_start(ctx: RawTracePointContext) -> i32 {
    starts(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory), by_offset)
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "block_io_start")]
pub(super) fn io_start_walk(ctx: RawTracePointContext) -> i32 {
    starts(&ctx, |ctx, memory| super::place::stacks_by_tables(ctx, memory), super::system_call::by_helper)
}

/// `block_rq_issue(struct request *rq)`: it is given to the device.
#[raw_tracepoint(tracepoint = "block_rq_issue")]
pub(super) fn io_issue(ctx: RawTracePointContext) -> i32 {
    let request = request(&ctx);
    if let Some(open) = OPEN_IO.get_ptr_mut(&(request as u64)) {
        // SAFETY: a request is in one place at a time.
        let open = unsafe { &mut *open };
        open.issue_ns = now();
        // What it became by others that were merged into it.
        open.bytes = u64::from(read_u32(request, REQUEST_BYTES.load()));
        open.sector = sector(request);
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
    completed(ctx.arg::<u64>(0));
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
        completed(request as u64);
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

#[inline(always)]
fn sector(request: *const c_void) -> u64 {
    // SAFETY: reads kernel memory through the helper, which fails rather than faults.
    unsafe { bpf_probe_read_kernel(request.byte_add(REQUEST_SECTOR.load() as usize).cast::<u64>()) }.unwrap_or(0)
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
    let pid_tgid = bpf_get_current_pid_tgid();
    if !is_target((pid_tgid >> 32) as u32) {
        return 0;
    }
    count(counters, Counter::IoStarted);
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::IoLostBusy);
        return 0;
    };
    if keep(ctx, request, pid_tgid, generation, counters, take, entry).is_none() {
        count(counters, Counter::IoLostFull);
    }
    busy.give_back();
    0
}

#[inline(always)]
fn keep(
    ctx: &RawTracePointContext,
    request: *const c_void,
    pid_tgid: u64,
    generation: u32,
    counters: *mut Counters,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
) -> Option<()> {
    let now_ns = now();
    // SAFETY: this CPU's, and it is claimed.
    let open = unsafe { &mut *IO_MEMORY.get_ptr_mut(0)? };
    let bytes = read_u32(request, REQUEST_BYTES.load());
    let operation = Operation::of(read_u32(request, REQUEST_FLAGS.load()), bytes) as u32;
    (open.start_ns, open.issue_ns, open.bytes) = (now_ns, 0, u64::from(bytes));
    (open.sector, open.device) = (sector(request), device(request));
    (open.requeues, open.failed) = (0, 0);
    let tid = pid_tgid as u32;
    let key = &mut open.key;
    (key.tgid, key.tid, key.exec_count, key.why) = ((pid_tgid >> 32) as u32, tid, exec_count(), operation);
    read_comm(&mut key.comm);
    let entry = entry();
    open.file = files::file(request, bytes, entry.system_call, entry.argument, generation);
    let at = match entry.place {
        0 => 0,
        place => mix(place, ASKS | u64::from(operation)),
    };
    let asked = Asked { memory: PROCESS, sides: BOTH_SIDES, tid, at, now_ns, generation };
    let (_, stacks) = stacks_at(ctx, asked, take).unwrap_or_else(|| {
        count(counters, Counter::IoStackless);
        (0, StackIds::NONE)
    });
    (key.user_stack, key.kernel_stack, key.python_stack) = (stacks.user, stacks.kernel, stacks.python);
    OPEN_IO.insert(request as u64, &*open, u64::from(BPF_ANY)).ok()
}

/// What tells the places where a thread asks for requests from others.
const ASKS: u64 = 0x494f_0000;

/// A request is complete: it is counted.
#[inline(always)]
fn completed(id: u64) {
    let Some(open) = OPEN_IO.get_ptr(&id) else { return };
    // SAFETY: as above; it is memory of the map until it is removed at the end.
    let open = unsafe { &*open };
    let now_ns = now();
    let generation = generation();
    let Some(counters) = counters(generation) else { return };
    count(counters, Counter::IoDone);
    let times = open.times(now_ns);
    sum(open, times, generation, counters);
    time(open, times, generation, counters);
    of_file(open, times, generation, counters);
    slow(open, times, generation);
    let _ = OPEN_IO.remove(&id);
}

#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { bpf_get_smp_processor_id() }
}

#[inline(always)]
fn sum(open: &OpenRequest, [queue_ns, device_ns]: [u64; 2], generation: u32, counters: *mut Counters) {
    let key = BlockKey { tgid: open.key.tgid, device: open.device, operation: open.key.why, cpu: cpu() };
    let sums = if generation == 0 { &IO_0 } else { &IO_1 };
    let sum = match sums.get_ptr_mut(&key) {
        Some(sum) => sum,
        None => {
            let Some(none) = NO_IO.get_ptr(0) else { return };
            // SAFETY: memory of the map, which is never written to.
            if let Err(error) = sums.insert(key, unsafe { &*none }, u64::from(BPF_NOEXIST)) {
                count(counters, insert_failure(error, Counter::IoLostSumsFull, Counter::IoLostSumsBusy));
                return;
            }
            let Some(sum) = sums.get_ptr_mut(&key) else {
                count(counters, Counter::IoLostSumsBusy);
                return;
            };
            sum
        }
    };
    // SAFETY: the key names this CPU; and user space touches a generation only when no program writes to it any more.
    let sum = unsafe { &mut *sum };
    sum.bytes += open.bytes;
    sum.failed += u64::from(open.failed);
    sum.requeues += u64::from(open.requeues);
    count_length(&mut sum.whole, queue_ns + device_ns);
    count_length(&mut sum.queue, queue_ns);
    count_length(&mut sum.device, device_ns);
}

#[inline(always)]
fn time(open: &OpenRequest, [queue_ns, device_ns]: [u64; 2], generation: u32, counters: *mut Counters) {
    let (ns, bytes) = (queue_ns + device_ns, open.bytes);
    add(counters, Counter::IoTime, ns);
    add(counters, Counter::IoBytes, bytes);
    let key = BlockStackKey { key: open.key, device: open.device, cpu: cpu() };
    let times = if generation == 0 { &IO_TIMES_0 } else { &IO_TIMES_1 };
    if let Some(time) = times.get_ptr_mut(&key) {
        // SAFETY: as above.
        let time = unsafe { &mut *time };
        time.ns += ns;
        time.bytes += bytes;
    } else if let Err(error) =
        times.insert(key, BlockTime { ns, bytes, first_ns: open.start_ns }, u64::from(BPF_NOEXIST))
    {
        add(counters, insert_failure(error, Counter::IoTimeLostFull, Counter::IoTimeLostBusy), ns);
        add(counters, insert_failure(error, Counter::IoBytesLostFull, Counter::IoBytesLostBusy), bytes);
    }
}

#[inline(always)]
fn of_file(open: &OpenRequest, [queue_ns, device_ns]: [u64; 2], generation: u32, counters: *mut Counters) {
    let (ns, bytes) = (queue_ns + device_ns, open.bytes);
    let of = BlockKey { tgid: open.key.tgid, device: open.device, operation: open.key.why, cpu: cpu() };
    let key = FileRequestsKey { of, file: open.file };
    let files = if generation == 0 { &IO_FILES_0 } else { &IO_FILES_1 };
    if let Some(sum) = files.get_ptr_mut(&key) {
        // SAFETY: as above.
        let sum = unsafe { &mut *sum };
        (sum.count, sum.bytes, sum.ns) = (sum.count + 1, sum.bytes + bytes, sum.ns + ns);
        if ns > sum.max_ns {
            sum.max_ns = ns;
        }
    } else if files.insert(key, FileRequests { count: 1, bytes, ns, max_ns: ns }, u64::from(BPF_NOEXIST)).is_err() {
        count(counters, Counter::IoFilesMissed);
    }
}

#[inline(always)]
fn slow(open: &OpenRequest, [queue_ns, device_ns]: [u64; 2], generation: u32) {
    let Some(lengths) = SLOW_IO_LENGTHS.get_ptr_mut(generation) else { return };
    // SAFETY: this CPU's.
    let lengths = unsafe { &mut *lengths };
    let Some(at) = slowest::place(lengths, queue_ns + device_ns) else { return };
    let Some(slow) = SLOW_IO.get_ptr_mut(generation * SLOWEST as u32 + at as u32) else { return };
    // SAFETY: this CPU's.
    let slow = unsafe { &mut *slow };
    (slow.start_ns, slow.queue_ns, slow.device_ns) = (open.start_ns, queue_ns, device_ns);
    (slow.sector, slow.bytes, slow.device, slow.operation) = (open.sector, open.bytes, open.device, open.key.why);
    (slow.tgid, slow.tid, slow.comm) = (open.key.tgid, open.key.tid, open.key.comm);
    (slow.requeues, slow.failed, slow.file) = (open.requeues, open.failed, open.file);
    slowest::put(lengths, at, queue_ns + device_ns);
}
