//! Reading CPython's own frames of the running thread, out of the interpreter's memory.

use aya_ebpf::{
    Global,
    bindings::{BPF_ANY, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user,
        generated::{bpf_loop, bpf_probe_read_user as read_bytes},
    },
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use core::ffi::c_void;
use perf_ebpf::{
    python::{
        ABSENT, BYTES_SIZE, BYTES_START, CODE_BYTES, CODE_WORDS, CodeHead, CodeKey, CodeSays, Ending, FRAME_BYTES,
        FRAME_WORDS, Frame, Header, LINES_BYTES, Process, TEXT_HASH, TEXT_LENGTH, TEXT_STATE, Text, text_form,
    },
    stack::{DeepFrames, MAX_DEEP_FRAMES, STACK_ID_SEED, finish, mix},
};

use super::stacks::{MEMORIES, Walked};

/// Where `task_struct` of the running kernel keeps the thread's base of the segment FS: from BTF; 0 turns all of this off.
#[unsafe(no_mangle)]
static FS_BASE_OFFSET: Global<u32> = Global::new(0);

/// The processes that run an interpreter.
#[map]
static PYTHON: HashMap<u32, Process> = HashMap::with_max_entries(1, 0);

/// The code objects that user space has been told of. Only programs touch it, so no lock of it is ever held by what they
/// interrupt.
#[map]
static PYTHON_KNOWN: LruHashMap<CodeKey, u32> = LruHashMap::with_max_entries(1, 0);

/// What is told: records of different lengths.
#[map]
static PYTHON_CODE: RingBuf = RingBuf::with_byte_size(4096, 0);

/// A record in the making. Too large for the stack of a program.
#[repr(C)]
struct Record {
    head: CodeHead,
    lines: [u8; LINES_BYTES],
}

#[map]
static PYTHON_RECORD: PerCpuArray<Record> = PerCpuArray::with_max_entries(MEMORIES, 0);

#[map]
static PYTHON_WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(MEMORIES, 0);

/// Threads of a process that are looked through for the running one.
const MAX_THREADS: u32 = 512;

/// Steps from frame to frame: frames that are kept, and as many that stand for calls of the interpreter's loop.
const MAX_STEPS: u32 = MAX_DEEP_FRAMES as u32;

/// A walk, as it goes.
#[repr(C)]
struct Walk {
    process: Process,
    /// The base of the segment FS.
    thread_id: u64,
    /// Where the walk is: interpreter, thread, frame. 0 behind the last one.
    interpreter: u64,
    thread: u64,
    frame: u64,
    id: u64,
    used: u32,
    /// [`Ending`].
    ending: u32,
    frame_words: [u64; FRAME_WORDS],
    code_words: [u64; CODE_WORDS],
    frames: DeepFrames,
}

/// The Python frames of the running thread; `None` if it is none of an interpreter's, or runs no Python code.
#[inline(always)]
pub(super) fn read(memory: u32, tgid: u32) -> Option<Walked<'static>> {
    let offset = FS_BASE_OFFSET.load();
    if offset == 0 {
        return None;
    }
    // SAFETY: the map's memory stays; what is copied while an entry is replaced leads to reads that fail, or to a number that
    // user space does not know.
    let process = unsafe { PYTHON.get(tgid) }?;
    let walk = PYTHON_WALK.get_ptr_mut(memory)?;
    // SAFETY: this CPU's; nothing that walks in it interrupts a walk.
    let walk = unsafe { &mut *walk };
    walk.process = *process;
    // SAFETY: takes no pointer; then reads kernel memory through the helper, which fails rather than faults.
    walk.thread_id = unsafe {
        let task = bpf_get_current_task() as *const c_void;
        bpf_probe_read_kernel(task.byte_add(offset as usize).cast::<u64>())
    }
    .ok()?;
    let layout = &walk.process.layout;
    walk.interpreter = word(walk.process.runtime, layout.interpreters)?;
    walk.thread = word(walk.interpreter, layout.threads)?;
    walk.frame = 0;
    let mut memory = memory;
    // SAFETY: the context lives as long as the loop.
    unsafe { bpf_loop(MAX_THREADS, find_thread as *mut c_void, (&raw mut memory).cast(), 0) };
    if walk.frame == 0 {
        return None;
    }
    // The header, which is mixed in last.
    (walk.used, walk.id) = (1, STACK_ID_SEED);
    walk.ending = Ending::Deep as u32;
    // SAFETY: as above.
    unsafe { bpf_loop(MAX_STEPS, one as *mut c_void, (&raw mut memory).cast(), 0) };
    let header = Header { number: walk.process.number, ending: walk.ending };
    walk.frames[0] = header.word();
    walk.frames[walk.used as usize & (MAX_DEEP_FRAMES - 1)] = 0;
    let id = finish(mix(walk.id, header.word()));
    Some(Walked { id, frames: &walk.frames, used: walk.used, cut_at_depth: walk.ending == Ending::Deep as u32 })
}

