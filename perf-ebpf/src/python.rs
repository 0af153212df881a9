//! CPython's own frames: what the kernel half is told of an interpreter, and what it tells of the code it has seen.
//!
//! A Python stack is a list of words under an id of its own, like any other stack: first [`Header`], then two words a frame,
//! innermost first.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Stands in [`Layout`] for a field that this version of the interpreter does not have.
pub const ABSENT: u16 = u16::MAX;

/// Bytes of `_PyInterpreterFrame` that are read: what comes before its variables, in every version.
pub const FRAME_BYTES: usize = 80;

/// Bytes of `PyCodeObject` that are read; [`Layout`] points to nothing behind them.
pub const CODE_BYTES: usize = 192;

/// `PyBytesObject`, in all versions: where its size is.
pub const BYTES_SIZE: u16 = 16;
/// And where its bytes are.
pub const BYTES_START: u64 = 32;

/// `PyASCIIObject`, in all versions: where the number of characters is.
pub const TEXT_LENGTH: u16 = 16;
/// Their hash.
pub const TEXT_HASH: u16 = 24;
/// The bit fields that tell their form: [`text_form`].
pub const TEXT_STATE: u16 = 32;

/// Bytes of a character, and whether all are ASCII; `None` for a text that lies elsewhere.
#[inline(always)]
#[must_use]
pub const fn text_form(state: u32) -> Option<(u32, bool)> {
    let (width, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 != 0, state >> 6 & 1 != 0);
    if is_compact && matches!(width, 1 | 2 | 4) { Some((width, is_ascii)) } else { None }
}

/// Where an interpreter keeps what leads to a thread's frames: offsets in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, Immutable)]
#[repr(C)]
pub struct Layout {
    /// `_PyRuntimeState`: the first interpreter.
    pub interpreters: u16,
    /// `PyInterpreterState`: the next one, and its first thread.
    pub next_interpreter: u16,
    /// See `next_interpreter`.
    pub threads: u16,
    /// `PyThreadState`: the next one.
    pub next_thread: u16,
    /// What `pthread_self` gives: on x86-64 the base of the segment FS.
    pub thread_id: u16,
    /// The innermost frame, or what holds it.
    pub top: u16,
    /// `_PyCFrame`: the innermost frame; [`ABSENT`] where `top` is that frame.
    pub top_frame: u16,
    /// `_PyInterpreterFrame`: the code object.
    pub code: u16,
    /// The caller's frame.
    pub previous: u16,
    /// The instruction that runs, or is next.
    pub instruction: u16,
    /// A byte that tells the outermost frame of each call of the interpreter's loop.
    pub mark: u16,
    /// Its value there.
    pub marked: u16,
    /// 1 if the marked frame stands for the call alone, and runs no code.
    pub is_shim: u16,
    /// `PyCodeObject`: the qualified name.
    pub name: u16,
    /// The source file.
    pub file: u16,
    /// The table of lines.
    pub lines: u16,
    /// The line of the definition.
    pub first_line: u16,
    /// The first instruction: the address of this field, not its value.
    pub instructions: u16,
    /// `PyUnicodeObject`: the characters, if all of them are ASCII.
    pub ascii: u16,
    /// The characters, if not.
    pub characters: u16,
}

/// Words of what is read of a frame, rounded up to a power of two: no offset leads out of them.
pub const FRAME_WORDS: usize = (FRAME_BYTES / 8).next_power_of_two();
/// The same of a code object.
pub const CODE_WORDS: usize = (CODE_BYTES / 8).next_power_of_two();

/// What a frame of the interpreter's says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSays {
    /// Whether it is the outermost of its call of the interpreter's loop.
    pub outermost: bool,
    /// The address of its code object.
    pub code: u64,
    /// Of its caller's frame.
    pub previous: u64,
    /// Of the instruction that runs, or is next.
    pub instruction: u64,
}

/// What a code object says: addresses of objects, and a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSays {
    /// Its qualified name; 0 for code of the interpreter's own.
    pub name: u64,
    /// The source file.
    pub file: u64,
    /// The table of lines.
    pub lines: u64,
    /// The line of its definition.
    pub first_line: u32,
}

impl Layout {
    /// What a frame says that was read.
    #[inline(always)]
    #[must_use]
    pub const fn frame(&self, words: &[u64; FRAME_WORDS]) -> FrameSays {
        let mark = (frame_word(words, self.mark) >> ((self.mark & 7) * 8)) as u8;
        FrameSays {
            outermost: mark as u16 == self.marked,
            code: frame_word(words, self.code),
            previous: frame_word(words, self.previous),
            instruction: frame_word(words, self.instruction),
        }
    }

    /// What a code object says that was read.
    #[inline(always)]
    #[must_use]
    pub const fn code(&self, words: &[u64; CODE_WORDS]) -> CodeSays {
        CodeSays {
            name: code_word(words, self.name),
            file: code_word(words, self.file),
            lines: code_word(words, self.lines),
            first_line: (code_word(words, self.first_line) >> ((self.first_line & 7) * 8)) as u32,
        }
    }

    /// The frame as it is kept; its name has this hash, 0 if that cannot be read.
    #[inline(always)]
    #[must_use]
    pub const fn kept(&self, frame: FrameSays, code: CodeSays, name_hash: u64) -> Frame {
        let begin = frame.code.wrapping_add(self.instructions as u64);
        Frame {
            code: frame.code,
            outermost: frame.outermost,
            check: check([code.name, code.file, code.lines], code.first_line, name_hash),
            offset: frame.instruction.wrapping_sub(begin) as i32,
        }
    }
}

