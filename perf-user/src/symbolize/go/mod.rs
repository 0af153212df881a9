//! Names from the table that Go programs carry for tracebacks of their own, `.gopclntab`: functions, lines and inlined calls,
//! also in programs that were stripped. The layouts are those of Go's `runtime/symtab.go` since 1.18.

mod goroutine;

use std::{cell::Cell, fs::File};

pub(crate) use goroutine::goroutine_end;

use super::{Function, outline::Outline};

/// What it is called in programs that are loaded where they were linked to, and in others.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];

/// A program that is all Go and of 300 MB has a table of a third of that.
const MAX_TABLE_BYTES: u64 = 128 << 20;

/// Where the module data lie; half a megabyte in large programs.
const MAX_DATA_BYTES: u64 = 16 << 20;

/// Calls inlined into one another. Compilers stop long before.
const MAX_INLINED: usize = 64;

/// Longer names and paths are cut by nobody but those who wrote them to do harm.
const MAX_TEXT_BYTES: usize = 4_096;

/// What reading the tables of one file may cost, in steps of some nanoseconds; real ones need a few hundred for each place.
const MAX_STEPS: u64 = 1 << 28;

/// Which values `pcdata` and `funcdata` have (`internal/abi`, `PCDATA_InlTreeIndex` and `FUNCDATA_InlTree`).
const INLINE_INDEX: usize = 2;
const INLINE_TREE: usize = 3;

/// What differs between versions, in bytes; in the module data, in words.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// The fixed part of a function's record.
    function: usize,
    /// An entry of the tree of inlined calls, and where its name and the place of the call stand in it.
    call: usize,
    call_name: usize,
    call_place: usize,
    /// Where the module data tell the base of `funcdata`.
    funcdata_base: usize,
}

/// Go 1.18 and 1.19.
const GO_1_18: (u32, Layout) =
    (0xffff_fff0, Layout { function: 40, call: 20, call_name: 12, call_place: 16, funcdata_base: 38 });

/// Go 1.20 and later.
const GO_1_20: (u32, Layout) =
    (0xffff_fff1, Layout { function: 44, call: 16, call_name: 4, call_place: 8, funcdata_base: 40 });

/// Reads memory as it is when the program is loaded: as many bytes at this address.
pub(super) type Memory<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

/// The table of one program.
#[derive(Debug)]
pub(super) struct GoTable {
    data: Vec<u8>,
    layout: Layout,
    /// What addresses advance in steps of.
    quantum: u32,
    functions: usize,
    /// The address of the first function.
    text: u64,
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    records: usize,
    /// The base of `funcdata`, where it could be made out.
    funcdata: Option<u64>,
    steps: Cell<u64>,
}

/// One function's record.
#[derive(Clone, Copy, Debug)]
struct Record {
    at: usize,
    entry: u64,
}

impl GoTable {
    /// Whether a file has one.
    pub(super) fn is_in(outline: &Outline) -> bool {
        SECTIONS.into_iter().any(|name| outline.has(name))
    }

    /// Reads it; `None` when the file has none, or one that is not understood.
    pub(super) fn read(file: &File, outline: &Outline) -> Option<Self> {
        let section = SECTIONS.into_iter().find(|name| outline.has(name))?;
        let data = outline.data(file, section, MAX_TABLE_BYTES)?;
        let modules = [".go.module", ".noptrdata"].into_iter();
        let modules = modules.filter_map(|name| outline.data(file, name, MAX_DATA_BYTES)).collect::<Vec<_>>();
        Self::parse(data, outline.address_of(section)?, &modules)
    }

