//! The Python frames of a thread that waits, read from outside: as the kernel half reads those of the running one.

use std::collections::HashSet;

use perf_ebpf::{
    python::{
        ABSENT, BYTES_SIZE, BYTES_START, CODE_BYTES, CodeKey, CodeSays, Ending, FILE_BYTES, FRAME_BYTES, Frame, Header,
        LINES_BYTES, Layout, NAME_BYTES, Process, TEXT_HASH, TEXT_LENGTH, TEXT_STATE, text_form,
    },
    stack::{MAX_DEEP_FRAMES, id_of},
};

use super::code::{Code, characters};
use crate::host::memory::Memory;

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
///
/// Code objects are read of which `is_new` says so.
#[must_use]
pub fn read(process: &Process, native_id: u64, memory: &Memory, is_new: impl Fn(&CodeKey) -> bool) -> Option<Frames> {
    let walk = Walk { layout: &process.layout, memory };
    let mut frame = walk.innermost(process.runtime, native_id)?;
    let (mut words, mut codes) = (Vec::new(), Vec::new());
    let (mut ending, mut met) = (Ending::Deep, HashSet::new());
    // As `one` in the kernel half goes: not every step keeps a frame.
    for _ in 0..MAX_DEEP_FRAMES {
        if frame == 0 {
            ending = Ending::Whole;
            break;
        }
        if words.len() >= MAX_DEEP_FRAMES - 3 {
            break;
        }
        let Some(found) = walk.frame(frame) else {
            ending = Ending::Unreadable;
            break;
        };
        words.extend(found.frame.into_iter().flat_map(Frame::words));
        if let (Some(Frame { check, code, .. }), Some(says)) = (found.frame, found.code) {
            let key = CodeKey { number: process.number, check, code };
            if is_new(&key) && met.insert(key) {
                codes.extend(walk.code(says).map(|code| (key, code)));
            }
        }
        frame = found.previous;
    }
    words.push(Header { number: process.number, ending: ending as u32 }.word());
    let id = id_of(&words);
    words.rotate_right(1);
    Some(Frames { id, words, codes })
}

/// A frame of the interpreter's.
struct Found {
    /// As it is kept; `None` for code of the interpreter's own.
    frame: Option<Frame>,
    /// What its code object says; `None` for a call of the interpreter's loop.
    code: Option<CodeSays>,
    /// The caller's frame.
    previous: u64,
}

struct Walk<'walk> {
    layout: &'walk Layout,
    memory: &'walk Memory,
}

impl Walk<'_> {
    fn word(&self, base: u64, offset: u16) -> Option<u64> {
        self.memory.word(base.wrapping_add(u64::from(offset)))
    }

    /// So many bytes as words, and zeros.
    fn words<const WORDS: usize>(&self, at: u64, bytes: usize) -> Option<[u64; WORDS]> {
        let read = self.memory.bytes(at, bytes)?;
        let mut words = [0; WORDS];
        words.iter_mut().zip(read.as_chunks().0).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
        Some(words)
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
            // In one read: there may be hundreds of threads.
            let ends =
                [layout.thread_id + NATIVE_ID, layout.top, layout.next_thread].map(|offset| usize::from(offset) + 8);
            let state = self.memory.bytes(thread, ends.into_iter().max()?)?;
            if word_in(&state, layout.thread_id + NATIVE_ID)? == native_id {
                let top = word_in(&state, layout.top)?;
                let frame = if layout.top_frame == ABSENT { top } else { self.word(top, layout.top_frame)? };
                // A thread that has state in several interpreters runs in the one where it has frames.
                if frame != 0 {
                    return Some(frame);
                }
            }
            thread = word_in(&state, layout.next_thread)?;
        }
        None
    }

    fn frame(&self, at: u64) -> Option<Found> {
        let says = self.layout.frame(&self.words(at, FRAME_BYTES)?);
        let previous = says.previous;
        if says.outermost && self.layout.is_shim != 0 {
            return Some(Found { frame: Some(Frame::CALL), code: None, previous });
        }
        let code = self.layout.code(&self.words(says.code, CODE_BYTES)?);
        // Code of the interpreter's own, which is no function of the program's, has no name.
        if code.name == 0 {
            return Some(Found { frame: None, code: None, previous });
        }
        let frame = self.layout.kept(says, code, self.word(code.name, TEXT_HASH).unwrap_or(0));
        Some(Found { frame: Some(frame), code: Some(code), previous })
    }

    /// The code object; `None` if its name cannot be read.
    fn code(&self, says: CodeSays) -> Option<Code> {
        let CodeSays { name, file, lines, first_line } = says;
        let table = || {
            let bytes = self.word(lines, BYTES_SIZE)?.min(LINES_BYTES as u64) as usize;
            self.memory.bytes(lines.wrapping_add(BYTES_START), bytes)
        };
        let name = self.text(name, NAME_BYTES)?;
        Some(Code::new(name, self.text(file, FILE_BYTES), first_line, table().unwrap_or_default()))
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

/// The word at an offset.
fn word_in(bytes: &[u8], offset: u16) -> Option<u64> {
    let at = usize::from(offset);
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
