//! Jitdumps: records of code as it is loaded and moved, each with its time. The layout is in the kernel's
//! `tools/perf/Documentation/jitdump-specification.txt`.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt as _, rc::Rc};

use super::{
    MOST_CODE, MOST_NAME_BYTES,
    code::{Code, CodeTable},
    name_of,
    window::FileWindow,
};
use crate::symbolize::Function;

const MAGIC: u32 = 0x4a69_5444;
/// Times are not of `CLOCK_MONOTONIC`, but of a counter of the processor's.
const FLAG_ARCH_TIMESTAMP: u64 = 1;
const HEADER_BYTES: usize = 40;
const PREFIX_BYTES: usize = 16;
const LOAD: u32 = 0;
const MOVE: u32 = 1;
const DEBUG_INFO: u32 = 2;
const CLOSE: u32 = 3;
const LOAD_BYTES: usize = 56;
const MOVE_BYTES: usize = 64;
const DEBUG_INFO_BYTES: usize = 32;

/// Lines of one piece of code beyond this are not read.
const MOST_LINES_BYTES: u64 = 256 << 10;

/// What stands for the file of the entry before.
const SAME_FILE: &[u8] = b"\xff";

/// V8 counts the addresses of lines from 64 bytes before the code: the size of an ELF header.
const ELF_HEADER_BYTES: u64 = 0x40;

/// A jitdump as far as it has been read. Names and lines stay in the file.
#[derive(Debug, Default)]
pub struct JitDump {
    table: CodeTable,
    /// How far it has been read: the beginning of a record; 0 before the header was there.
    read: u64,
    /// Whether its times mean nothing here.
    foreign_clock: bool,
    /// Where lines are told of code that is not loaded yet, by its address.
    lines: HashMap<u64, u64>,
    /// Whether nothing more is to be expected: it has ended, or is no jitdump.
    ended: bool,
    too_much: bool,
}

impl JitDump {
    /// Reads the records that were appended, up to this length of the file.
    pub fn read(&mut self, file: &File, bytes: u64) {
        if bytes < self.read {
            *self = Self::default();
        }
        let mut window = FileWindow::new(file, bytes);
        if self.read == 0 && !self.ended {
            let Some(header) = window.get(0, HEADER_BYTES) else { return };
            self.ended = u32_at(header, 0) != Some(MAGIC);
            self.foreign_clock = u64_at(header, 32).is_some_and(|flags| flags & FLAG_ARCH_TIMESTAMP != 0);
            self.read = u64::from(u32_at(header, 8).unwrap_or_default()).max(HEADER_BYTES as u64);
        }
        while !self.ended && !self.too_much {
            let Some(prefix) = window.get(self.read, PREFIX_BYTES) else { break };
            let (kind, size) = (u32_at(prefix, 0).unwrap_or_default(), u32_at(prefix, 4).unwrap_or_default());
            let Some(end) = self.read.checked_add(u64::from(size)).filter(|end| *end <= bytes) else { break };
            if (size as usize) < PREFIX_BYTES || kind == CLOSE {
                self.ended = true;
                break;
            }
            let fixed = [LOAD_BYTES, MOVE_BYTES, DEBUG_INFO_BYTES].get(kind as usize).copied();
            if let Some(record) =
                fixed.filter(|fixed| *fixed <= size as usize).and_then(|size| window.get(self.read, size))
            {
                let _ = self.apply(kind, record);
            }
            self.read = end;
            self.too_much = self.table.len() > MOST_CODE || self.lines.len() > MOST_CODE || window.is_exhausted();
        }
        if self.too_much {
            (self.table, self.lines) = Default::default();
        }
    }

