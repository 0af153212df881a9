//! How to get from a frame to its caller: the rows of unwind tables, made from a file's call frame information.
//!
//! A file's table is a list of rows sorted by file offset, cut into pages of 64 KiB of code: a row keeps the low 16 bits of
//! the offset it begins at, and the first row of each page is found through an index. A row holds until the next one.

/// Bits of a file offset that a row keeps; the others are its page.
pub const PAGE_BITS: u32 = 16;

/// The largest distance from the canonical frame address, in words, at which a saved frame pointer is found.
pub const MAX_SAVED_AT: i64 = 126;

/// What a row says of the canonical frame address (CFA): the value of the stack pointer in the caller, once the call has
/// returned. On x86-64 the return address lies right below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cfa {
    /// Nothing is known here.
    Unknown = 0,
    /// This is the outermost frame.
    End = 1,
    /// Stack pointer + offset.
    Sp = 2,
    /// Frame pointer + offset.
    Fp = 3,
    /// A stub of a procedure linkage table: stack pointer + 8, and 8 more from byte `offset` of its 16 on.
    Stub = 4,
    /// The kernel pushed the interrupted registers: they lie at known places above the stack pointer.
    Signal = 5,
    /// The word at stack pointer + low half of the offset, + high half of it.
    AtSp = 6,
    /// The word at frame pointer + low half of the offset, + high half of it.
    AtFp = 7,
    /// Another register, by its DWARF number the high half of the offset, + the low half of it; known only in the frame that
    /// was interrupted.
    Register = 8,
}

/// Where the caller's frame pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SavedFp {
    /// Still in the register.
    Kept,
    /// In memory at the CFA + so many words; from -[`MAX_SAVED_AT`] to [`MAX_SAVED_AT`], not 0.
    Saved(i8),
    /// Where the frame pointer itself points.
    AtFp,
}

/// What holds in a stretch of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The canonical frame address.
    pub cfa: Cfa,
    /// The caller's frame pointer.
    pub fp: SavedFp,
    /// Bytes; see [`Cfa`].
    pub offset: i32,
}

const FP_KEPT: u8 = 0;
const FP_AT_FP: u8 = 127;

impl Rule {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self::of(Cfa::Unknown, SavedFp::Kept, 0);

    /// A rule with one offset.
    #[must_use]
    pub const fn of(cfa: Cfa, fp: SavedFp, offset: i32) -> Self {
        Self { cfa, fp, offset }
    }

    /// A rule with an offset of two halves.
    #[must_use]
    pub const fn halves(cfa: Cfa, fp: SavedFp, low: i16, high: i16) -> Self {
        Self::of(cfa, fp, ((high as u16 as u32) << 16 | low as u16 as u32) as i32)
    }
}

/// A row as it stands in a table: the low bits of where it begins, the kind of CFA, the frame pointer, the offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Row(pub u64);

impl Row {
    /// The row that says `rule` from the file offset `start` on.
    #[must_use]
    pub const fn new(start: u64, rule: Rule) -> Self {
        let fp = match rule.fp {
            SavedFp::Kept => FP_KEPT,
            SavedFp::AtFp => FP_AT_FP,
            SavedFp::Saved(words) => words as u8,
        };
        Self(start & 0xffff | (rule.cfa as u64) << 16 | (fp as u64) << 24 | (rule.offset as u32 as u64) << 32)
    }

    /// The low bits of where it begins.
    #[inline(always)]
    #[must_use]
    pub const fn low(self) -> u16 {
        self.0 as u16
    }

    /// The kind of CFA, as a number: [`Cfa`].
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// The offset.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> i32 {
        (self.0 >> 32) as i32
    }

    /// Where the frame pointer is saved, in words from the CFA; 0: it is not; [`Self::fp_is_at_fp`] comes first.
    #[inline(always)]
    #[must_use]
    pub const fn fp_words(self) -> i8 {
        (self.0 >> 24) as i8
    }

    /// Whether the frame pointer points to where its old value is saved.
    #[inline(always)]
    #[must_use]
    pub const fn fp_is_at_fp(self) -> bool {
        (self.0 >> 24) as u8 == FP_AT_FP
    }

    /// Everything but where it begins: equal in rows that say the same.
    #[must_use]
    pub const fn says(self) -> u64 {
        self.0 >> 16
    }
}

