//! Walking the user stack of a thread that waits, from outside: by the tables that the kernel half walks by.

use perf_ebpf::{
    stack::MAX_DEEP_FRAMES,
    unwind::{CUT_OFF, Cfa, Code, EXACT, Registers, Row, Space, Stop, step},
    walk::{find_code, find_row, without_row},
};

use super::Unwinder;
use crate::host::memory::Memory;

impl Unwinder {
    /// The user stack of a thread of the process, leaf first and marked as the kernel half marks it; `None` if nothing is known of
    /// the process.
    #[must_use]
    pub fn walk(&self, tgid: u32, registers: Registers, memory: &Memory) -> Option<Vec<u64>> {
        let Space { first, count } = self.space(tgid)?;
        let span = |at| self.code(at).map(|code| (code.start, code.end));
        let (mut frame, mut frames, mut how, mut returns) = (registers, Vec::new(), 0, 0);
        let read = |at| memory.word(at);
        let stop = loop {
            // As `next` in the kernel half goes.
            if frames.len() >= MAX_DEEP_FRAMES - 2 {
                break Stop::Deep;
            }
            let (leaf, ip) = (frames.is_empty(), frame.ip.wrapping_sub(returns));
            let code = match self.code(find_code(first, count, ip, span)) {
                Some(code) => code,
                None if leaf => Code::default(),
                None => break Stop::Astray,
            };
            let Code { bias, pages, first_page, end_page, .. } = code;
            let (page_at, row_at) = (|at| self.page(at), |at| self.row(at));
            let row = Row(find_row(ip.wrapping_add(bias), pages, first_page, end_page, page_at, row_at));
            let signal = row.kind() == Cfa::Signal as u8;
            frames.push(frame.ip | how | if signal || returns == 0 { EXACT } else { 0 });
            how = 0;
            // Other registers than these are not known.
            match step(row, frame, read, |_| None) {
                Ok(caller) => frame = caller,
                Err(Stop::Unknown) => match without_row(frame, leaf && first_page != end_page, read) {
                    Some(found) => (frame, how) = found,
                    None => break Stop::Unknown,
                },
                Err(stop) => break stop,
            }
            if frame.ip == 0 {
                break Stop::End;
            }
            returns = u64::from(!signal);
        };
        if stop != Stop::End {
            frames.push(CUT_OFF | stop as u64);
        }
        Some(frames)
    }
}

/// The same by frame pointers alone, not marked, as the kernel itself walks.
#[must_use]
pub fn by_frame_pointers(registers: Registers, memory: &Memory) -> Vec<u64> {
    let (mut frames, mut frame) = (vec![registers.ip], registers);
    while frames.len() < perf_ebpf::stack::MAX_FRAMES
        && frame.fp >= frame.sp
        && let (Some(fp), Some(ip)) = (memory.word(frame.fp), memory.word(frame.fp.wrapping_add(8)))
        && ip != 0
    {
        frames.push(ip);
        frame = Registers { ip, sp: frame.fp.wrapping_add(16), fp };
    }
    frames
}