    /// From the table, the address it is loaded at, and the sections that may hold the module data.
    pub(super) fn parse(data: Vec<u8>, address: u64, modules: &[Vec<u8>]) -> Option<Self> {
        let (head, words) = data.split_at_checked(8)?;
        let magic = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let (_, layout) = [GO_1_18, GO_1_20].into_iter().find(|(its, _)| *its == magic)?;
        let (quantum, pointer_bytes) = (u32::from(head[6]), head[7]);
        if head[4..6] != [0, 0] || !matches!(quantum, 1 | 4) || pointer_bytes != 8 {
            return None;
        }
        let number = |index: usize| usize::try_from(word(words, index)?).ok();
        let mut table = Self {
            layout,
            quantum,
            functions: number(0)?,
            text: word(words, 2)?,
            names: number(3)?,
            units: number(4)?,
            files: number(5)?,
            values: number(6)?,
            records: number(7)?,
            funcdata: None,
            steps: Cell::new(MAX_STEPS),
            data,
        };
        let module = modules.iter().find_map(|data| table.module(data, address));
        if let Some((text, funcdata)) = module {
            (table.text, table.funcdata) = (text, Some(funcdata));
        }
        // Since Go 1.26 only the module data tell where the functions begin.
        (table.text != 0).then_some(table)
    }

    /// What the module data say: where functions begin, and the base of `funcdata`. They are found by what they must say.
    fn module(&self, data: &[u8], address: u64) -> Option<(u64, u64)> {
        const NAMES: usize = 1;
        const FIRST: usize = 20;
        const END: usize = 21;
        const TEXT: usize = 22;
        let names = address.checked_add(self.names as u64)?;
        let (first, end) = (u64::from(self.entry(0)?), u64::from(self.entry(self.functions)?));
        (0..data.len() / 8).filter(|at| word(data, *at) == Some(address)).find_map(|at| {
            let says = |index: usize| word(data, at + index);
            let text = says(TEXT)?;
            let is_it = says(NAMES) == Some(names)
                && says(FIRST) == text.checked_add(first)
                && says(END) == text.checked_add(end)
                && (self.text == 0 || self.text == text);
            is_it.then(|| Some((text, says(self.layout.funcdata_base)?))).flatten()
        })
    }

    /// The functions at an address, outermost first; `None` where there is none.
    pub(super) fn functions(&self, address: u64, memory: Memory<'_>) -> Option<Vec<Function>> {
        let record = self.find(address)?;
        let mut at = address.checked_sub(record.entry)?;
        let mut functions = Vec::new();
        while functions.len() < MAX_INLINED {
            let (file, line) = self.line(record, at).unwrap_or_default();
            let index = self.value(self.pcdata(record, INLINE_INDEX), at).filter(|index| *index >= 0);
            let Some(index) = index else {
                functions.push(Function { name: self.name(self.field(record, 1)?)?, file, line });
                break;
            };
            let Some((name, call)) = self.inlined(record, index as usize, memory) else {
                // The line is that of the inlined function, whose name is not known.
                let name = self.name(self.field(record, 1)?)?;
                functions.push(Function { name, ..Function::default() });
                break;
            };
            functions.push(Function { name, file, line });
            at = call;
        }
        functions.reverse();
        Some(functions)
    }

    /// The offset of a function from the first; that of the end is after all others.
    fn entry(&self, index: usize) -> Option<u32> {
        u32_at(&self.data, self.records.checked_add(index.checked_mul(8)?)?)
    }