/// Looks at one thread; 1 when it is the running one, or when there are no more.
unsafe extern "C" fn find_thread(_index: u64, memory: *mut u32) -> i64 {
    // SAFETY: what `read` passes.
    let memory = unsafe { *memory };
    let Some(walk) = PYTHON_WALK.get_ptr_mut(memory) else { return 1 };
    // SAFETY: as in `read`, which waits for this.
    let walk = unsafe { &mut *walk };
    i64::from(next_thread(walk).is_none())
}

#[inline(always)]
fn next_thread(walk: &mut Walk) -> Option<()> {
    let layout = &walk.process.layout;
    if walk.thread == 0 {
        walk.interpreter = word(walk.interpreter, layout.next_interpreter)?;
        if walk.interpreter == 0 {
            return None;
        }
        walk.thread = word(walk.interpreter, layout.threads)?;
        return Some(());
    }
    if word(walk.thread, layout.thread_id)? == walk.thread_id {
        let top = word(walk.thread, layout.top)?;
        let frame = if layout.top_frame == ABSENT { top } else { word(top, layout.top_frame)? };
        // A thread that has state in several interpreters runs in the one where it has frames.
        if frame != 0 {
            walk.frame = frame;
            return None;
        }
    }
    walk.thread = word(walk.thread, layout.next_thread)?;
    Some(())
}

/// One step; 1 ends the walk.
unsafe extern "C" fn one(_index: u64, memory: *mut u32) -> i64 {
    // SAFETY: what `read` passes.
    let memory = unsafe { *memory };
    let Some(walk) = PYTHON_WALK.get_ptr_mut(memory) else { return 1 };
    // SAFETY: as in `read`, which waits for this.
    let walk = unsafe { &mut *walk };
    if walk.frame == 0 {
        walk.ending = Ending::Whole as u32;
        return 1;
    }
    // The last place is for the zero that ends a short stack.
    if walk.used as usize > MAX_DEEP_FRAMES - 3 {
        return 1;
    }
    if next_frame(walk, memory).is_some() {
        return 0;
    }
    walk.ending = Ending::Unreadable as u32;
    1
}

/// Keeps the frame, and goes to its caller.
#[inline(always)]
fn next_frame(walk: &mut Walk, memory: u32) -> Option<()> {
    let layout = &walk.process.layout;
    // SAFETY: the helper fails rather than faults; what it reads fits.
    let failed =
        unsafe { read_bytes((&raw mut walk.frame_words).cast(), FRAME_BYTES as u32, walk.frame as *const c_void) };
    if failed != 0 {
        return None;
    }
    let says = layout.frame(&walk.frame_words);
    if says.outermost && layout.is_shim != 0 {
        walk.keep(Frame::CALL);
        walk.frame = says.previous;
        return Some(());
    }
    // SAFETY: as above.
    let failed =
        unsafe { read_bytes((&raw mut walk.code_words).cast(), CODE_BYTES as u32, says.code as *const c_void) };
    if failed != 0 {
        return None;
    }
    let code = layout.code(&walk.code_words);
    // Code of the interpreter's own, which is no function of the program's, has no name.
    if code.name != 0 {
        // A name that nobody has looked for yet has no hash, and one whose page is not there has none now: the code is told of
        // again once that changes.
        let frame = layout.kept(says, code, word(code.name, TEXT_HASH).unwrap_or(0));
        let key = CodeKey { number: walk.process.number, check: frame.check, code: frame.code };
        if PYTHON_KNOWN.get_ptr(&key).is_none() && tell(memory, walk, key, code).is_some() {
            let _ = PYTHON_KNOWN.insert(&key, &1, u64::from(BPF_ANY));
        }
        walk.keep(frame);
    }
    walk.frame = says.previous;
    Some(())
}

