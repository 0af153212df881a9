//! Code objects: what they are called, and which line an instruction is on.

use perf_ebpf::python::{CodeHead, CodeKey, Text};
use zerocopy::FromBytes as _;

/// A code object: a function, a class's body, a module's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// The qualified name, `Class.method`; `<module>` for a module's own code. Not empty.
    pub name: String,
    /// The source file, as the program names it; a name in angle brackets where there is none.
    pub file: String,
    /// The line of its definition.
    pub first_line: u32,
    /// `co_linetable`; the end may be missing.
    lines: Box<[u8]>,
}

/// Bytes of an instruction.
const INSTRUCTION_BYTES: u64 = 2;

impl Code {
    /// Reads what the kernel half tells of one; `None` if that is no record of one.
    #[must_use]
    pub fn parse(record: &[u8]) -> Option<(CodeKey, Self)> {
        let (head, lines) = CodeHead::read_from_prefix(record).ok()?;
        // The ring pads records.
        let lines = lines.get(..head.lines_whole as usize).unwrap_or(lines);
        Some((
            head.key,
            Self::new(text(&head.name).unwrap_or_default(), text(&head.file), head.first_line, lines.to_vec()),
        ))
    }

    /// One of which this was read.
    pub(super) fn new(name: String, file: Option<String>, first_line: u32, lines: Vec<u8>) -> Self {
        let name = if name.is_empty() { String::from("[unnamed]") } else { name };
        Self { name, file: file.unwrap_or_default(), first_line, lines: lines.into() }
    }

    /// Whether its file and its lines could be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.file.is_empty() && !self.lines.is_empty()
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.file.len() + self.lines.len()
    }

    /// The line of the instruction at a byte offset from the first; `None` where the table does not tell.
    ///
    /// The table, since 3.11, has entries for runs of instructions one after another: `Objects/locations.md` in CPython.
    #[must_use]
    pub fn line(&self, offset: u64) -> Option<u32> {
        let mut left = offset / INSTRUCTION_BYTES;
        let mut line = i64::from(self.first_line);
        let mut entries = self.lines.chunk_by(|_, next| next & FIRST == 0);
        loop {
            let (first, mut rest) = entries.next()?.split_first()?;
            let kind = first >> 3 & 0xf;
            line = line.checked_add(match kind {
                0..ONE_LINE | NOWHERE => 0,
                ONE_LINE..NO_COLUMNS => i64::from(kind - ONE_LINE),
                _ => signed(varint(&mut rest)?),
            })?;
            let instructions = u64::from(first & 7) + 1;
            if left < instructions {
                return if kind == NOWHERE { None } else { u32::try_from(line).ok() };
            }
            left -= instructions;
        }
    }
}

/// Set in the first byte of an entry only.
const FIRST: u8 = 0x80;

/// Kinds of entries: below this on the line of the entry before, from it on so many lines further.
const ONE_LINE: u8 = 10;
/// From this on, the distance in lines follows.
const NO_COLUMNS: u8 = 13;
/// Instructions that belong to no line.
const NOWHERE: u8 = 15;

/// A number in groups of six bits, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..60).step_by(6) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            return Some(value);
        }
    }
    None
}

/// The sign is in the lowest bit.
fn signed(value: u64) -> i64 {
    let size = (value >> 1) as i64;
    if value & 1 == 0 { size } else { -size }
}

/// The characters of a text, with an ellipsis if some were not kept; `None` if it is none.
fn text<const BYTES: usize>(text: &Text<BYTES>) -> Option<String> {
    let bytes = text.bytes.get(..text.whole as usize).unwrap_or(&text.bytes);
    characters(text.width, bytes, text.whole as usize > BYTES)
}

