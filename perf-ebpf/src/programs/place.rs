//! The stacks of a thread that leaves the CPU, or wakes another: in a storm of waits at one place not each time.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::{
    bindings::{BPF_ANY, bpf_raw_tracepoint_args},
    helpers::bpf_get_prandom_u32,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use core::ffi::c_void;
use perf_ebpf::{
    counters::Counter,
    file_calls::OpenOperation,
    sample::Key,
    sched::{
        STORM_NS, STORM_SHARE, Seen,
        place::{self, How},
    },
    stack::mix,
    target::SIDE_USER,
};

use super::{
    counters::{count, counters},
    sched::WINDOW_STARTS,
    stacks::{MEMORIES, PROCESS, StackIds, TRACEPOINT, Walked, take},
    target::{now, put_runner},
};

/// The last stacks of threads, by thread and place.
#[map]
static PLACES: LruHashMap<u64, Seen> = LruHashMap::with_max_entries(1, 0);

/// What is asked of, and answered by, what takes stacks: a function of its own, so that each is there once.
#[repr(C)]
struct Taking {
    /// Which stacks.
    sides: u32,
    tid: u32,
    /// [`super::system_call::Entry::place`].
    at: u64,
    now_ns: u64,
    generation: u32,
    reserved: u32,
    /// [`perf_ebpf::sched::WaitKey::place`].
    place: u64,
    /// The ids: user, kernel, Python.
    stacks: [u64; 3],
    /// [`perf_ebpf::sched::Thread::fp`].
    fp: u64,
}

/// What is taken now on this CPU: nothing that takes stacks in one of its [memories](MEMORIES) interrupts another.
#[map]
static TAKING: PerCpuArray<Taking> = PerCpuArray::with_max_entries(MEMORIES, 0);

/// When, in which generation of maps, and which stacks of whom.
pub(super) struct Asked {
    /// In which memory: that of what takes the stacks.
    pub(super) memory: u32,
    pub(super) sides: u32,
    pub(super) tid: u32,
    pub(super) at: u64,
    pub(super) now_ns: u64,
    pub(super) generation: u32,
}

/// The frame pointer with which the running thread came into the kernel, if its stack was just taken by tables; else 0.
#[inline(always)]
pub(super) fn first_fp() -> u64 {
    // SAFETY: this CPU's.
    TAKING.get_ptr(TRACEPOINT).map_or(0, |taking| unsafe { (*taking).fp })
}

/// The stacks of the running thread, and [`perf_ebpf::sched::WaitKey::place`]: in a storm those that were taken last at this
/// place. `None` if they found no place.
#[inline(always)]
pub(super) fn stacks_at(
    ctx: &RawTracePointContext,
    asked: Asked,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
) -> Option<(u64, StackIds)> {
    if asked.sides == 0 {
        return Some((0, StackIds::NONE));
    }
    let taking = TAKING.get_ptr_mut(asked.memory)?;
    // SAFETY: this CPU's.
    unsafe {
        (*taking).sides = asked.sides;
        (*taking).tid = asked.tid;
        (*taking).at = asked.at;
        (*taking).now_ns = asked.now_ns;
        (*taking).generation = asked.generation;
        (*taking).place = 0;
        (*taking).fp = 0;
    }
    if take(ctx.as_ptr().cast(), asked.memory) != 0 {
        return None;
    }
    // SAFETY: as above.
    let Taking { place, stacks: [user, kernel, python], .. } = unsafe { &*taking };
    Some((*place, StackIds { user: *user, kernel: *kernel, python: *python }))
}

/// Puts the stacks of the running thread into what is counted; that they found no place is counted as `missing`.
#[inline(always)]
pub(super) fn put_stacks(
    key: &mut Key,
    missing: Counter,
    ctx: &RawTracePointContext,
    asked: Asked,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
) {
    let generation = asked.generation;
    let (_, stacks) = stacks_at(ctx, asked, take).unwrap_or_else(|| {
        if let Some(counters) = counters(generation) {
            count(counters, missing);
        }
        (0, StackIds::NONE)
    });
    (key.user_stack, key.kernel_stack, key.python_stack) = (stacks.user, stacks.kernel, stacks.python);
}

