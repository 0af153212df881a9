//! Operations of io_uring: who asks for them and where, and how long they take until they are complete.

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{BPF_ANY, bpf_raw_tracepoint_args},
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    block::FileKey,
    counters::Counter,
    file_calls::{OpenOperation, URING_CALLS},
};

use super::{
    calls::CALL_MEMORY,
    counters::{add, count, counters, generation},
    file_calls::{CALL_LOSSES, Ended, add_time_of_found, keep_operation},
    place::{put_asked, stacks_by_pointers},
    stacks::Busy,
    system_call::{Entry, by_offset},
    target::{is_target, now, read_u32, read_u64},
};

/// Where `io_kiocb` of the running kernel keeps its file: from BTF.
#[unsafe(no_mangle)]
static OPERATION_FILE: Global<u32> = Global::new(0);

/// And its kind.
#[unsafe(no_mangle)]
static OPERATION_KIND: Global<u32> = Global::new(0);

/// Where `io_uring_cqe` has the result.
#[unsafe(no_mangle)]
static COMPLETION_RESULT: Global<u32> = Global::new(0);

/// 1 if the event of completions has the result itself, not an entry of the queue that has it.
#[unsafe(no_mangle)]
static TELLS_RESULT: Global<u32> = Global::new(0);

/// What each operation's result says: [`perf_ebpf::file_calls::word`]; 0 for what is no matter of files.
#[map]
static URING_WORDS: Array<u32> = Array::with_max_entries(1, 0);

/// Operations that have not been completed, by their addresses.
#[map]
static OPEN_URING: HashMap<u64, OpenOperation> = HashMap::with_max_entries(1, 0);

/// An operation in the making: the stack of a program has no room for it.
#[map]
static ASKING: PerCpuArray<OpenOperation> = PerCpuArray::with_max_entries(1, 0);

/// `io_uring_submit_req(struct io_kiocb *req)`, before 6.2 `io_uring_submit_sqe`: the running thread asks for it.
#[raw_tracepoint(tracepoint = "io_uring_submit_req")]
pub(super) fn uring_ask(ctx: RawTracePointContext) -> i32 {
    asks(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory), by_offset)
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "io_uring_submit_req")]
pub(super) fn uring_ask_walk(ctx: RawTracePointContext) -> i32 {
    asks(&ctx, |ctx, memory| super::place::stacks_by_tables(ctx, memory), super::system_call::by_helper)
}

#[inline(always)]
fn asks(
    ctx: &RawTracePointContext,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
) -> i32 {
    let operation: u64 = ctx.arg(0);
    let kind = read_u32(operation as *const c_void, OPERATION_KIND.load()) & 0xff;
    let (generation, pid_tgid) = (generation(), bpf_get_current_pid_tgid());
    let Some(counters) = counters(generation) else { return 0 };
    if OPEN_URING.get_ptr(&operation).is_some() {
        // Its memory is another's now, and nobody told that it was complete: it was not to be told.
        count(counters, Counter::FileCallsTaken);
        count(counters, Counter::FileCallsLostEnd);
        let _ = OPEN_URING.remove(&operation);
    }
    if URING_WORDS.get(kind).is_none_or(|word| *word == 0) || !is_target((pid_tgid >> 32) as u32) {
        return 0;
    }
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::FileCallsTaken);
        count(counters, Counter::FileCallsLostBusy);
        return 0;
    };
    if keep(ctx, operation, kind, pid_tgid, generation, take, entry).is_none() {
        count(counters, Counter::FileCallsTaken);
        count(counters, Counter::FileCallsLostOpen);
    }
    busy.give_back();
    0
}

#[inline(always)]
fn keep(
    ctx: &RawTracePointContext,
    operation: u64,
    kind: u32,
    pid_tgid: u64,
    generation: u32,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
) -> Option<()> {
    // SAFETY: this CPU's, and it is claimed.
    let open = unsafe { &mut *ASKING.get_ptr_mut(0)? };
    let Entry { place, .. } = entry();
    put_asked(open, ctx, (URING_CALLS + kind, Counter::CallStackless), pid_tgid, place, generation, take);
    OPEN_URING.insert(operation, &*open, u64::from(BPF_ANY)).ok()
}

/// `io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe)`; on older kernels the third is `u64 user_data`, and
/// `int res` follows.
#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub(super) fn uring_done(ctx: RawTracePointContext) -> i32 {
    let operation: u64 = ctx.arg(1);
    let Some(open) = OPEN_URING.get_ptr(&operation) else { return 0 };
    // SAFETY: it is memory of the map until it is removed at the end.
    let open = unsafe { &*open };
    let (generation, now_ns) = (generation(), now());
    let Some(counters) = counters(generation) else { return 0 };
    count(counters, Counter::FileCallsTaken);
    let result = if TELLS_RESULT.load() == 0 {
        read_u32(ctx.arg(2), COMPLETION_RESULT.load())
    } else {
        // SAFETY: within what the tracepoint gives.
        unsafe { bpf_probe_read_kernel(ctx.as_ptr().cast::<u64>().add(3)) }.unwrap_or(0) as u32
    };
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::FileCallsLostBusy);
        let _ = OPEN_URING.remove(&operation);
        return 0;
    };
    let length_ns = now_ns.saturating_sub(open.start_ns);
    uring_keep(operation, result as i32 as i64, length_ns, generation);
    if let Some(memory) = CALL_MEMORY.get_ptr_mut(0) {
        // SAFETY: this CPU's, and it is claimed.
        let memory = unsafe { &mut *memory };
        memory.key = open.key;
        add(counters, Counter::FileTime, length_ns);
        add_time_of_found(memory, length_ns, generation, counters, CALL_LOSSES);
    }
    busy.give_back();
    let _ = OPEN_URING.remove(&operation);
    0
}

/// Counts an operation that is complete. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn uring_keep(operation: u64, result: i64, length_ns: u64, generation: u32) -> i64 {
    let Some(open) = OPEN_URING.get_ptr(&operation) else { return 1 };
    // SAFETY: as above.
    let open = unsafe { &*open };
    let call = open.key.why;
    let word = URING_WORDS.get(call.wrapping_sub(URING_CALLS)).map_or(0, |word| *word);
    let file = read_u64(operation as *const c_void, OPERATION_FILE.load());
    let ended = Ended { word, result, start_ns: open.start_ns, length_ns, from_disk: false };
    keep_operation(file, FileKey::default(), open.key.tgid, call, &ended, generation);
    0
}
