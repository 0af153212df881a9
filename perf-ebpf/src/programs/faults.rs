//! Page faults: on what, from where, and how long they take. Only on x86 do kernels tell when they begin.

use aya_ebpf::{
    Global,
    bindings::{BPF_ANY, bpf_raw_tracepoint_args},
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task},
    macros::{map, perf_event, raw_tracepoint},
    maps::{LruHashMap, PerCpuArray},
    programs::{PerfEventContext, RawTracePointContext},
};
use core::ffi::c_void;
use perf_ebpf::{
    block::FileKey,
    counters::Counter,
    file_calls::{ANONYMOUS, FAULT_CALLS, HEAP, MAJOR_FAULT, MEMORY_SYSTEM, OpenOperation, STACK, UNREAD},
};

use super::{
    calls::CALL_MEMORY,
    counters::{add, count, counters, generation},
    file_calls::{Ended, add_time_of_found, keep_operation},
    place::stacks_by_pointers,
    stacks::Busy,
    system_call::{Entry, by_offset},
    target::{is_target, now, read_u32, read_u64},
    uring::put_asked,
};

/// Where `task_struct` of the running kernel counts who wants no faults to be mended: from BTF.
#[unsafe(no_mangle)]
static TASK_NO_FAULTS: Global<u32> = Global::new(0);

/// Where `vm_area_struct` has its file.
#[unsafe(no_mangle)]
static AREA_FILE: Global<u32> = Global::new(0);

/// Where it has its memory.
#[unsafe(no_mangle)]
static AREA_MEMORY: Global<u32> = Global::new(0);

/// Where `mm_struct` has the beginning of the heap, behind which follow its end, and the beginning of the first stack.
#[unsafe(no_mangle)]
static MEMORY_HEAP: Global<u32> = Global::new(0);

/// The faults that threads are in, or were, by thread.
#[map]
static OPEN_FAULTS: LruHashMap<u32, OpenOperation> = LruHashMap::with_max_entries(1, 0);

/// No fault: what a new entry begins with, for which the stack of a program has no room.
#[map]
static NO_FAULT: PerCpuArray<OpenOperation> = PerCpuArray::with_max_entries(1, 0);