/// Characters of so many bytes each, with an ellipsis if some are missing; `None` if there are none so wide.
pub(super) fn characters(width: u32, bytes: &[u8], is_cut: bool) -> Option<String> {
    let character = |code: u32| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut read: String = match width {
        1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        2 => bytes.as_chunks().0.iter().map(|code| character(u16::from_le_bytes(*code).into())).collect(),
        4 => bytes.as_chunks().0.iter().map(|code| character(u32::from_le_bytes(*code))).collect(),
        _ => return None,
    };
    if is_cut {
        read.push('…');
    }
    Some(read)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn code(first_line: u32, lines: &[u8]) -> Code {
        Code { name: "f".into(), file: "f.py".into(), first_line, lines: lines.into() }
    }

    /// `co_linetable` of CPython 3.11.7, for a function with a loop and an expression over two lines:
    /// `def f(a):`, nothing, `    for x in a:`, `        b = (x +`, `             1)`, `    return b`.
    const F: &[u8] = &[
        128, 0, 224, 13, 14, 240, 0, 2, 5, 16, 240, 0, 2, 5, 16, 136, 1, 216, 13, 14, 216, 13, 14, 241, 3, 1, 14, 15,
        136, 1, 136, 1, 224, 11, 12, 128, 72,
    ];

    #[test]
    fn lines_are_those_that_python_tells() {
        let code = code(1, F);
        let told: Vec<u32> = (0..13).map(|index| code.line(index * 2).unwrap()).collect();
        assert_eq!(told, [1, 3, 3, 3, 3, 4, 5, 4, 4, 4, 4, 6, 6], "by co_positions()");
        assert_eq!(code.line(13 * 2), None);
    }

    #[test]
    fn far_lines_and_places_on_no_line() {
        // By 300 lines, with columns; one on none; back by 300 without columns; beyond what a line can be.
        let long = [FIRST | 14 << 3, 600_u16.to_le_bytes()[0] & 0x3f | 0x40, 9, 0, 5, 5];
        let nowhere = [FIRST | NOWHERE << 3 | 1];
        let back = [FIRST | NO_COLUMNS << 3, 601_u16.to_le_bytes()[0] & 0x3f | 0x40, 9];
        let far = [FIRST | NO_COLUMNS << 3, 0x7e, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x3f];
        let code = code(2, &[&long[..], &nowhere, &back, &far].concat());
        let told: Vec<_> = (0..6).map(|index| code.line(index * 2)).collect();
        assert_eq!(told, [Some(302), None, None, Some(2), None, None]);
    }

    #[test]
    fn damaged_tables_tell_nothing() {
        for lines in [&[][..], &[0x40], &[FIRST | 14 << 3], &[FIRST | 14 << 3, 0x7f, 0x7f], &[0xff; 3]] {
            assert_eq!(code(1, lines).line(40), None, "{lines:?}");
        }
        assert_eq!(code(1, F).line(u64::MAX), None);
    }

    #[test]
    fn texts_of_every_width() {
        let of = |width: u32, whole: u32, start: &[u8]| {
            let mut bytes = [0; 8];
            bytes[..start.len()].copy_from_slice(start);
            text(&Text { width, whole, bytes })
        };
        assert_eq!(of(1, 3, b"abc").as_deref(), Some("abc"));
        assert_eq!(of(1, 1, &[0xe9]).as_deref(), Some("é"));
        assert_eq!(of(2, 4, &[0x3a, 0x04, 0x00, 0xd8]).as_deref(), Some("к\u{fffd}"));
        assert_eq!(of(4, 4, &[0x40, 0xf4, 0x01, 0x00]).as_deref(), Some("👀"));
        assert_eq!(of(1, 9, b"abcdefgh").as_deref(), Some("abcdefgh…"));
        assert_eq!(of(3, 3, b"abc"), None);
    }

    #[test]
    fn records_that_are_none() {
        assert_eq!(Code::parse(&[]), None);
        assert_eq!(Code::parse(&[7; 64]), None);
        let (_, code) = Code::parse(&vec![0; size_of::<CodeHead>() + 8]).unwrap();
        assert_eq!((code.name.as_str(), code.file.as_str(), code.lines.len()), ("[unnamed]", "", 0));
    }
}
