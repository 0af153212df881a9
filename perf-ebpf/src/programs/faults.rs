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
    file_calls::{ANONYMOUS, FAULT_CALLS, HEAP, MAJOR_FAULT, MEMORY_SYSTEM, Mapped, OpenFault, STACK, UNREAD},
};

use super::{
    calls::CALL_MEMORY,
    counters::{add, count, counters, generation},
    file_calls::{Ended, add_time_of_found, keep_operation},
    place::{put_asked, stacks_by_pointers},
    stacks::Busy,
    system_call::{Entry, by_offset},
    target::{is_target, now, read_u32, read_u64},
};

/// Where `task_struct` of the running kernel counts who wants no faults to be mended: from BTF.
#[unsafe(no_mangle)]
static TASK_NO_FAULTS: Global<u32> = Global::new(0);

/// Where `vm_area_struct` has its file.
#[unsafe(no_mangle)]
static AREA_FILE: Global<u32> = Global::new(0);

/// Where it has its first address, behind which follows its end.
#[unsafe(no_mangle)]
static AREA_START: Global<u32> = Global::new(0);

/// Where it has its flags.
#[unsafe(no_mangle)]
static AREA_FLAGS: Global<u32> = Global::new(0);

/// Where it has its memory.
#[unsafe(no_mangle)]
static AREA_MEMORY: Global<u32> = Global::new(0);

/// Where `mm_struct` has the beginning of the heap, behind which follow its end, and the beginning of the first stack; 0 if they are
/// not there.
#[unsafe(no_mangle)]
static MEMORY_HEAP: Global<u32> = Global::new(0);

/// Where `task_struct` has its memory.
#[unsafe(no_mangle)]
static TASK_MEMORY: Global<u32> = Global::new(0);

/// Where `mm_struct` counts changes of its mappings (6.4); 0 if it does not.
#[unsafe(no_mangle)]
static MEMORY_SEQUENCE: Global<u32> = Global::new(0);

/// The faults that threads are in, or were, by thread.
#[map]
static OPEN_FAULTS: LruHashMap<u32, OpenFault> = LruHashMap::with_max_entries(1, 0);

/// No fault: what a new entry begins with, for which the stack of a program has no room.
#[map]
static NO_FAULT: PerCpuArray<OpenFault> = PerCpuArray::with_max_entries(1, 0);

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
    let open = of_thread(pid_tgid as u32);
    let Some(busy) = Busy::claim() else {
        // What ends without a beginning is counted as lost.
        if let Some(open) = open {
            // SAFETY: the entry is the running thread's, which nothing else writes to.
            unsafe { (*open).operation.start_ns = 0 };
        }
        return 0;
    };
    if let Some(open) = open {
        let Entry { place, .. } = entry();
        // SAFETY: the entry is the running thread's, which nothing else writes to.
        let open = unsafe { &mut *open };
        open.requests = 0;
        put_asked(&mut open.operation, ctx, (FAULT_CALLS, Counter::FaultStackless), pid_tgid, place, generation, take);
    }
    busy.give_back();
    0
}

/// The entry of the running thread, which is made if there is none.
#[inline(always)]
fn of_thread(tid: u32) -> Option<*mut OpenFault> {
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
    ends(&ctx, FAULT_CALLS, |_, _, _| false)
}

/// It had to be read.
#[perf_event]
pub(super) fn fault_major(ctx: PerfEventContext) -> u32 {
    ends(&ctx, MAJOR_FAULT, |_, _, _| false)
}

/// [`fault_minor`], for kernels that tell of mappings (`bpf_find_vma`, 5.17).
#[perf_event]
pub(super) fn fault_minor_mapped(ctx: PerfEventContext) -> u32 {
    ends(&ctx, FAULT_CALLS, mapped::find)
}

/// [`fault_major`], for the same.
#[perf_event]
pub(super) fn fault_major_mapped(ctx: PerfEventContext) -> u32 {
    ends(&ctx, MAJOR_FAULT, mapped::find)
}

#[inline(always)]
fn ends(ctx: &PerfEventContext, call: u32, find: impl FnOnce(&mut Mapped, u64, u32) -> bool) -> u32 {
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
    match open.map(|open| unsafe { &mut *open }).filter(|open| open.operation.start_ns != 0) {
        None => count(counters, Counter::FaultsLostStart),
        Some(open) => {
            let length_ns = now_ns.saturating_sub(open.operation.start_ns);
            open.operation.key.why = call;
            // SAFETY: of the context, which ends with the address.
            let address = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).addr) };
            let found = find(&mut open.mapped, address, open.operation.key.exec_count);
            let (file, memory) = if found { (open.mapped.file, open.mapped.memory) } else { (0, UNREAD) };
            fault_keep(file, memory, length_ns, generation);
            open.operation.start_ns = 0;
        }
    }
    busy.give_back();
    0
}

/// A thread has made a request to a disk: it may be for the page that it needs.
#[inline(always)]
pub(super) fn take_note_of_request(tid: u32) {
    if TASK_NO_FAULTS.load() == 0 {
        return;
    }
    if let Some(open) = OPEN_FAULTS.get_ptr_mut(tid) {
        // SAFETY: the entry is the running thread's, which nothing else writes to.
        unsafe { (*open).requests += 1 };
    }
}

