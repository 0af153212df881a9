//! The Python frames of a thread that waits, read from outside: as the kernel half reads those of the running one.

use perf_ebpf::{
    python::{
        ABSENT, BYTES_SIZE, BYTES_START, CODE_BYTES, CodeKey, Ending, FILE_BYTES, FRAME_BYTES, Frame, Header,
        LINES_BYTES, Layout, NAME_BYTES, Process, TEXT_HASH, TEXT_LENGTH, TEXT_STATE, check, text_form,
    },
    stack::{MAX_DEEP_FRAMES, id_of},
};

use super::code::{Code, characters};
use crate::unwind::Memory;

/// What a thread was found to run.
#[derive(Debug)]
pub struct Frames {
    /// The id that the kernel half would give it.
    pub id: u64,
    /// As the kernel half tells it: [`Header`], then frames, the innermost first.
    pub words: Vec<u64>,
    /// Its code objects.
    pub codes: Vec<(CodeKey, Code)>,
}

/// Threads of a process that are looked through.
const MAX_THREADS: usize = 512;

/// `PyThreadState`, in all versions: what the kernel calls the thread is behind what `pthread_self` does.
const NATIVE_ID: u16 = 8;

/// The frames of the thread that the kernel calls by this id where the process is; `None` if it is none of the interpreter's, or
/// runs no Python code.
#[must_use]
pub fn read(process: &Process, native_id: u64, memory: &Memory) -> Option<Frames> {
    let walk = Walk { layout: &process.layout, memory };
    let mut frame = walk.innermost(process.runtime, native_id)?;
    let (mut words, mut codes) = (Vec::new(), Vec::new());
    let mut ending = Ending::Deep;
    while words.len() < MAX_DEEP_FRAMES - 3 {
        if frame == 0 {
            ending = Ending::Whole;
            break;
        }
        let Some((found, code, previous)) = walk.frame(frame) else {
            ending = Ending::Unreadable;
            break;
        };
        words.extend(found.into_iter().flat_map(Frame::words));
        let key = |found: Frame| CodeKey { number: process.number, check: found.check, code: found.code };
        codes.extend(found.map(key).zip(code));
        frame = previous;
    }
    words.push(Header { number: process.number, ending: ending as u32 }.word());
    let id = id_of(&words);
    words.rotate_right(1);
    Some(Frames { id, words, codes })
}

struct Walk<'walk> {
    layout: &'walk Layout,
    memory: &'walk Memory,
}

impl Walk<'_> {
    fn word(&self, base: u64, offset: u16) -> Option<u64> {
        self.memory.word(base.wrapping_add(u64::from(offset)))
    }

    fn bytes<const BYTES: usize>(&self, at: u64) -> Option<[u8; BYTES]> {
        self.memory.bytes(at, BYTES)?.try_into().ok()
    }

    /// The innermost frame of a thread.
    fn innermost(&self, runtime: u64, native_id: u64) -> Option<u64> {
        let layout = self.layout;
        let mut interpreter = self.word(runtime, layout.interpreters)?;
        let mut thread = self.word(interpreter, layout.threads)?;
        for _ in 0..MAX_THREADS {
            if thread == 0 {
                interpreter = self.word(interpreter, layout.next_interpreter).filter(|next| *next != 0)?;
                thread = self.word(interpreter, layout.threads)?;
                continue;
            }
            if self.word(thread, layout.thread_id + NATIVE_ID)? == native_id {
                let top = self.word(thread, layout.top)?;
                let frame = if layout.top_frame == ABSENT { top } else { self.word(top, layout.top_frame)? };
                // A thread that has state in several interpreters runs in the one where it has frames.
                if frame != 0 {
                    return Some(frame);
                }
            }
            thread = self.word(thread, layout.next_thread)?;
        }
        None
    }

    /// The frame, if it is of a function or stands for a call of the interpreter's loop, its code, and its caller's frame.
    fn frame(&self, at: u64) -> Option<(Option<Frame>, Option<Code>, u64)> {
        let layout = self.layout;
        let of_frame: [u8; FRAME_BYTES] = self.bytes(at)?;
        let word = |bytes: &[u8], offset: u16| {
            let at = usize::from(offset);
            Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        };
        let outermost = u16::from(*of_frame.get(usize::from(layout.mark))?) == layout.marked;
        let previous = word(&of_frame, layout.previous)?;
        if outermost && layout.is_shim != 0 {
            return Some((Some(Frame { code: 0, outermost, check: 1, offset: 0 }), None, previous));
        }
        let (code, instruction) = (word(&of_frame, layout.code)?, word(&of_frame, layout.instruction)?);
        let of_code: [u8; CODE_BYTES] = self.bytes(code)?;
        let [name, file, lines] = [layout.name, layout.file, layout.lines].map(|offset| word(&of_code, offset));
        let (name, file, lines) = (name?, file?, lines?);
        let first_line = usize::from(layout.first_line);
        let first_line = u32::from_le_bytes(of_code.get(first_line..first_line + 4)?.try_into().ok()?);
        // Code of the interpreter's own, which is no function of the program's, has no name.
        if name == 0 {
            return Some((None, None, previous));
        }
        let check = check([name, file, lines], first_line, self.word(name, TEXT_HASH).unwrap_or(0));
        let begin = code.wrapping_add(u64::from(layout.instructions));
        let frame = Frame { code, outermost, check, offset: instruction.wrapping_sub(begin) as i32 };
        let table = || {
            let bytes = self.word(lines, BYTES_SIZE)?.min(LINES_BYTES as u64) as usize;
            self.memory.bytes(lines.wrapping_add(BYTES_START), bytes)
        };
        let named = |name| Code::new(name, self.text(file, FILE_BYTES), first_line, table().unwrap_or_default());
        Some((Some(frame), self.text(name, NAME_BYTES).map(named), previous))
    }

    /// A text of Python's, of which so many bytes are read at most; `None` if it is none.
    fn text(&self, object: u64, most: usize) -> Option<String> {
        let (length, state) = (self.word(object, TEXT_LENGTH)?, self.word(object, TEXT_STATE)? as u32);
        let (width, is_ascii) = text_form(state)?;
        let start = if is_ascii { self.layout.ascii } else { self.layout.characters };
        let whole = length.saturating_mul(u64::from(width));
        let bytes = self.memory.bytes(object.wrapping_add(u64::from(start)), whole.min(most as u64) as usize)?;
        characters(width, &bytes, whole > most as u64)
    }
}
