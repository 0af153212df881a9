//! The tables in the kernel: what its maps hold, and where there is room in them.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    sync::Arc,
};

use perf_ebpf::unwind::{Code, PAGE_BITS, Space};
use zerocopy::IntoBytes as _;

use super::{NoTable, read};
use crate::{
    host::sys::SharedMap,
    task::{CodeMapping, Module, ModuleId},
};

/// How much the maps hold, in elements.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Rows of all files.
    pub rows: u32,
    /// Pages of all files.
    pub pages: u32,
    /// Mappings of all processes.
    pub code: u32,
}

/// Where a file's pages are.
#[derive(Clone, Copy, Debug, Default)]
struct Placed {
    first_page: u32,
    end_page: u32,
    /// What a page of file offset gains to become an index of the map of pages.
    bias: u32,
}

/// The tables in the kernel.
#[derive(Debug)]
pub struct Unwinder {
    code: SharedMap,
    pages: SharedMap,
    rows: SharedMap,
    room: Room,
    used: Room,
    files: HashMap<ModuleId, Placed>,
    /// Why files have no table.
    without: HashMap<String, NoTable>,
    spaces: HashMap<u32, Space>,
    /// Places of mappings that programs may still read; then those that are free, both by their size.
    retired: Vec<Space>,
    free: HashMap<u32, Vec<u32>>,
    full: HashSet<&'static str>,
}

impl Unwinder {
    /// Nothing in maps of this size.
    #[must_use]
    pub fn new(code: SharedMap, pages: SharedMap, rows: SharedMap, room: Room) -> Self {
        Self {
            code,
            pages,
            rows,
            room,
            used: Room { rows: 0, pages: 0, code: 0 },
            files: HashMap::new(),
            without: HashMap::new(),
            spaces: HashMap::new(),
            retired: Vec::new(),
            free: HashMap::new(),
            full: HashSet::new(),
        }
    }

    /// Writes what a process has mapped, sorted by address, with the tables of files that are new; what its entry in the map
    /// of processes has to be. `None` when there is no room.
    pub fn place(&mut self, tgid: u32, mappings: &[CodeMapping]) -> Option<Space> {
        let codes: Vec<Code> = mappings
            .iter()
            .map(|mapping| {
                let Placed { first_page, end_page, bias } = self.file(&mapping.module);
                let (start, end) = (mapping.start, mapping.end);
                let offset_bias = mapping.offset.wrapping_sub(start);
                Code { start, end, bias: offset_bias, pages: bias, first_page, end_page, reserved: 0 }
            })
            .collect();
        let size = (codes.len() as u32).next_power_of_two().max(8);
        let first = self.free.get_mut(&size).and_then(Vec::pop).or_else(|| {
            let first = self.used.code;
            (first + size <= self.room.code).then(|| {
                self.used.code += size;
                first
            })
        });
        let Some(first) = first else {
            self.full.insert("processes");
            return None;
        };
        self.code.write(first as usize * size_of::<Code>(), codes.as_bytes());
        let space = Space { first, count: codes.len() as u32 };
        self.forget(tgid);
        self.spaces.insert(tgid, space);
        Some(space)
    }

    /// Forgets a process; its place is used again when programs that read it have ended.
    pub fn forget(&mut self, tgid: u32) {
        self.retired.extend(self.spaces.remove(&tgid));
    }

    /// No program runs any more that ran when the last place was given up.
    pub fn settle(&mut self) {
        for space in self.retired.drain(..) {
            self.free.entry(space.count.next_power_of_two().max(8)).or_default().push(space.first);
        }
    }

    /// Files without a table, and why.
    #[must_use]
    pub fn without(&self) -> &HashMap<String, NoTable> {
        &self.without
    }

    /// Bytes of tables in use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.used.rows) * 8 + u64::from(self.used.pages) * 8
    }

    fn file(&mut self, module: &Arc<Module>) -> Placed {
        if let Some(placed) = self.files.get(&module.id) {
            return *placed;
        }
        let placed = match self.load(module) {
            Ok(placed) => placed,
            Err(why) => {
                self.without.insert(module.path.clone(), why);
                Placed::default()
            }
        };
        self.files.insert(module.id, placed);
        placed
    }

    fn load(&mut self, module: &Module) -> Result<Placed, NoTable> {
        let Some(path) = &module.symbols_path else { return Err(NoTable::Absent) };
        let file = File::open(path).map_err(|error| NoTable::Unreadable(error.to_string()))?;
        let table = read(&file)?;
        let (rows, pages) = (table.rows.len() as u32, table.pages.len().saturating_sub(1) as u32);
        if self.used.rows + rows > self.room.rows || self.used.pages + pages > self.room.pages {
            self.full.insert("files");
            return Err(NoTable::Full);
        }
        let words: Vec<u64> = table.rows.iter().map(|row| row.0).collect();
        self.rows.write(self.used.rows as usize * 8, words.as_bytes());
        let of = |page: &[u32]| u64::from(page[0] + self.used.rows) | u64::from(page[1] + self.used.rows) << 32;
        let words: Vec<u64> = table.pages.windows(2).map(of).collect();
        self.pages.write(self.used.pages as usize * 8, words.as_bytes());
        const _: () = assert!(PAGE_BITS == 16, "a page of file offset fits 32 bits for files of up to 2^48 bytes");
        let placed = Placed {
            first_page: self.used.pages,
            end_page: self.used.pages + pages,
            bias: self.used.pages.wrapping_sub(table.first_page as u32),
        };
        self.used.rows += rows;
        self.used.pages += pages;
        Ok(placed)
    }
}