/// An executable mapping of a process, with the part of its file's table that it shows. Mappings of a process are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
pub struct Code {
    /// The first address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// What an address gains to become a file offset.
    pub bias: u64,
    /// What a page of file offset gains to become an index of the map of pages.
    pub pages: u32,
    /// The first index of the file's pages, and the one after its last; equal for a file without a table.
    pub first_page: u32,
    /// See `first_page`.
    pub end_page: u32,
    /// Zero.
    pub reserved: u32,
}

/// Where the mappings of a process are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Space {
    /// The index of the first.
    pub first: u32,
    /// Their number.
    pub count: u32,
}

/// Mappings of a process that can be searched: two to this power.
pub const CODE_STEPS: u32 = 13;

/// Rows of a page that can be searched: as many as it has bytes.
pub const ROW_STEPS: u32 = 16;

/// Rows of a page, as an element of the map of pages.
#[inline(always)]
#[must_use]
pub const fn page_rows(element: u64) -> (u32, u32) {
    (element as u32, (element >> 32) as u32)
}

/// Set in a frame's address if it was found through the frame pointer, for want of a row.
pub const BY_FRAME_POINTER: u64 = 1 << 63;

/// Set in a caller's address if it is where the caller was interrupted, or where a signal's trampoline begins: no call lies
/// before it.
pub const EXACT: u64 = 1 << 61;

/// Set in a frame's address if it was found by what looks like the return address of a function that has nothing else on the
/// stack: for hand-written code without rows.
pub const BY_RETURN_ADDRESS: u64 = 1 << 60;

/// All marks that a frame's address may have.
pub const MARKS: u64 = BY_FRAME_POINTER | EXACT | BY_RETURN_ADDRESS;

/// The first address that no user space has.
pub const USER_END: u64 = 1 << 57;

/// Set in what stands for the frames that could not be reached; the low bits say why: [`Stop`].
pub const CUT_OFF: u64 = 1 << 62;

/// Whether the eight bytes of code before an address, the last one highest, end in a call: near by a distance, or through a
/// register or memory (Intel's manual, volume 2A, CALL).
#[inline(always)]
#[must_use]
pub const fn ends_in_call(before: u64) -> bool {
    // The opcode FF, and 2 in the middle of the byte behind it.
    const fn indirect(before: u64, length: u32) -> bool {
        let at = before >> (64 - 8 * length);
        at & 0x38ff == 0x10ff
    }
    before >> 24 & 0xff == 0xe8
        || indirect(before, 2)
        || indirect(before, 3)
        || indirect(before, 4)
        || indirect(before, 6)
        || indirect(before, 7)
}

/// Where the call leads that ends right before `after`, if it is one by a distance.
#[inline(always)]
#[must_use]
pub const fn direct_target(before: u64, after: u64) -> Option<u64> {
    if before >> 24 & 0xff != 0xe8 {
        return None;
    }
    Some(after.wrapping_add((before >> 32) as u32 as i32 as i64 as u64))
}

/// The registers that a walk carries from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
}

/// Why a walk goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stop {
    /// The outermost frame was reached.
    End = 1,
    /// Nothing is known of the code, and it keeps no frame pointer.
    Unknown = 2,
    /// Memory could not be read.
    Fault = 3,
    /// The caller's frame would lie below this one.
    Backwards = 4,
    /// The return address is not in code.
    Astray = 5,
    /// There are more frames than are kept.
    Deep = 6,
    /// The process was ending, and had given its memory back.
    Ending = 7,
}

/// The [`Stop`] that a frame stands for, as a number; `None` if it is an address.
#[must_use]
pub const fn why_cut_off(frame: u64) -> Option<u64> {
    let stop = frame & 0xff;
    if frame & !0xff == CUT_OFF && stop >= Stop::Unknown as u64 && stop <= Stop::Ending as u64 {
        Some(stop)
    } else {
        None
    }
}

/// Where the kernel keeps the interrupted registers, in bytes above the stack pointer of a signal's return trampoline:
/// `uc_mcontext` in `ucontext_t`, x86-64.
const SIGNAL_FP: u64 = 120;
const SIGNAL_SP: u64 = 160;
const SIGNAL_IP: u64 = 168;

