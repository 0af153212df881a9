//! Where interpreters of each version keep what leads to frames.

use perf_ebpf::python::{ABSENT, CODE_BYTES, FRAME_BYTES, Layout};

use super::NoInterpreter;

/// 3.11: from `Include/internal/pycore_runtime.h`, `pycore_interp.h`, `pycore_frame.h`, `cpython/pystate.h`, `cpython/code.h`
/// and `cpython/unicodeobject.h`, for a 64-bit machine.
pub(super) const V3_11: Layout = Layout {
    interpreters: 40,
    next_interpreter: 0,
    threads: 16,
    next_thread: 8,
    thread_id: 152,
    top: 56,
    top_frame: 8,
    code: 32,
    previous: 48,
    instruction: 56,
    // `is_entry`.
    mark: 68,
    marked: 1,
    is_shim: 0,
    name: 128,
    file: 112,
    lines: 136,
    first_line: 72,
    instructions: 184,
    ascii: 48,
    characters: 72,
};

/// The frame's owner: the C stack, on which the interpreter's loop has a frame of its own (`FRAME_OWNED_BY_CSTACK`).
const OWNED_BY_C_STACK: u16 = 3;

/// 3.12: from the same headers.
pub(super) const V3_12: Layout = Layout {
    interpreters: 40,
    next_interpreter: 0,
    threads: 72,
    next_thread: 8,
    thread_id: 136,
    top: 56,
    top_frame: 0,
    code: 0,
    previous: 8,
    instruction: 56,
    // `owner`.
    mark: 70,
    marked: OWNED_BY_C_STACK,
    is_shim: 1,
    name: 128,
    file: 112,
    lines: 136,
    first_line: 68,
    instructions: 192,
    ascii: 40,
    characters: 56,
};

/// Bytes of `_Py_DebugOffsets` of 3.13.
const DEBUG_OFFSETS_BYTES: usize = 584;

/// 3.13: from what the interpreter's state begins with, `_Py_DebugOffsets` (`pycore_runtime.h`): a cookie, the version, a
/// flag, and then groups of offsets, each with a size before it.
pub(super) fn self_described(data: &[u8; DEBUG_OFFSETS_BYTES]) -> Result<Layout, NoInterpreter> {
    let words = data.as_chunks::<8>().0;
    let field = |at: usize| u64::from_le_bytes(words[at / 8]);
    if &words[0] != b"xdebugpy" || field(8) >> 16 != 0x030d {
        return Err(NoInterpreter::Insane);
    }
    if field(16) != 0 {
        return Err(NoInterpreter::FreeThreaded);
    }
    // Words lie where words do, and so that they can be read.
    let offset = |at: usize, end: usize| {
        let value = u16::try_from(field(at)).ok().filter(|value| *value < ABSENT);
        value.filter(|value| usize::from(*value) < end).ok_or(NoInterpreter::Insane)
    };
    let word = |at: usize, end: usize| {
        offset(at, end.saturating_sub(7))
            .and_then(|value| if value % 8 == 0 { Ok(value) } else { Err(NoInterpreter::Insane) })
    };
    const ANYWHERE: usize = u16::MAX as usize;
    let ascii = offset(560, ANYWHERE - 16)?;
    let first_line = offset(312, CODE_BYTES - 3)?;
    if first_line % 4 != 0 {
        return Err(NoInterpreter::Insane);
    }
    Ok(Layout {
        interpreters: word(40, ANYWHERE)?,
        next_interpreter: word(64, ANYWHERE)?,
        threads: word(72, ANYWHERE)?,
        next_thread: word(168, ANYWHERE)?,
        thread_id: word(192, ANYWHERE)?,
        top: word(184, ANYWHERE)?,
        top_frame: ABSENT,
        code: word(240, FRAME_BYTES)?,
        previous: word(232, FRAME_BYTES)?,
        instruction: word(248, FRAME_BYTES)?,
        mark: offset(264, FRAME_BYTES)?,
        marked: OWNED_BY_C_STACK,
        is_shim: 1,
        name: word(296, CODE_BYTES)?,
        file: word(280, CODE_BYTES)?,
        lines: word(304, CODE_BYTES)?,
        first_line,
        instructions: word(344, ANYWHERE)?,
        ascii,
        // `PyCompactUnicodeObject` has the text's UTF-8 form and its length between.
        characters: ascii + 16,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// 3.13.0 as it describes itself.
    fn described() -> [u8; DEBUG_OFFSETS_BYTES] {
        let mut data = [0; DEBUG_OFFSETS_BYTES];
        let mut set = |at: usize, value: u64| data[at..at + 8].copy_from_slice(&value.to_le_bytes());
        set(0, u64::from_le_bytes(*b"xdebugpy"));
        for (at, value) in [
            (8, 0x030d_00f0),
            (40, 0x278),
            (64, 0x1c60),
            (72, 0x1cb0),
            (168, 8),
            (184, 0x48),
            (192, 0x98),
            (232, 8),
            (248, 56),
            (264, 70),
            (280, 112),
            (296, 128),
            (304, 136),
            (312, 68),
            (344, 200),
            (560, 40),
        ] {
            set(at, value);
        }
        data
    }

    #[test]
    fn an_interpreter_that_describes_itself_is_believed_within_reason() {
        let layout = self_described(&described()).unwrap();
        assert_eq!((layout.threads, layout.top, layout.top_frame, layout.characters), (0x1cb0, 0x48, ABSENT, 56));
        for (at, value) in [(0, 1), (8, 0x030e_00f0), (232, 76), (248, 57), (304, 192), (312, 70), (344, u64::MAX)] {
            let mut data = described();
            data[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
            assert_eq!(self_described(&data), Err(NoInterpreter::Insane), "{value} at {at}");
        }
        let mut data = described();
        data[16] = 1;
        assert_eq!(self_described(&data), Err(NoInterpreter::FreeThreaded));
    }
}