/// Counts a fault of the running thread that ended. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fault_keep(file: u64, memory: u64, length_ns: u64, generation: u32) -> i64 {
    let (Some(open), Some(counters), Some(time)) =
        (OPEN_FAULTS.get_ptr(bpf_get_current_pid_tgid() as u32), counters(generation), CALL_MEMORY.get_ptr_mut(0))
    else {
        // Another thread's has taken its place.
        if let Some(counters) = counters(generation) {
            count(counters, Counter::FaultsLostStart);
        }
        return 1;
    };
    // SAFETY: as above; and the memory is this CPU's, and it is claimed.
    let (fault, time) = unsafe { (&*open, &mut *time) };
    let (open, requests) = (&fault.operation, fault.requests);
    let call = open.key.why;
    let from_disk = call == MAJOR_FAULT || requests != 0;
    let ended = Ended { word: 0, result: 0, start_ns: open.start_ns, length_ns, from_disk };
    let instead = FileKey { inode: memory, system: MEMORY_SYSTEM, generation: 0 };
    keep_operation(file, instead, open.key.tgid, call, &ended, generation);
    time.key = open.key;
    add(counters, Counter::FaultTime, length_ns);
    add_time_of_found(time, length_ns, generation, counters, [Counter::FaultTimeLostFull, Counter::FaultTimeLostBusy]);
    0
}

/// What is mapped at an address, by the kernel's own search.
pub(super) mod mapped {
    use aya_ebpf::helpers::{bpf_get_current_task_btf, generated::bpf_find_vma};
    use perf_ebpf::memory;

    use super::*;

    /// Finds it; false if it cannot be looked for: somebody else changes the mappings, or waits to. The search takes microseconds
    /// (its lock is given back by an interrupt), so what it found holds until the kernel says that the mappings were changed.
    #[inline(always)]
    pub(super) fn find(mapped: &mut Mapped, address: u64, exec_count: u32) -> bool {
        // SAFETY: takes no pointer.
        let task = unsafe { bpf_get_current_task() } as *const c_void;
        let space = read_u64(task, TASK_MEMORY.load());
        let tells_changes = MEMORY_SEQUENCE.load() != 0;
        let sequence = if tells_changes { read_u32(space as *const c_void, MEMORY_SEQUENCE.load()) } else { 0 };
        let is_same = (mapped.space, mapped.sequence, mapped.exec_count) == (space, sequence, exec_count);
        if tells_changes && is_same && mapped.start <= address && address < mapped.end {
            return true;
        }
        // Verifiers want it on the stack. The search is told nothing but the address.
        let mut looked = Mapped { start: address, end: 0, file: 0, memory: UNREAD, space, sequence, exec_count };
        // SAFETY: the task is the running one, and what is passed lives as long as the call.
        let failed = unsafe {
            let task = bpf_get_current_task_btf().cast();
            bpf_find_vma(task, address, look as *mut c_void, (&raw mut looked).cast(), 0)
        };
        if failed != 0 {
            return false;
        }
        *mapped = looked;
        true
    }

    /// Looks at what was found.
    unsafe extern "C" fn look(_task: *mut c_void, area: *const c_void, mapped: *mut Mapped) -> i64 {
        // SAFETY: what `find` passes.
        let mapped = unsafe { &mut *mapped };
        let address = mapped.start;
        [mapped.start, mapped.end] = [0, 8].map(|more| read_u64(area, AREA_START.load() + more));
        mapped.file = read_u64(area, AREA_FILE.load());
        mapped.memory = memory_at(area, address);
        0
    }

    /// What lies at an address that is no file's.
    #[inline(always)]
    fn memory_at(area: *const c_void, address: u64) -> u64 {
        let memory = read_u64(area, AREA_MEMORY.load()) as *const c_void;
        let heap = MEMORY_HEAP.load();
        if heap == 0 {
            return ANONYMOUS;
        }
        let [start, end, stack] = [0, 8, 16].map(|more| read_u64(memory, heap + more));
        // The first stack grows down from where it begins, and arguments lie above.
        match address {
            address if start <= address && address < end => HEAP,
            address if address.wrapping_sub(stack.wrapping_sub(STACK_BYTES)) < STACK_BYTES + ABOVE_BYTES => STACK,
            _ => ANONYMOUS,
        }
    }

    /// What an address is asked for with, and the answer.
    struct Asked {
        address: u64,
        kind: u32,
    }

    /// The kind of memory at an address of the running thread: of [`perf_ebpf::memory`].
    #[inline(always)]
    pub(in super::super) fn kind_at(address: u64) -> u32 {
        let mut asked = Asked { address, kind: memory::UNREAD };
        // SAFETY: the task is the running one, and what is passed lives as long as the call. If it cannot be looked for, the answer is
        // what it was.
        unsafe {
            let task = bpf_get_current_task_btf().cast();
            bpf_find_vma(task, address, answer as *mut c_void, (&raw mut asked).cast(), 0);
        }
        asked.kind
    }

    /// Tells what was found.
    unsafe extern "C" fn answer(_task: *mut c_void, area: *const c_void, asked: *mut Asked) -> i64 {
        // SAFETY: what `kind_at` passes.
        let asked = unsafe { &mut *asked };
        asked.kind = if read_u64(area, AREA_FLAGS.load()) & VM_SHARED != 0 {
            memory::SHARED
        } else if read_u64(area, AREA_FILE.load()) != 0 {
            memory::FILE
        } else {
            match memory_at(area, asked.address) {
                HEAP => memory::HEAP,
                STACK => memory::STACK,
                _ => memory::ANONYMOUS,
            }
        };
        0
    }

    /// Others see what is written there.
    const VM_SHARED: u64 = 8;

    /// What the first thread's stack may grow to, on most machines.
    const STACK_BYTES: u64 = 8 << 20;
    /// What may lie above it.
    const ABOVE_BYTES: u64 = 2 << 20;
}
