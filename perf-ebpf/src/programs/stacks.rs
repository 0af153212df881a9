//! Reading the stacks of the running thread and keeping each distinct one once a window.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_USER_STACK, BPF_NOEXIST},
    helpers::bpf_get_stack,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use core::ffi::c_void;
use perf_ebpf::stack::{DeepFrames, FRAMES_BYTES, Frames, MAX_FRAMES, STACK_ID_SEED, finish, mix};
use perf_ebpf::{
    counters::{Counter, Counters},
    target::{BOTH_SIDES, SIDE_KERNEL, SIDE_USER},
};

use super::counters::count;

/// Which sides of a stack to keep, as bits.
#[unsafe(no_mangle)]
static STACK_SIDES: Global<u32> = Global::new(BOTH_SIDES);

#[map]
static STACKS_0: HashMap<u64, Frames> = HashMap::with_max_entries(1, 0);

#[map]
static STACKS_1: HashMap<u64, Frames> = HashMap::with_max_entries(1, 0);

/// Stacks with more frames than [`Frames`] holds.
#[map]
static DEEP_STACKS_0: HashMap<u64, DeepFrames> = HashMap::with_max_entries(1, 0);

#[map]
static DEEP_STACKS_1: HashMap<u64, DeepFrames> = HashMap::with_max_entries(1, 0);

/// Which of the memories of a CPU a program works in: the sampler's interrupt may come while another program works.
pub(super) const SAMPLER: u32 = 0;
/// As [`SAMPLER`]: of programs that no other one of these interrupts.
pub(super) const TRACEPOINT: u32 = 1;
/// As [`SAMPLER`]: of programs that run in the middle of what a thread does, and that others of these may interrupt: who
/// works in it has to [claim](Busy::claim) it.
pub(super) const PROCESS: u32 = 2;
/// How many there are.
pub(super) const MEMORIES: u32 = 3;

#[map]
static SCRATCH: PerCpuArray<Frames> = PerCpuArray::with_max_entries(MEMORIES, 0);

/// 1 while a program of this CPU works in [`PROCESS`]. Where the kernel lets another thread preempt one that runs such a program,
/// or an interrupt asks for something, another may begin meanwhile.
#[map]
static BUSY: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// That the memory [`PROCESS`] of this CPU is in use.
pub(super) struct Busy(*mut u32);

impl Busy {
    /// `None` if it is already.
    #[inline(always)]
    pub(super) fn claim() -> Option<Self> {
        let busy = BUSY.get_ptr_mut(0)?;
        // SAFETY: this CPU's; volatile, so that nothing is moved out from between this and the end.
        unsafe {
            if busy.read_volatile() != 0 {
                return None;
            }
            busy.write_volatile(1);
        }
        Some(Self(busy))
    }

    /// It is not any more.
    #[inline(always)]
    pub(super) fn give_back(self) {
        // SAFETY: as above.
        unsafe { self.0.write_volatile(0) };
    }
}

/// The ids of a sample's stacks, 0 for none.
pub(super) struct StackIds {
    pub(super) user: u64,
    pub(super) kernel: u64,
    pub(super) python: u64,
}

impl StackIds {
    /// Of nothing.
    pub(super) const NONE: Self = Self { user: 0, kernel: 0, python: 0 };
}

/// A user stack that was walked by tables, or the Python frames of one.
pub(super) struct Walked<'map> {
    pub(super) id: u64,
    pub(super) frames: &'map DeepFrames,
    /// Frames in use; a zero follows, if there is place.
    pub(super) used: u32,
    /// Whether there are more frames than are kept.
    pub(super) cut_at_depth: bool,
}