    fn find(&self, address: u64) -> Option<Record> {
        let offset = u32::try_from(address.checked_sub(self.text)?).ok()?;
        if offset < self.entry(0)? || offset >= self.entry(self.functions)? {
            return None;
        }
        let (mut low, mut high) = (0, self.functions);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(middle)? <= offset { low = middle } else { high = middle }
        }
        let at = u32_at(&self.data, self.records.checked_add(low * 8 + 4)?)?;
        let record =
            Record { at: self.records.checked_add(at as usize)?, entry: self.text + u64::from(self.entry(low)?) };
        (self.field(record, 0)? == self.entry(low)?).then_some(record)
    }

    /// A word of the fixed part of a record.
    fn field(&self, record: Record, index: usize) -> Option<u32> {
        u32_at(&self.data, record.at.checked_add(index * 4)?)
    }

    /// The offset of one of the tables that tell a value for each address of the function; 0 if there is none.
    fn pcdata(&self, record: Record, index: usize) -> u32 {
        let count = self.field(record, 7).unwrap_or(0) as usize;
        let at = record.at.checked_add(self.layout.function + index * 4).filter(|_| index < count);
        at.and_then(|at| u32_at(&self.data, at)).unwrap_or(0)
    }

    /// The address of what `funcdata` tells of the function.
    fn funcdata(&self, record: Record, index: usize) -> Option<u64> {
        let counts = self.field(record, self.layout.function / 4 - 1)?;
        let (tables, count) = (self.field(record, 7)? as usize, (counts >> 24) as usize);
        let at =
            record.at.checked_add(self.layout.function)?.checked_add(tables.checked_add(index)?.checked_mul(4)?)?;
        let offset = u32_at(&self.data, at).filter(|offset| index < count && *offset != u32::MAX)?;
        self.funcdata?.checked_add(u64::from(offset))
    }

    /// The name of an inlined function, and where in the outer one it was called.
    fn inlined(&self, record: Record, index: usize, memory: Memory<'_>) -> Option<(String, u64)> {
        let tree = self.funcdata(record, INLINE_TREE)?;
        let call = memory(tree.checked_add(index.checked_mul(self.layout.call)? as u64)?, self.layout.call)?;
        let place = u64::from(u32_at(&call, self.layout.call_place)?);
        let name = u32_at(&call, self.layout.call_name)?;
        // Were these no calls but anything else, they would hardly name a function from its first letter on.
        let at = self.names.checked_add(name as usize)?;
        let begins = name == 0 || self.data.get(at - 1) == Some(&0);
        let is_within = self.find(record.entry.checked_add(place)?)?.at == record.at;
        if begins && is_within { Some((self.name(name)?, place)) } else { None }
    }

    fn name(&self, offset: u32) -> Option<String> {
        self.text_at(self.names.checked_add(offset as usize)?)
    }

    fn text_at(&self, at: usize) -> Option<String> {
        let rest = self.data.get(at..)?;
        let end = rest.iter().take(MAX_TEXT_BYTES).position(|byte| *byte == 0)?;
        (end > 0).then(|| String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// The source file and line of a place in a function.
    fn line(&self, record: Record, at: u64) -> Option<(String, u32)> {
        let file = u32::try_from(self.value(self.field(record, 5)?, at)?).ok()?;
        let line = u32::try_from(self.value(self.field(record, 6)?, at)?).ok()?;
        let index = (self.field(record, 8)? as usize).checked_add(file as usize)?;
        let file = u32_at(&self.data, self.units.checked_add(index.checked_mul(4)?)?)?;
        Some((self.text_at(self.files.checked_add(file as usize)?)?, line))
    }

    /// The value that one of the tables of a function has at a place: pairs of differences, of the value and of the place that
    /// it holds up to.
    fn value(&self, table: u32, at: u64) -> Option<i32> {
        if table == 0 {
            return None;
        }
        let mut rest = self.data.get(self.values.checked_add(table as usize)?..)?;
        let (mut value, mut end, mut is_first) = (-1_i32, 0_u64, true);
        loop {
            self.steps.set(self.steps.get().checked_sub(1)?);
            let difference = varint(&mut rest)?;
            if difference == 0 && !is_first {
                return None;
            }
            is_first = false;
            let sign = 0_u32.wrapping_sub(difference & 1);
            value = value.wrapping_add((sign ^ (difference >> 1)).cast_signed());
            end = end.checked_add(u64::from(varint(&mut rest)?) * u64::from(self.quantum))?;
            if at < end {
                return Some(value);
            }
        }
    }
}

fn word(data: &[u8], index: usize) -> Option<u64> {
    let at = index.checked_mul(8)?;
    Some(u64::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

fn varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