/// `page_fault_user(unsigned long address, struct pt_regs *regs, unsigned long error_code)`: the running thread needs a page.
#[raw_tracepoint(tracepoint = "page_fault_user")]
pub(super) fn fault_user(ctx: RawTracePointContext) -> i32 {
    begins(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory), by_offset)
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop` (5.17).
#[raw_tracepoint(tracepoint = "page_fault_user")]
pub(super) fn fault_user_walk(ctx: RawTracePointContext) -> i32 {
    begins(&ctx, |ctx, memory| super::place::stacks_by_tables(ctx, memory), super::system_call::by_helper)
}

#[inline(always)]
fn begins(
    ctx: &RawTracePointContext,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
) -> i32 {
    let (address, pid_tgid): (u64, u64) = (ctx.arg(0), bpf_get_current_pid_tgid());
    // The kernel's own memory is nobody's.
    if (address as i64) < 0 || !is_target((pid_tgid >> 32) as u32) || wants_no_faults() {
        return 0;
    }
    let generation = generation();
    // What ends without a beginning is counted as lost.
    let Some(busy) = Busy::claim() else { return 0 };
    if let Some(open) = of_thread(pid_tgid as u32) {
        let Entry { place, .. } = entry();
        // SAFETY: the entry is the running thread's, which nothing else writes to.
        let open = unsafe { &mut *open };
        put_asked(open, ctx, (FAULT_CALLS, Counter::FaultStackless), pid_tgid, place, generation, take);
    }
    busy.give_back();
    0
}

/// The entry of the running thread, which is made if there is none.
#[inline(always)]
fn of_thread(tid: u32) -> Option<*mut OpenOperation> {
    if let Some(open) = OPEN_FAULTS.get_ptr_mut(tid) {
        return Some(open);
    }
    // SAFETY: memory of the map, which is never written to.
    let none = unsafe { &*NO_FAULT.get_ptr(0)? };
    OPEN_FAULTS.insert(tid, none, u64::from(BPF_ANY)).ok()?;
    OPEN_FAULTS.get_ptr_mut(tid)
}

/// Whether a fault of the running thread is only told to who caused it: programs like these read memory so, this reading too.
#[inline(always)]
fn wants_no_faults() -> bool {
    // SAFETY: takes no pointer.
    read_u32(unsafe { bpf_get_current_task() } as *const c_void, TASK_NO_FAULTS.load()) > 1
}

/// The page was in memory, or made there.
#[perf_event]
pub(super) fn fault_minor(ctx: PerfEventContext) -> u32 {
    ends(&ctx, FAULT_CALLS, |_| None)
}

/// It had to be read.
#[perf_event]
pub(super) fn fault_major(ctx: PerfEventContext) -> u32 {
    ends(&ctx, MAJOR_FAULT, |_| None)
}

/// [`fault_minor`], for kernels that tell of mappings (`bpf_find_vma`, 5.17).
#[perf_event]
pub(super) fn fault_minor_mapped(ctx: PerfEventContext) -> u32 {
    ends(&ctx, FAULT_CALLS, mapped::of)
}

/// [`fault_major`], for the same.
#[perf_event]
pub(super) fn fault_major_mapped(ctx: PerfEventContext) -> u32 {
    ends(&ctx, MAJOR_FAULT, mapped::of)
}

/// What is mapped somewhere.
#[derive(Clone, Copy)]
#[repr(C)]
struct Mapped {
    /// Where the kernel keeps the file; 0 if there is none.
    file: u64,
    /// What stands instead of one.
    memory: u64,
    address: u64,
}

#[inline(always)]
fn ends(ctx: &PerfEventContext, call: u32, find: impl FnOnce(u64) -> Option<Mapped>) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if !is_target((pid_tgid >> 32) as u32) {
        return 0;
    }
    let (generation, now_ns) = (generation(), now());
    let Some(counters) = counters(generation) else { return 0 };
    count(counters, Counter::FaultsTaken);
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::FaultsLostBusy);
        return 0;
    };
    let open = OPEN_FAULTS.get_ptr_mut(pid_tgid as u32);
    // SAFETY: the entry is the running thread's, which nothing else writes to.
    match open.map(|open| unsafe { &mut *open }).filter(|open| open.start_ns != 0) {
        None => count(counters, Counter::FaultsLostStart),
        Some(open) => {
            let length_ns = now_ns.saturating_sub(open.start_ns);
            open.key.why = call;
            // SAFETY: of the context, which ends with the address.
            let address = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).addr) };
            let unread = Mapped { file: 0, memory: UNREAD, address };
            let Mapped { file, memory, .. } = find(address).unwrap_or(unread);
            fault_keep(file, memory, length_ns, generation);
            open.start_ns = 0;
        }
    }
    busy.give_back();
    0
}

/// Counts a fault of the running thread that ended. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fault_keep(file: u64, memory: u64, length_ns: u64, generation: u32) -> i64 {
    let (Some(open), Some(counters), Some(time)) =
        (OPEN_FAULTS.get_ptr(bpf_get_current_pid_tgid() as u32), counters(generation), CALL_MEMORY.get_ptr_mut(0))
    else {
        return 1;
    };
    // SAFETY: as above; and the memory is this CPU's, and it is claimed.
    let (open, time) = unsafe { (&*open, &mut *time) };
    let call = open.key.why;
    let from_disk = call == MAJOR_FAULT;
    let ended = Ended { word: 0, result: 0, start_ns: open.start_ns, length_ns, from_disk };
    let instead = FileKey { inode: memory, system: MEMORY_SYSTEM, generation: 0 };
    keep_operation(file, instead, open.key.tgid, call, &ended, generation);
    time.key = open.key;
    add(counters, Counter::FaultTime, length_ns);
    add_time_of_found(time, length_ns, generation, counters, [Counter::FaultTimeLostFull, Counter::FaultTimeLostBusy]);
    0
}

/// What is mapped at an address, by the kernel's own search.
mod mapped {
    use aya_ebpf::helpers::{bpf_get_current_task_btf, generated::bpf_find_vma};

    use super::*;

    /// `None` if it cannot be looked for: somebody else changes the mappings, or waits to.
    #[inline(always)]
    pub(super) fn of(address: u64) -> Option<Mapped> {
        let mut mapped = Mapped { file: 0, memory: UNREAD, address };
        // SAFETY: the task is the running one, and what is passed lives as long as the call.
        let failed = unsafe {
            let task = bpf_get_current_task_btf().cast();
            bpf_find_vma(task, address, look as *mut c_void, (&raw mut mapped).cast(), 0)
        };
        (failed == 0).then_some(mapped)
    }

    /// Looks at what was found.
    unsafe extern "C" fn look(_task: *mut c_void, area: *const c_void, mapped: *mut Mapped) -> i64 {
        // SAFETY: what `of` passes.
        let mapped = unsafe { &mut *mapped };
        mapped.file = read_u64(area, AREA_FILE.load());
        let memory = read_u64(area, AREA_MEMORY.load()) as *const c_void;
        let heap = MEMORY_HEAP.load();
        let [start, end, stack] = [0, 8, 16].map(|more| read_u64(memory, heap + more));
        // The first stack grows down from where it begins, and arguments lie above.
        mapped.memory = match mapped.address {
            address if start <= address && address < end => HEAP,
            address if address.wrapping_sub(stack.wrapping_sub(STACK_BYTES)) < STACK_BYTES + ABOVE_BYTES => STACK,
            _ => ANONYMOUS,
        };
        0
    }

    /// What the first thread's stack may grow to, on most machines.
    const STACK_BYTES: u64 = 8 << 20;
    /// What may lie above it.
    const ABOVE_BYTES: u64 = 2 << 20;
}
