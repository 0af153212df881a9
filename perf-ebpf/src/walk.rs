//! The parts of a walk that the kernel half and user space share: finding rows in the maps, and going on where there is none.

use crate::unwind::{
    BY_FRAME_POINTER, BY_RETURN_ADDRESS, CODE_STEPS, PAGE_BITS, ROW_STEPS, Registers, Row, direct_target, ends_in_call,
    page_rows,
};

/// Hand-written functions are no larger.
const LARGEST_BYTES: u64 = 1 << 16;

/// The index of the mapping that an address is in, among `count` from `first` on, of which `span` tells start and end; one that no
/// map has if there is none.
#[inline(always)]
pub fn find_code(first: u32, count: u32, ip: u64, span: impl Fn(u32) -> Option<(u64, u64)>) -> u32 {
    let (mut low, mut high) = (first, first.wrapping_add(count));
    let mut at = 0;
    while at < CODE_STEPS {
        at += 1;
        if low >= high {
            break;
        }
        let middle = low + ((high - low) >> 1);
        let Some((start, end)) = span(middle) else { break };
        if ip < start {
            high = middle;
        } else if ip >= end {
            low = middle + 1;
        } else {
            return middle;
        }
    }
    u32::MAX
}

/// The last row that begins at or before a file offset; the unknown one where there is none. The numbers are a
/// [`Code`](crate::unwind::Code)'s.
#[inline(always)]
pub fn find_row(
    offset: u64,
    pages: u32,
    first_page: u32,
    end_page: u32,
    page_at: impl Fn(u32) -> Option<u64>,
    row_at: impl Fn(u32) -> Option<u64>,
) -> u64 {
    let page = ((offset >> PAGE_BITS) as u32).wrapping_add(pages);
    if page < first_page || page >= end_page {
        return 0;
    }
    let Some(element) = page_at(page) else { return 0 };
    let (mut low, mut high) = page_rows(element);
    let mut found = 0;
    let mut at = 0;
    while at < ROW_STEPS {
        at += 1;
        if low >= high {
            break;
        }
        let middle = low + ((high - low) >> 1);
        let Some(row) = row_at(middle) else { return 0 };
        if Row(row).low() <= offset as u16 {
            found = row;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    found
}

/// The caller of a function of a file whose table leaves it out, as hand-written code is, and the mark of how it was found; `None`
/// if there is none. What lies on top of the stack is the return address if it is behind a call of this function; behind another
/// call it may be a leftover, and the frame pointer comes first if that leads behind a call. Whether the caller is in code, the
/// next step sees.
#[inline(always)]
pub fn without_row(
    frame: Registers,
    is_hand_written: bool,
    read: impl Fn(u64) -> Option<u64>,
) -> Option<(Registers, u64)> {
    let Registers { ip, sp, fp } = frame;
    // If this frame keeps a frame pointer: its own saved one, and above that the return address.
    let by_pointer = if fp < sp {
        None
    } else {
        match (read(fp), read(fp.wrapping_add(8))) {
            (Some(saved), Some(ip)) => Some(Registers { fp: saved, ip, sp: fp.wrapping_add(16) }),
            _ => None,
        }
    };
    let call_before = |address: u64| read(address.wrapping_sub(8)).filter(|before| ends_in_call(*before));
    if is_hand_written
        && let Some(top) = read(sp)
        && let Some(before) = call_before(top)
    {
        let own = direct_target(before, top).is_some_and(|target| target <= ip && ip - target < LARGEST_BYTES);
        if own || by_pointer.is_none_or(|caller| call_before(caller.ip).is_none()) {
            return Some((Registers { ip: top, sp: sp.wrapping_add(8), fp }, BY_RETURN_ADDRESS));
        }
    }
    by_pointer.map(|caller| (caller, BY_FRAME_POINTER))
}
