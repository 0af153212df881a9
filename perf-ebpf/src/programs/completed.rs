//! Requests that are complete are counted: by disk and operation, by stack, by file, and the slowest one by one.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use perf_ebpf::{
    block::{BlockKey, BlockStackKey, BlockSum, BlockTime, FileRequests, FileRequestsKey, OpenRequest, SlowRequest},
    calls::{SLOWEST, SlowLengths},
    counters::{Counter, Counters},
};

use super::{
    block::OPEN_IO,
    counters::{add, count, count_length, counters, generation, sum_of},
    slowest,
    stacks::insert_failure,
    target::{cpu, now},
};

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

/// A request is complete: it is counted. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn block_completed(id: u64) -> i64 {
    let Some(open) = OPEN_IO.get_ptr(&id) else { return 1 };
    // SAFETY: as above; it is memory of the map until it is removed at the end.
    let open = unsafe { &*open };
    let now_ns = now();
    let generation = generation();
    let Some(counters) = counters(generation) else { return 1 };
    count(counters, Counter::IoDone);
    let times = open.times(now_ns);
    sum(open, times, generation, counters);
    time(open, times, generation, counters);
    of_file(open, times, generation, counters);
    slow(open, times, generation);
    let _ = OPEN_IO.remove(&id);
    0
}

#[inline(always)]
fn sum(open: &OpenRequest, [queue_ns, device_ns]: [u64; 2], generation: u32, counters: *mut Counters) {
    let key = BlockKey { tgid: open.key.tgid, device: open.device, operation: open.key.why, cpu: cpu() };
    let sums = if generation == 0 { &IO_0 } else { &IO_1 };
    let lost = [Counter::IoLostSumsFull, Counter::IoLostSumsBusy];
    let Some(sum) = sum_of(sums, &key, &NO_IO, counters, lost) else { return };
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
        times.insert(key, BlockTime { ns, bytes, first_ns: open.place_ns }, u64::from(BPF_NOEXIST))
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