/// Steps from a frame to its caller. `read` reads a word of the target's memory; `register` tells the interrupted frame's
/// registers by their DWARF numbers, and only there.
///
/// # Errors
/// Why there is no caller, or none that is known.
#[inline(always)]
pub fn step(
    row: Row,
    frame: Registers,
    read: impl Fn(u64) -> Option<u64>,
    register: impl Fn(u8) -> Option<u64>,
) -> Result<Registers, Stop> {
    let offset = row.offset() as i64 as u64;
    let (low, high) = (row.offset() as i16 as u64, (row.offset() >> 16) as i64 as u64);
    let kind = row.kind();
    let cfa = if kind == Cfa::Sp as u8 {
        frame.sp.wrapping_add(offset)
    } else if kind == Cfa::Fp as u8 {
        frame.fp.wrapping_add(offset)
    } else if kind == Cfa::Stub as u8 {
        frame.sp.wrapping_add(if frame.ip & 15 >= offset { 16 } else { 8 })
    } else if kind == Cfa::AtSp as u8 || kind == Cfa::AtFp as u8 {
        let base = if kind == Cfa::AtSp as u8 { frame.sp } else { frame.fp };
        read(base.wrapping_add(low)).ok_or(Stop::Fault)?.wrapping_add(high)
    } else if kind == Cfa::Signal as u8 {
        let word = |at: u64| read(frame.sp.wrapping_add(at)).ok_or(Stop::Fault);
        return Ok(Registers { ip: word(SIGNAL_IP)?, sp: word(SIGNAL_SP)?, fp: word(SIGNAL_FP)? });
    } else if kind == Cfa::Register as u8 {
        register(high as u8).ok_or(Stop::Unknown)?.wrapping_add(low)
    } else if kind == Cfa::End as u8 {
        return Err(Stop::End);
    } else {
        return Err(Stop::Unknown);
    };
    if cfa <= frame.sp {
        return Err(Stop::Backwards);
    }
    let ip = read(cfa.wrapping_sub(8)).ok_or(Stop::Fault)?;
    let fp = if row.fp_words() == 0 {
        frame.fp
    } else {
        let at = if row.fp_is_at_fp() { frame.fp } else { cfa.wrapping_add((row.fp_words() as i64 * 8) as u64) };
        read(at).ok_or(Stop::Fault)?
    };
    Ok(Registers { ip, sp: cfa, fp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_every_form_are_seen_and_other_code_is_not() {
        let ends = |code: &[u8]| {
            let mut before = [0x90; 8];
            before[8 - code.len()..].copy_from_slice(code);
            ends_in_call(u64::from_le_bytes(before))
        };
        let calls: [&[u8]; 7] = [
            &[0xe8, 0x10, 0x20, 0x30, 0x40],
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd4],
            &[0xff, 0x53, 0x18],
            &[0xff, 0x54, 0xc8, 0x10],
            &[0xff, 0x15, 0x01, 0x02, 0x03, 0x04],
            &[0xff, 0x94, 0xc8, 0x01, 0x02, 0x03, 0x04],
        ];
        assert!(calls.into_iter().all(ends));
        let others: [&[u8]; 4] =
            [&[0x90], &[0xe9, 1, 2, 3, 4], &[0xff, 0xe0], &[0x48, 0x8b, 0x05, 0x01, 0x02, 0x03, 0x04]];
        assert!(!others.into_iter().any(ends));
        let before = u64::from_le_bytes([0x90, 0x90, 0x90, 0xe8, 0xf0, 0xff, 0xff, 0xff]);
        assert_eq!(direct_target(before, 0x1010), Some(0x1000));
        assert_eq!(direct_target(0x90, 0x1010), None);
    }

    #[test]
    fn marks_of_cut_off_walks_are_told_from_garbage() {
        assert_eq!(why_cut_off(CUT_OFF | Stop::Fault as u64), Some(3));
        for garbage in [CUT_OFF, CUT_OFF | 8, CUT_OFF | 1 << 20 | 3, u64::MAX, 0x7fff_0000_0003] {
            assert_eq!(why_cut_off(garbage), None);
        }
    }

    #[test]
    fn rows_hold_what_rules_say() {
        let row = Row::new(0x12_3456, Rule::of(Cfa::Sp, SavedFp::Saved(-2), 0x7fff_0010));
        assert_eq!((row.low(), row.kind(), row.fp_words(), row.offset()), (0x3456, 2, -2, 0x7fff_0010));
        let row = Row::new(0, Rule::halves(Cfa::AtFp, SavedFp::AtFp, -8, 16));
        assert!(row.fp_is_at_fp());
        assert_eq!((row.offset() as i16, (row.offset() >> 16) as i16), (-8, 16));
    }
}