/// Reads those of the stacks that are kept and on the `sides` asked for, and stores them, or says why the sample is lost.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "inlined")]
pub(super) fn take(
    memory: u32,
    sides: u32,
    ctx: *mut c_void,
    kernel_mode: bool,
    walk: impl FnOnce() -> Option<Walked<'static>>,
    read_python: impl FnOnce() -> Option<Walked<'static>>,
    generation: u32,
    counters: *mut Counters,
) -> Result<StackIds, Counter> {
    let sides = sides & STACK_SIDES.load();
    // These counters are of CPU samples.
    let count_cut = |counter| {
        if memory == SAMPLER {
            count(counters, counter);
        }
    };
    let Some(scratch) = SCRATCH.get_ptr_mut(memory) else { return Err(Counter::LostMapBusy) };
    let mut ids = StackIds::NONE;
    if sides & SIDE_USER != 0
        && let Some(walked) = walk()
    {
        if walked.cut_at_depth {
            count_cut(Counter::UserTruncated);
        }
        ids.user = store_walked(&walked, generation)?;
    } else if sides & SIDE_USER != 0 {
        // SAFETY: the buffer is `FRAMES_BYTES` long, and `ctx` is the context this program was called with.
        let bytes = unsafe { bpf_get_stack(ctx, scratch.cast(), FRAMES_BYTES as u32, u64::from(BPF_F_USER_STACK)) };
        if bytes > 0 {
            if bytes >= FRAMES_BYTES as i64 {
                count_cut(Counter::UserTruncated);
            }
            ids.user = store(scratch, bytes, generation)?;
        } else if !kernel_mode {
            count_cut(Counter::UserStackFailed);
        }
    }
    if sides & SIDE_USER != 0
        && let Some(read) = read_python()
    {
        if read.cut_at_depth {
            count_cut(Counter::PythonTruncated);
        }
        ids.python = store_walked(&read, generation)?;
    }
    if sides & SIDE_KERNEL != 0 && kernel_mode {
        // SAFETY: as above.
        let bytes = unsafe { bpf_get_stack(ctx, scratch.cast(), FRAMES_BYTES as u32, 0) };
        if bytes > 0 {
            if bytes >= FRAMES_BYTES as i64 {
                count_cut(Counter::KernelTruncated);
            }
            ids.kernel = store(scratch, bytes, generation)?;
        }
    }
    Ok(ids)
}

#[inline(always)]
fn store(scratch: *mut Frames, bytes: i64, generation: u32) -> Result<u64, Counter> {
    // SAFETY: this CPU's scratch; `bpf_get_stack` has filled all of it (it zeroes what it does not use).
    let frames = unsafe { &*scratch };
    let used = bytes as usize / size_of::<u64>();
    let mut id = STACK_ID_SEED;
    let mut at = 0;
    while at < MAX_FRAMES && at < used {
        id = mix(id, frames[at]);
        at += 1;
    }
    let id = finish(id);
    insert(if generation == 0 { &STACKS_0 } else { &STACKS_1 }, id, frames)
}

#[inline(always)]
fn store_walked(walked: &Walked<'_>, generation: u32) -> Result<u64, Counter> {
    if walked.used <= MAX_FRAMES as u32 {
        // SAFETY: the deep frames begin with as many as a stack has, and a zero ends them.
        let frames = unsafe { &*core::ptr::from_ref(walked.frames).cast::<Frames>() };
        return insert(if generation == 0 { &STACKS_0 } else { &STACKS_1 }, walked.id, frames);
    }
    insert(if generation == 0 { &DEEP_STACKS_0 } else { &DEEP_STACKS_1 }, walked.id, walked.frames)
}

#[inline(always)]
fn insert<T>(stacks: &HashMap<u64, T>, id: u64, frames: &T) -> Result<u64, Counter> {
    if stacks.get_ptr(id).is_some() {
        return Ok(id);
    }
    match stacks.insert(id, frames, u64::from(BPF_NOEXIST)) {
        Ok(()) | Err(EEXIST) => Ok(id),
        Err(error) => Err(insert_failure(error, Counter::LostStacksFull, Counter::LostMapBusy)),
    }
}

/// What a refused insertion means: `full` when the map had no room, else that it was `busy`.
#[inline(always)]
pub(super) fn insert_failure(error: i32, full: Counter, busy: Counter) -> Counter {
    if error == E2BIG || error == ENOMEM { full } else { busy }
}

const EEXIST: i32 = -17;
const E2BIG: i32 = -7;
const ENOMEM: i32 = -12;
