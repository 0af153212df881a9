//! Walking a user stack by the tables that user space made of the files' call frame information.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, pt_regs},
    helpers::{
        bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user,
        generated::{bpf_loop, bpf_probe_read_kernel as read_kernel, bpf_task_pt_regs},
    },
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use core::ffi::c_void;
use perf_ebpf::{
    stack::{DeepFrames, MAX_DEEP_FRAMES, STACK_ID_SEED, finish, mix},
    unwind::{CUT_OFF, Cfa, Code, EXACT, Registers, Row, Space, Stop, step},
    walk::{find_code, find_row, without_row},
};

use super::stacks::{MEMORIES, Walked};

/// Where `task_struct` of the running kernel has its memory: from BTF; 0 if that is not known.
#[unsafe(no_mangle)]
static TASK_MM_OFFSET: Global<u32> = Global::new(0);

/// The mappings of each process that can be walked.
#[map]
static UNWIND_SPACES: HashMap<u32, Space> = HashMap::with_max_entries(1, 0);

/// The mappings, each process's together; user space writes them through a mapping of its own, like the next two.
#[map]
static UNWIND_CODE: Array<Code> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// For each page of each file, its first row and the one after its last.
#[map]
static UNWIND_PAGES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The rows of all files.
#[map]
static UNWIND_ROWS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static UNWIND_WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(MEMORIES, 0);

/// A walk, as it goes. Too large for the stack of a program.
#[repr(C)]
pub(super) struct Walk {
    frame: Registers,
    /// The interrupted registers, by their DWARF numbers: some rules need others than those in `frame`.
    registers: [u64; 16],
    /// All with which the thread came into the kernel, if it is there: the stack of a program has no room for them.
    saved: pt_regs,
    space: Space,
    /// The mapping of the last frame.
    code: Code,
    id: u64,
    used: u32,
    stop: u32,
    /// How the frame was found: 0, or one of the marks.
    how: u64,
    /// 1 if the frame's address is where it returns to, 0 if it is where it was interrupted.
    returns: u64,
    /// The addresses found, leaf first.
    frames: DeepFrames,
}

/// Walks the user stack of the running process from the registers with which it was interrupted, or entered the
/// kernel; `None` if the process has no tables.
#[inline(always)]
pub(super) fn walk(memory: u32, tgid: u32, interrupted: Option<&pt_regs>) -> Option<Walked<'static>> {
    // SAFETY: an entry that is removed meanwhile is memory of the map all the same; it is copied at once, and what another
    // process has mapped there at worst leads nowhere.
    let space = *unsafe { UNWIND_SPACES.get(tgid) }?;
    let walk = UNWIND_WALK.get_ptr_mut(memory)?;
    // SAFETY: this CPU's; nothing that walks in it interrupts a walk.
    let walk = unsafe { &mut *walk };
    match interrupted {
        Some(registers) => walk.begin(registers),
        None => {
            // SAFETY: the task is the running one; the helpers fail rather than fault, and what is read fits.
            let failed = unsafe {
                let at = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void;
                read_kernel((&raw mut walk.saved).cast(), size_of::<pt_regs>() as u32, at)
            };
            if failed != 0 {
                return None;
            }
            walk.begin_saved();
        }
    }
    walk.space = space;
    let mut memory = memory;
    // SAFETY: the context lives as long as the loop.
    unsafe { bpf_loop(MAX_DEEP_FRAMES as u32, one as *mut c_void, (&raw mut memory).cast(), 0) };
    if walk.stop == Stop::Fault as u32 && has_no_memory() {
        walk.stop = Stop::Ending as u32;
    }
    if walk.stop != Stop::End as u32 {
        walk.keep(CUT_OFF | u64::from(walk.stop));
    }
    walk.frames[walk.used as usize & (MAX_DEEP_FRAMES - 1)] = 0;
    let cut_at_depth = walk.stop == Stop::Deep as u32;
    Some(Walked { id: finish(walk.id), frames: &walk.frames, used: walk.used, cut_at_depth })
}

/// The frame pointer with which the running thread came into the kernel; 0 if it cannot be read.
#[inline(always)]
pub(super) fn entered_fp() -> u64 {
    // SAFETY: the task is the running one; the helper fails rather than faults.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs;
        bpf_probe_read_kernel((&raw const (*registers).rbp).cast::<u64>()).unwrap_or(0)
    }
}

/// Whether the running task has given its memory back, which is the longest part of a process's end.
#[inline(always)]
fn has_no_memory() -> bool {
    let offset = TASK_MM_OFFSET.load();
    // SAFETY: takes no pointer; then reads kernel memory through the helper, which fails rather than faults.
    let mm = unsafe {
        let task = bpf_get_current_task() as *const c_void;
        bpf_probe_read_kernel(task.byte_add(offset as usize).cast::<u64>())
    };
    offset != 0 && mm == Ok(0)
}

impl Walk {
    #[inline(always)]
    fn begin(&mut self, at: &pt_regs) {
        self.frame = Registers { ip: at.rip, sp: at.rsp, fp: at.rbp };
        self.registers = [
            at.rax, at.rdx, at.rcx, at.rbx, at.rsi, at.rdi, at.rbp, at.rsp, at.r8, at.r9, at.r10, at.r11, at.r12,
            at.r13, at.r14, at.r15,
        ];
        self.reset();
    }