impl Walk {
    #[inline(always)]
    fn keep(&mut self, frame: Frame) {
        for word in frame.words() {
            self.frames[self.used as usize & (MAX_DEEP_FRAMES - 1)] = word;
            self.used += 1;
            self.id = mix(self.id, word);
        }
    }
}

/// Tells user space of a code object; `None` if not all of it can be read now, or there is no room. A name is worth telling
/// alone: pages of a file that nobody has needed yet are not there, as those of tables of lines often are.
#[inline(always)]
fn tell(memory: u32, walk: &Walk, key: CodeKey, code: CodeSays) -> Option<()> {
    let CodeSays { name, file, lines, first_line } = code;
    let record = PYTHON_RECORD.get_ptr_mut(memory)?;
    // SAFETY: this CPU's.
    let record = unsafe { &mut *record };
    let head = &mut record.head;
    (head.key, head.first_line) = (key, first_line);
    text(walk, name, &mut head.name)?;
    let has_file = text(walk, file, &mut head.file).is_some();
    if !has_file {
        (head.file.width, head.file.whole) = (1, 0);
    }
    let size = word(lines, BYTES_SIZE);
    let whole = size.unwrap_or(0) as u32;
    let mut bytes = at_most(whole, LINES_BYTES as u32);
    let has_lines = size.is_some() && copy(&raw mut record.lines, bytes, lines.wrapping_add(BYTES_START)).is_some();
    if !has_lines {
        bytes = 0;
    }
    head.lines_whole = if has_lines { whole } else { 0 };
    let used = size_of::<CodeHead>() + bytes as usize;
    // SAFETY: not longer than the record.
    let record = unsafe { core::slice::from_raw_parts(core::ptr::from_mut(record).cast::<u8>(), used) };
    PYTHON_CODE.output::<[u8]>(record, u64::from(BPF_RB_NO_WAKEUP)).ok()?;
    (has_file && has_lines).then_some(())
}

#[inline(always)]
fn text<const BYTES: usize>(walk: &Walk, object: u64, into: &mut Text<BYTES>) -> Option<()> {
    let (length, state) = (word(object, TEXT_LENGTH)?, word(object, TEXT_STATE)? as u32);
    let (width, is_ascii) = text_form(state)?;
    let layout = &walk.process.layout;
    let start = if is_ascii { layout.ascii } else { layout.characters };
    into.width = width;
    into.whole = if length > u64::from(u16::MAX) { u32::from(u16::MAX) } else { length as u32 } * width;
    let bytes = at_most(into.whole, BYTES as u32);
    copy(&raw mut into.bytes, bytes, object.wrapping_add(u64::from(start)))
}

/// Copies so many bytes of user memory.
#[inline(always)]
fn copy<const BYTES: usize>(into: *mut [u8; BYTES], bytes: u32, from: u64) -> Option<()> {
    if bytes > BYTES as u32 {
        return None;
    }
    // SAFETY: it fits, as was just checked; the helper fails rather than faults.
    (unsafe { read_bytes(into.cast(), bytes, from as *const c_void) } == 0).then_some(())
}

#[inline(always)]
fn at_most(value: u32, limit: u32) -> u32 {
    if value > limit { limit } else { value }
}

/// A word of user memory.
#[inline(always)]
fn word(base: u64, offset: u16) -> Option<u64> {
    // SAFETY: the helper fails rather than faults.
    unsafe { bpf_probe_read_user((base.wrapping_add(u64::from(offset))) as *const u64) }.ok()
}
