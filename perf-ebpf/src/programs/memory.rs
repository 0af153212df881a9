//! Memory that is touched for the first time: of the page faults that needed no disk, some are looked at where they end.

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_prandom_u32},
    macros::{map, perf_event},
    maps::{Array, HashMap, PerCpuArray},
    programs::PerfEventContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    counters::{Counter, Counters},
    memory::{ALIGNMENT, AllMemory, HUGE, IS_PAGE, IS_PRESENT, Rate, TOLD, Touched, UNREAD, page_bytes, table_shift},
    sample::Key,
    target::BOTH_SIDES,
};

use super::{
    counters::{add, count, counters, generation},
    cpu::in_kernel,
    stacks::{Busy, PROCESS, StackIds, Walked, insert_failure, take},
    target::{is_target, now, put_runner, read_u64},
};

/// The smallest pages.
#[unsafe(no_mangle)]
static PAGE_BYTES: Global<u64> = Global::new(4096);

/// The level of the first page table: 3, or 4 where there are five.
#[unsafe(no_mangle)]
static FIRST_TABLE: Global<u32> = Global::new(3);

/// Where `task_struct` has its memory, from BTF.
#[unsafe(no_mangle)]
static TOUCHED_MEMORY: Global<u32> = Global::new(0);

/// Where `mm_struct` has its first page table.
#[unsafe(no_mangle)]
static MEMORY_TABLES: Global<u32> = Global::new(0);

#[map]
static TOUCHED_0: HashMap<Key, Touched> = HashMap::with_max_entries(1, 0);

#[map]
static TOUCHED_1: HashMap<Key, Touched> = HashMap::with_max_entries(1, 0);

/// Where the kernel sees all physical memory.
#[map]
static ALL_MEMORY: Array<AllMemory> = Array::with_max_entries(1, 0);

/// How many faults of the target were told of late.
#[map]
static FAULT_RATE: PerCpuArray<Rate> = PerCpuArray::with_max_entries(1, 0);

/// What is counted under, in the making: the stack of a program has no room.
#[map]
static TOUCHING: PerCpuArray<Key> = PerCpuArray::with_max_entries(1, 0);

/// A fault has ended that needed no disk.
#[perf_event]
pub(super) fn memory_touched(ctx: PerfEventContext) -> u32 {
    touched(&ctx, |_| UNREAD, |_| None, |_| None)
}

/// The same, with user stacks walked by tables, with Python frames, and with what is mapped there: for kernels with `bpf_loop` and
/// `bpf_find_vma` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[perf_event]
pub(super) fn memory_touched_walk(ctx: PerfEventContext) -> u32 {
    // SAFETY: the context of a perf_event program begins with the registers of what was interrupted.
    let registers = unsafe { &(*ctx.ctx).regs };
    touched(
        &ctx,
        super::faults::mapped::kind_at,
        |tgid| super::unwind::walk(PROCESS, tgid, (!in_kernel(&ctx)).then_some(registers)),
        |tgid| super::python::read(PROCESS, tgid),
    )
}