/// Puts who asks for an operation of this number, where and when; a stack that finds no place is counted as `missing`.
#[inline(always)]
pub(super) fn put_asked(
    open: &mut OpenOperation,
    ctx: &RawTracePointContext,
    (call, missing): (u32, Counter),
    pid_tgid: u64,
    place: u64,
    generation: u32,
    take: impl FnOnce(*mut bpf_raw_tracepoint_args, u32) -> i64,
) {
    let tid = pid_tgid as u32;
    let at = place_for(place, ASKS | u64::from(call));
    let asked = Asked { memory: PROCESS, sides: SIDE_USER, tid, at, now_ns: now(), generation };
    put_stacks(&mut open.key, missing, ctx, asked, take);
    put_runner(&mut open.key, pid_tgid, call);
    // What was done until here is none of its time.
    open.start_ns = now();
}

/// What tells apart what a thread does `what` for at a place; 0 where that is not known.
#[inline(always)]
pub(super) fn place_for(place: u64, what: u64) -> u64 {
    if place == 0 { 0 } else { mix(place, what) }
}

/// What tells the places where a thread asks for operations from others.
const ASKS: u64 = 0x5552_0000;

/// Takes user stacks by frame pointers, in this memory. The type of the context is what verifiers know it by, in functions that
/// they look at once, whatever calls them.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn stacks_by_pointers(ctx: *mut bpf_raw_tracepoint_args, memory: u32) -> i64 {
    taken(memory, ctx.cast(), || None, || None)
}

/// Takes user stacks by tables, and Python frames.
#[cfg(bpf_target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn stacks_by_tables(ctx: *mut bpf_raw_tracepoint_args, memory: u32) -> i64 {
    let tgid = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
    let walk = || {
        if let Some(taking) = TAKING.get_ptr_mut(memory) {
            // SAFETY: this CPU's.
            unsafe { (*taking).fp = super::unwind::entered_fp() };
        }
        super::unwind::walk(memory, tgid, None)
    };
    taken(memory, ctx.cast(), walk, || super::python::read(memory, tgid))
}

/// 0 if [`TAKING`] holds the answer.
#[inline(always)]
fn taken(
    memory: u32,
    ctx: *mut c_void,
    walk: impl FnOnce() -> Option<Walked<'static>>,
    read_python: impl FnOnce() -> Option<Walked<'static>>,
) -> i64 {
    let Some(taking) = TAKING.get_ptr_mut(memory) else { return 1 };
    // SAFETY: this CPU's.
    let taking = unsafe { &mut *taking };
    let generation = taking.generation;
    let Some(counters) = counters(generation) else { return 1 };
    let id = mix(taking.at, u64::from(taking.tid));
    let mut how = How::Own;
    if taking.at != 0
        && let Some(seen) = PLACES.get_ptr(&id)
    {
        // SAFETY: the thread's own, and it runs here.
        let seen = unsafe { &*seen };
        // What is skipped has to have one that was taken in the same window.
        let is_storm = taking.now_ns.wrapping_sub(seen.taken_ns) < STORM_NS
            && WINDOW_STARTS.get(generation).is_some_and(|start_ns| seen.taken_ns >= *start_ns);
        // SAFETY: takes no pointer.
        if is_storm && unsafe { bpf_get_prandom_u32() } % STORM_SHARE != 0 {
            (taking.place, taking.stacks) = (place::with(taking.at, How::Skipped), seen.stacks);
            return 0;
        }
        if is_storm {
            how = How::Sampled;
        }
    }
    let Ok(stacks) = take(memory, taking.sides, ctx, true, walk, read_python, generation, counters) else { return 1 };
    taking.stacks = [stacks.user, stacks.kernel, stacks.python];
    if taking.at != 0 {
        taking.place = place::with(taking.at, how);
        let seen = Seen { taken_ns: taking.now_ns, stacks: taking.stacks };
        let _ = PLACES.insert(&id, &seen, u64::from(BPF_ANY));
    }
    0
}