#[inline(always)]
const fn frame_word(words: &[u64; FRAME_WORDS], offset: u16) -> u64 {
    words[(offset as usize >> 3) & (FRAME_WORDS - 1)]
}

#[inline(always)]
const fn code_word(words: &[u64; CODE_WORDS], offset: u16) -> u64 {
    words[(offset as usize >> 3) & (CODE_WORDS - 1)]
}

/// A process that runs an interpreter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct Process {
    /// The address of `_PyRuntime`.
    pub runtime: u64,
    /// Where things are.
    pub layout: Layout,
    /// Given to no other process: the same addresses mean something else there.
    pub number: u32,
    /// Zero.
    pub reserved: u32,
}

/// Why a Python stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Ending {
    /// The outermost frame was reached.
    Whole = 0,
    /// Memory could not be read.
    Unreadable = 1,
    /// There are more frames than are kept.
    Deep = 2,
}

/// The first word of a Python stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`Process::number`].
    pub number: u32,
    /// [`Ending`], as a number.
    pub ending: u32,
}

/// A bit that no ending has, so that no header is zero.
const HEADER: u64 = 1 << 63;

impl Header {
    /// As a word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        HEADER | (self.ending as u64) << 32 | self.number as u64
    }

    /// From a word.
    #[must_use]
    pub const fn of(word: u64) -> Self {
        Self { number: word as u32, ending: ((word & !HEADER) >> 32) as u32 }
    }
}

/// A frame of a Python stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The address of the code object; 0 for a frame that stands for a call of the interpreter's loop alone.
    pub code: u64,
    /// Whether it is the outermost of its call of the interpreter's loop.
    pub outermost: bool,
    /// Tells apart code objects that had the same address one after another; never 0.
    pub check: u32,
    /// Bytes from the first instruction to the one that runs; below 0 if none has begun.
    pub offset: i32,
}

const OUTERMOST: u64 = 1 << 63;

impl Frame {
    /// One that stands for a call of the interpreter's loop alone.
    pub const CALL: Self = Self { code: 0, outermost: true, check: 1, offset: 0 };

    /// As two words, neither of them zero.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        let code = self.code & !OUTERMOST | if self.outermost { OUTERMOST } else { 0 };
        [code, (self.offset as u32 as u64) << 32 | self.check as u64]
    }

    /// From two words.
    #[must_use]
    pub const fn of(words: [u64; 2]) -> Self {
        Self {
            code: words[0] & !OUTERMOST,
            outermost: words[0] & OUTERMOST != 0,
            check: words[1] as u32,
            offset: (words[1] >> 32) as i32,
        }
    }
}

/// Names a code object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CodeKey {
    /// [`Process::number`].
    pub number: u32,
    /// [`Frame::check`].
    pub check: u32,
    /// Its address.
    pub code: u64,
}

/// Bytes kept of a name, and of a path.
pub const NAME_BYTES: usize = 256;
/// See [`NAME_BYTES`].
pub const FILE_BYTES: usize = 512;

/// Bytes kept of a table of lines.
pub const LINES_BYTES: usize = 16 * 1024;

/// A text of Python's, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Text<const BYTES: usize> {
    /// Bytes of a character: 1, 2 or 4.
    pub width: u32,
    /// Bytes of the whole text; `bytes` has no more than the first of them.
    pub whole: u32,
    /// The characters.
    pub bytes: [u8; BYTES],
}

/// What the kernel half tells of a code object when it first meets it. The table of lines follows, as far as it is kept.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CodeHead {
    /// Which.
    pub key: CodeKey,
    /// The line of its definition.
    pub first_line: u32,
    /// Bytes of its whole table of lines.
    pub lines_whole: u32,
    /// Its qualified name.
    pub name: Text<NAME_BYTES>,
    /// The source file.
    pub file: Text<FILE_BYTES>,
}

/// What tells a code object from others at the same address: the addresses of its name, file and lines, its first line, and
/// the hash that the interpreter keeps with the name. A program that makes and drops code all the time gives the same
/// addresses to all parts of another code object, once in some thousand.
#[inline(always)]
#[must_use]
pub const fn check([name, file, lines]: [u64; 3], first_line: u32, name_hash: u64) -> u32 {
    let mut mixed = first_line as u64;
    mixed = crate::stack::mix(mixed, name);
    mixed = crate::stack::mix(mixed, file);
    mixed = crate::stack::mix(mixed, lines);
    mixed = crate::stack::mix(mixed, name_hash);
    (mixed >> 32) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_what_was_put_in() {
        let frames = [
            Frame { code: 0x7fff_ffff_fff0, outermost: true, check: 1, offset: -2 },
            Frame { code: 0x10, outermost: false, check: u32::MAX, offset: i32::MAX },
            Frame { code: 0, outermost: true, check: 1, offset: 0 },
        ];
        for frame in frames {
            assert!(!frame.words().contains(&0));
            assert_eq!(Frame::of(frame.words()), frame);
        }
        let header = Header { number: 0, ending: Ending::Whole as u32 };
        assert_ne!(header.word(), 0);
        let header = Header { number: u32::MAX, ending: Ending::Deep as u32 };
        assert_eq!(Header::of(header.word()), header);
    }

    #[test]
    fn the_check_depends_on_everything() {
        let same = check([1, 2, 3], 4, 5);
        assert!(
            [
                check([9, 2, 3], 4, 5),
                check([1, 9, 3], 4, 5),
                check([1, 2, 9], 4, 5),
                check([1, 2, 3], 9, 5),
                check([1, 2, 3], 4, 9),
            ]
            .iter()
            .all(|c| *c != same)
        );
    }
}