#[inline(always)]
fn touched(
    ctx: &PerfEventContext,
    kind_at: impl FnOnce(u64) -> u32,
    walk: impl FnOnce(u32) -> Option<Walked<'static>>,
    read_python: impl FnOnce(u32) -> Option<Walked<'static>>,
) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if !is_target(tgid) {
        return 0;
    }
    let Some(rate) = FAULT_RATE.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's; faults do not end within the programs that are told of them.
    let one_of = unsafe { (*rate).one_of(now()) };
    // SAFETY: takes no pointer.
    if one_of == 0 || u64::from(unsafe { bpf_get_prandom_u32() }) % one_of != 0 {
        return 0;
    }
    let pages = one_of * TOLD;
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    // SAFETY: of the context, which ends with the address.
    let address = unsafe { core::ptr::read_volatile(&raw const (*ctx.ctx).addr) };
    let page = page_at(address);
    let bytes = pages * page;
    add(counters, Counter::MemoryTaken, bytes);
    add(counters, Counter::MemoryFaults, pages);
    count(counters, Counter::MemorySamples);
    let is_huge = page > PAGE_BYTES.load();
    // Of bytes, some would overflow.
    add(counters, if is_huge { Counter::MemoryHugeSquares } else { Counter::MemorySquares }, pages * pages);
    let Some(key) = TOUCHING.get_ptr_mut(0) else { return 0 };
    let Some(busy) = Busy::claim() else {
        add(counters, Counter::MemoryLostBusy, bytes);
        return 0;
    };
    // SAFETY: this CPU's, and it is claimed.
    let key = unsafe { &mut *key };
    let what = kind_at(address) | if is_huge { HUGE } else { 0 };
    put_runner(key, pid_tgid, what);
    let stacks = take(
        PROCESS,
        BOTH_SIDES,
        ctx.as_ptr(),
        in_kernel(ctx),
        || walk(tgid),
        || read_python(tgid),
        generation,
        counters,
    );
    let stacks = stacks.unwrap_or_else(|_| {
        count(counters, Counter::MemoryStackless);
        StackIds::NONE
    });
    (key.user_stack, key.kernel_stack, key.python_stack) = (stacks.user, stacks.kernel, stacks.python);
    keep(key, bytes, generation, counters);
    busy.give_back();
    0
}

#[inline(always)]
fn keep(key: &Key, bytes: u64, generation: u32, counters: *mut Counters) {
    let sums = if generation == 0 { &TOUCHED_0 } else { &TOUCHED_1 };
    if let Some(sum) = sums.get_ptr_mut(key) {
        // SAFETY: the key names one thread, which runs here; and user space touches a generation only when no program writes to it any
        // more.
        unsafe { (*sum).bytes += bytes };
    } else if let Err(error) = sums.insert(key, &Touched { bytes, first_ns: now() }, u64::from(BPF_NOEXIST)) {
        add(counters, insert_failure(error, Counter::MemoryLostFull, Counter::MemoryLostBusy), bytes);
    }
}

/// The bytes of the page at an address of the running thread: what its page tables say, on x86-64.
#[inline(always)]
fn page_at(address: u64) -> u64 {
    let smallest = PAGE_BYTES.load();
    // SAFETY: takes no pointer.
    let memory = read_u64(unsafe { bpf_get_current_task() } as *const c_void, TOUCHED_MEMORY.load());
    let mut table = read_u64(memory as *const c_void, MEMORY_TABLES.load());
    if memory == 0 || table == 0 {
        return smallest;
    }
    let Some((all, address_bits)) = all_memory(table) else { return smallest };
    let mut level = FIRST_TABLE.load();
    // At most from the fifth table down to the second: the entries of the last lead to smallest pages.
    for _ in 0..4 {
        let entry = read_u64(table as *const c_void, ((address >> table_shift(level)) & 511) as u32 * 8);
        if level == 0 || entry & IS_PRESENT == 0 {
            return smallest;
        }
        if entry & IS_PAGE != 0 && level < 3 {
            return page_bytes(level);
        }
        table = all.wrapping_add(entry & address_bits);
        level -= 1;
    }
    smallest
}

/// Beginnings of all memory that are tried for a fault.
const TRIES: u32 = 32;

/// Where all memory begins, and which bits of page tables' entries are addresses in it, as far as that is known; `table` is the first
/// table of a process.
#[inline(always)]
fn all_memory(table: u64) -> Option<(u64, u64)> {
    let known = ALL_MEMORY.get_ptr_mut(0)?;
    // SAFETY: of the map. Other CPUs may try the same meanwhile, and find the same.
    let known = unsafe { &mut *known };
    if known.base != 0 {
        return Some((known.base, known.address_bits));
    }
    if known.physical == 0 {
        return None;
    }
    if known.highest == 0 {
        known.highest = table & !(ALIGNMENT - 1);
    }
    for _ in 0..TRIES {
        let tried = known.tried;
        if tried >= known.most {
            return None;
        }
        let base = known.highest.wrapping_sub(tried * ALIGNMENT);
        known.tried = tried + 1;
        if read_u64(base.wrapping_add(known.physical) as *const c_void, 0) == !known.inverted {
            known.base = base;
            return Some((base, known.address_bits));
        }
    }
    None
}