    /// Whether it holds more than is kept: then nothing of it is.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        self.too_much
    }

    /// The function that lay at an address at a time.
    #[must_use]
    pub fn function(&self, file: &File, address: u64, time_ns: u64) -> Option<Function> {
        let code = self.find(address, time_ns)?;
        let mut load = vec![0; LOAD_BYTES + MOST_NAME_BYTES + 1];
        let got = file.read_at(&mut load, code.record).ok()?;
        let size = u32_at(&load[..got], 4)? as usize;
        let load = load[..got].get(..size.min(got))?;
        let name = name_of(load.get(LOAD_BYTES..)?.split(|byte| *byte == 0).next()?)?;
        // Of code that was moved, lines are told where it was first.
        let (first, size) = (u64_at(load, 32)?, u64_at(load, 40)?);
        let at = first.wrapping_add(address - code.start);
        let line = code
            .lines
            .and_then(|record| read_lines(file, record, first, size)?.into_iter().rev().find(|line| line.0 <= at));
        let (_, file, line) = line.unwrap_or_default();
        Some(Function { name, file: file.to_string(), line })
    }

    pub(super) fn find(&self, address: u64, time_ns: u64) -> Option<&Code> {
        self.table.find(address, time_ns)
    }

    pub(super) fn forget_before(&mut self, time_ns: u64) {
        self.table.forget_before(time_ns);
    }

    pub(super) fn len(&self) -> usize {
        self.table.len() + self.lines.len()
    }

    fn apply(&mut self, kind: u32, record: &[u8]) -> Option<()> {
        let from_ns = if self.foreign_clock { 0 } else { u64_at(record, 8)? };
        match kind {
            LOAD => {
                let (start, size) = (u64_at(record, 32)?, u64_at(record, 40)?);
                let lines = self.lines.remove(&start);
                let code = Code { start, end: start.checked_add(size)?, from_ns, record: self.read, lines };
                self.table.insert(code);
            }
            MOVE => {
                let (old, start, size) = (u64_at(record, 32)?, u64_at(record, 40)?, u64_at(record, 48)?);
                // What was replaced cannot be moved, and looking through it for every record would take as long as one likes.
                let moved = self.table.current(old).filter(|code| code.start == old).copied();
                self.table.remove(old, old.checked_add(size)?, from_ns);
                let end = start.checked_add(size)?;
                match moved {
                    Some(code) => self.table.insert(Code { start, end, from_ns, ..code }),
                    None => self.table.remove(start, end, from_ns),
                }
            }
            DEBUG_INFO => _ = self.lines.insert(u64_at(record, 16)?, self.read),
            _ => {}
        }
        Some(())
    }
}

/// The lines of code, each with the address from which on it holds, in the order of these; none if they cannot be right.
fn read_lines(file: &File, record: u64, start: u64, size: u64) -> Option<Vec<(u64, Rc<str>, u32)>> {
    let mut head = [0; DEBUG_INFO_BYTES];
    file.read_exact_at(&mut head, record).ok()?;
    let bytes = u64::from(u32_at(&head, 4)?).min(MOST_LINES_BYTES);
    let count = u64_at(&head, 24)?;
    let mut body = vec![0; usize::try_from(bytes).ok()?.checked_sub(DEBUG_INFO_BYTES)?];
    file.read_exact_at(&mut body, record + DEBUG_INFO_BYTES as u64).ok()?;
    let (mut lines, mut rest, mut source) = (Vec::new(), &body[..], Rc::from(""));
    for _ in 0..count {
        let (address, line) = (u64_at(rest, 0)?, u32_at(rest, 8)?);
        let name = rest.get(16..)?;
        let end = name.iter().position(|byte| *byte == 0)?;
        if &name[..end] != SAME_FILE {
            source = name_of(&name[..end]).unwrap_or_default().into();
        }
        // Some versions of V8 write other bytes than those that they count.
        if address.wrapping_sub(start) > size {
            return None;
        }
        lines.push((address, Rc::clone(&source), line));
        rest = &name[end + 1..];
    }
    lines.sort_by_key(|(address, _, _)| *address);
    // Whether they count from before the code, nothing in the file tells: what can be read either way says nothing.
    lines.first().is_some_and(|(first, _, _)| first - start < ELF_HEADER_BYTES).then_some(lines)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(data.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