    #[inline(always)]
    fn reset(&mut self) {
        self.code.end = 0;
        (self.used, self.stop, self.how, self.returns) = (0, Stop::Deep as u32, 0, 0);
        self.id = STACK_ID_SEED;
    }

    /// The same from the saved registers. Volatile: the compiler would make one code of the two, which reads through a pointer
    /// to either, and that is not allowed of a program's context.
    #[inline(always)]
    fn begin_saved(&mut self) {
        let saved = &raw const self.saved;
        macro_rules! saved {
            ($($register:ident)*) => {
                // SAFETY: within this walk.
                unsafe { [$((&raw const (*saved).$register).read_volatile()),*] }
            };
        }
        let [ip, sp, fp] = saved!(rip rsp rbp);
        self.frame = Registers { ip, sp, fp };
        self.registers = saved!(rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15);
        self.reset();
    }

    #[inline(always)]
    fn keep(&mut self, frame: u64) {
        self.frames[self.used as usize & (MAX_DEEP_FRAMES - 1)] = frame;
        self.used += 1;
        self.id = mix(self.id, frame);
    }
}

/// One step; 1 ends the walk.
unsafe extern "C" fn one(_index: u64, memory: *mut u32) -> i64 {
    // SAFETY: what `walk` passes.
    let memory = unsafe { *memory };
    let Some(walk) = UNWIND_WALK.get_ptr_mut(memory) else { return 1 };
    // SAFETY: as in `walk`, which waits for this.
    let walk = unsafe { &mut *walk };
    // The last places are for the mark of a cut-off, and for the zero that ends a short stack.
    if walk.used as usize >= MAX_DEEP_FRAMES - 2 {
        return 1;
    }
    match next(walk, memory) {
        Ok(()) => 0,
        Err(stop) => {
            walk.stop = stop as u32;
            1
        }
    }
}

/// Keeps the frame, and goes to its caller.
#[inline(always)]
fn next(walk: &mut Walk, memory: u32) -> Result<(), Stop> {
    let leaf = walk.used == 0;
    let ip = walk.frame.ip - walk.returns;
    if !(walk.code.start <= ip && ip < walk.code.end) {
        let place = unwind_find_code(walk.space.first, walk.space.count, ip);
        match UNWIND_CODE.get(place) {
            Some(code) => walk.code = *code,
            // Where the thread was interrupted is where it was, mapped or not as far as user space has heard.
            None if leaf => walk.code = Code::default(),
            None => return Err(Stop::Astray),
        }
    }
    let Code { bias, pages, first_page, end_page, .. } = walk.code;
    let row = Row(unwind_find_row(ip.wrapping_add(bias), pages, first_page, end_page));
    let signal = row.kind() == Cfa::Signal as u8;
    let exact = if signal || walk.returns == 0 { EXACT } else { 0 };
    walk.keep(walk.frame.ip | walk.how | exact);
    let registers = &walk.registers;
    // SAFETY: the helper fails rather than faults.
    let read = |at| unsafe { bpf_probe_read_user(at as *const u64) }.ok();
    let stepped = step(row, walk.frame, read, |number| leaf.then(|| registers[number as usize & 15]));
    walk.how = 0;
    match stepped {
        Err(Stop::Unknown) if unwind_without_row(memory) == 0 => return Err(Stop::Unknown),
        Err(Stop::Unknown) => {}
        other => walk.frame = other?,
    }
    if walk.frame.ip == 0 {
        return Err(Stop::End);
    }
    walk.returns = u64::from(!signal);
    Ok(())
}

// The next ones are global functions, which the verifier looks at once, whatever they are called with: looked at wherever a
// walk can be when it comes to them, they are most of its work. Hence their names, and that they take and give numbers only.

/// Goes to the caller of a function that has no row; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn unwind_without_row(memory: u32) -> u64 {
    let Some(walk) = UNWIND_WALK.get_ptr_mut(memory) else { return 0 };
    // SAFETY: as in `walk`, which waits for this.
    let walk = unsafe { &mut *walk };
    let is_hand_written = walk.used == 1 && walk.code.first_page != walk.code.end_page;
    // SAFETY: the helper fails rather than faults.
    let read = |at: u64| unsafe { bpf_probe_read_user(at as *const u64) }.ok();
    let Some((caller, how)) = without_row(walk.frame, is_hand_written, read) else { return 0 };
    (walk.frame, walk.how) = (caller, how);
    1
}

/// [`find_code`] in the map.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn unwind_find_code(first: u32, count: u32, ip: u64) -> u32 {
    find_code(first, count, ip, |at| UNWIND_CODE.get(at).map(|code| (code.start, code.end)))
}

/// [`find_row`] in the maps.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn unwind_find_row(offset: u64, pages: u32, first_page: u32, end_page: u32) -> u64 {
    find_row(offset, pages, first_page, end_page, |at| UNWIND_PAGES.get(at).copied(), |at| UNWIND_ROWS.get(at).copied())
}
