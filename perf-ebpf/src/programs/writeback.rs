//! Who changed the pages that the kernel writes later, by threads of its own.

use aya_ebpf::{
    Global,
    bindings::{BPF_ANY, bpf_raw_tracepoint_args},
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task},
    macros::{map, raw_tracepoint},
    maps::{LruHashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    block::{DIRTY_PAGES, Dirtier, DirtyKey, LEFT_NS, LastChange, NOTED_NS, Operation, SAME_WAY_NS, WRITTEN_NS},
    counters::Counter,
    target::BOTH_SIDES,
};

use super::{
    counters::generation,
    files,
    place::{Asked, place_for, put_stacks, stacks_by_pointers},
    stacks::{Busy, PROCESS},
    system_call::{Entry, by_offset},
    target::{is_target, now, put_runner, read_u32, read_u64},
};

/// Where `folio` of the running kernel, or `page`, keeps its place in its file: from BTF; 0 if that is not known.
#[unsafe(no_mangle)]
static PAGE_INDEX: Global<u32> = Global::new(0);

/// Where `task_struct` keeps what kind of a thread it is.
#[unsafe(no_mangle)]
static TASK_FLAGS: Global<u32> = Global::new(0);

/// Who changed pages last.
#[map]
static DIRTIERS: LruHashMap<DirtyKey, Dirtier> = LruHashMap::with_max_entries(1, 0);

/// What each CPU's last thread changed.
#[map]
static LAST_CHANGE: PerCpuArray<LastChange> = PerCpuArray::with_max_entries(1, 0);

/// One in the making: the stack of a program has no room for it.
#[map]
static CHANGING: PerCpuArray<Dirtier> = PerCpuArray::with_max_entries(1, 0);

/// `writeback_dirty_folio(struct folio *folio, struct address_space *mapping)`, on older kernels `writeback_dirty_page`: the running
/// thread changes a page, or several, that were as on the disk.
#[raw_tracepoint(tracepoint = "writeback_dirty_folio")]
pub(super) fn page_changes(ctx: RawTracePointContext) -> i32 {
    changes(&ctx, |ctx, memory| stacks_by_pointers(ctx, memory), by_offset)
}

/// The same, with user stacks walked by tables, and with Python frames: for kernels with `bpf_loop` (5.17).
#[cfg(bpf_target_arch = "x86_64")]
#[raw_tracepoint(tracepoint = "writeback_dirty_folio")]
pub(super) fn page_changes_walk(ctx: RawTracePointContext) -> i32 {
    changes(&ctx, |ctx, memory| super::place::stacks_by_tables(ctx, memory), super::system_call::by_helper)
}

#[inline(always)]
fn changes(
    ctx: &RawTracePointContext,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
    entry: impl FnOnce() -> Entry,
) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if !is_target((pid_tgid >> 32) as u32) {
        return 0;
    }
    let mapping: *const c_void = ctx.arg(1);
    let pages = pages(ctx.arg(0), mapping);
    let (tid, now_ns) = (pid_tgid as u32, now());
    if is_last(pages, tid, now_ns) {
        return 0;
    }
    let inode = files::owner_of(mapping);
    let Entry { place, .. } = entry();
    let at = place_for(place, CHANGES);
    if let Some(known) = DIRTIERS.get_ptr_mut(pages) {
        // SAFETY: memory of the map; all who write this write the same.
        let known = unsafe { &mut *known };
        let is_same = (known.key.tid, known.at) == (tid, at) && files::is_inode_of(inode, known.file);
        if at != 0 && is_same && now_ns.wrapping_sub(known.place_ns) < SAME_WAY_NS {
            known.written_ns = 0;
            return 0;
        }
    }
    if files::of_disk(inode).is_null() {
        return 0;
    }
    let Some(busy) = Busy::claim() else {
        // Better nobody than the one before; and the next page is looked at again.
        let _ = DIRTIERS.remove(pages);
        if let Some(last) = LAST_CHANGE.get_ptr_mut(0) {
            // SAFETY: as in `is_last`.
            unsafe { (*last).noted_ns = 0 };
        }
        return 0;
    };
    if let Some(changing) = CHANGING.get_ptr_mut(0) {
        // SAFETY: this CPU's, and it is claimed.
        let changing = unsafe { &mut *changing };
        (changing.file, changing.at) = (files::key_of(inode, files::system_of(inode)), at);
        (changing.place_ns, changing.written_ns) = (now_ns, 0);
        put_runner(&mut changing.key, pid_tgid, Operation::Writeback as u32);
        let asked = Asked { memory: PROCESS, sides: BOTH_SIDES, tid, at, now_ns, generation: generation() };
        put_stacks(&mut changing.key, Counter::IoStackless, ctx, asked, take);
        let _ = DIRTIERS.insert(pages, &*changing, u64::from(BPF_ANY));
    }
    busy.give_back();
    0
}

/// The pages of a file that one is among.
#[inline(always)]
fn pages(page: *const c_void, mapping: *const c_void) -> DirtyKey {
    DirtyKey { mapping: mapping as u64, part: read_u64(page, PAGE_INDEX.load()) / DIRTY_PAGES }
}

/// Whether this thread goes on to change the same pages; takes note of it otherwise.
#[inline(always)]
fn is_last(pages: DirtyKey, tid: u32, now_ns: u64) -> bool {
    let Some(last) = LAST_CHANGE.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's; a thread that comes between has others' pages looked at once more, or not for so long.
    let last = unsafe { &mut *last };
    let goes_on = last.pages == pages && last.tid == u64::from(tid);
    if goes_on && now_ns.wrapping_sub(last.noted_ns) < NOTED_NS {
        return true;
    }
    *last = LastChange { pages, noted_ns: now_ns, tid: u64::from(tid) };
    false
}

/// Whether it is known who changed pages.
#[inline(always)]
pub(super) fn is_told() -> bool {
    PAGE_INDEX.load() != 0
}

/// Who changed last what a request writes, if it is a thread of the kernel's own that asks for it, and if that is known and cannot be
/// another by now. Takes note that it is written, whoever asks.
#[inline(always)]
pub(super) fn dirtier(request: *const c_void) -> Option<&'static Dirtier> {
    let page = files::page_of(request);
    let mapping = files::mapping_of(page);
    if mapping.is_null() {
        return None;
    }
    let dirtier = DIRTIERS.get_ptr_mut(pages(page, mapping))?;
    // SAFETY: memory of the map; it may become another's meanwhile, which is not worse than a moment later.
    let dirtier = unsafe { &mut *dirtier };
    let now_ns = now();
    if dirtier.written_ns == 0 {
        dirtier.written_ns = now_ns;
    }
    let is_left = now_ns.saturating_sub(dirtier.written_ns) < WRITTEN_NS
        && now_ns.saturating_sub(dirtier.place_ns) < LEFT_NS
        && is_kernels();
    let inode = files::owner_of(mapping);
    (is_left && files::key_of(inode, files::system_of(inode)) == dirtier.file).then_some(&*dirtier)
}

/// Whether a thread of the kernel's own runs.
#[inline(always)]
fn is_kernels() -> bool {
    // SAFETY: takes no pointer.
    let task = unsafe { bpf_get_current_task() } as *const c_void;
    read_u32(task, TASK_FLAGS.load()) & PF_KTHREAD != 0
}

/// `PF_KTHREAD`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// What tells the places where a thread changes pages from others.
const CHANGES: u64 = 0x5752_0000;
