//! The tables in the kernel: what its maps hold, and where there is room in them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use perf_ebpf::unwind::{CODE_STEPS, Code, PAGE_BITS, Space};
use zerocopy::IntoBytes as _;

use super::Table;
use crate::{
    host::sys::SharedMap,
    task::{CodeMapping, Module, ModuleId},
};

/// How much the maps hold, in elements.
#[derive(Clone, Copy, Debug, Default)]
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
    /// What its table takes, whether it found room or not.
    needs: Room,
}

/// What is in the kernel of one process.
#[derive(Clone, Debug)]
struct Process {
    space: Space,
    files: Vec<ModuleId>,
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
    /// Processes that have files mapped whose tables are still being made.
    waiting: HashMap<ModuleId, HashSet<u32>>,
    /// Files whose tables are to be made.
    wanted: Vec<Arc<Module>>,
    processes: HashMap<u32, Process>,
    /// Places of mappings that programs may still read; then those that are free, both by their size.
    retired: Vec<Space>,
    free: HashMap<u32, Vec<u32>>,
    /// Whether a table has found no room.
    full: bool,
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
            used: Room::default(),
            files: HashMap::new(),
            waiting: HashMap::new(),
            wanted: Vec::new(),
            processes: HashMap::new(),
            retired: Vec::new(),
            free: HashMap::new(),
            full: false,
        }
    }

    /// Writes what a process has mapped, sorted by address; what its entry in the map of processes has to be. `None` when
    /// there is no room, nothing to be placed, or more than can be searched. Files whose tables are not there yet are wanted,
    /// and the process is told of when they come.
    pub fn place(&mut self, tgid: u32, mappings: &[CodeMapping]) -> Option<Space> {
        if mappings.is_empty() || mappings.len() >= 1 << CODE_STEPS {
            return None;
        }
        let mut files = Vec::new();
        let codes: Vec<Code> = mappings
            .iter()
            .map(|mapping| {
                files.push(mapping.module.id);
                let Placed { first_page, end_page, bias, .. } = self.file(tgid, &mapping.module);
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
        let first = first?;
        self.code.write(first as usize * size_of::<Code>(), codes.as_bytes());
        let space = Space { first, count: codes.len() as u32 };
        self.forget(tgid);
        self.processes.insert(tgid, Process { space, files });
        Some(space)
    }

    /// Forgets a process; its place is used again when programs that read it have ended.
    pub fn forget(&mut self, tgid: u32) {
        self.retired.extend(self.processes.remove(&tgid).map(|process| process.space));
    }

    /// Whether [`Self::settle`] would make room.
    #[must_use]
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// No program runs any more that ran when the last place was given up.
    pub fn settle(&mut self) {
        for space in self.retired.drain(..) {
            self.free.entry(space.count.next_power_of_two().max(8)).or_default().push(space.first);
        }
    }

    /// Where the mappings of a process are.
    pub(super) fn space(&self, tgid: u32) -> Option<Space> {
        self.processes.get(&tgid).map(|process| process.space)
    }

    /// A mapping.
    pub(super) fn code(&self, at: u32) -> Option<Code> {
        self.code.read(at as usize * size_of::<Code>())
    }

    /// The rows of a page, as the map has them.
    pub(super) fn page(&self, at: u32) -> Option<u64> {
        self.pages.read(at as usize * size_of::<u64>())
    }

    /// A row.
    pub(super) fn row(&self, at: u32) -> Option<u64> {
        self.rows.read(at as usize * size_of::<u64>())
    }

    /// The files whose tables are to be made, for [`Self::add`]; each is named once.
    pub fn take_wanted(&mut self) -> Vec<Arc<Module>> {
        std::mem::take(&mut self.wanted)
    }

    /// Writes a file's table; the processes that are to be placed anew, because they wait for it.
    pub fn add(&mut self, file: ModuleId, table: Option<&Table>) -> HashSet<u32> {
        let needs = table.map_or_else(Room::default, |table| Room {
            rows: table.rows.len() as u32,
            pages: table.pages.len().saturating_sub(1) as u32,
            code: 0,
        });
        let placed = table.filter(|_| self.has_room(needs)).map(|table| self.write(table, needs));
        self.files.insert(file, placed.unwrap_or(Placed { needs, ..Placed::default() }));
        self.waiting.remove(&file).unwrap_or_default()
    }

    /// Whether the table of a file has found no room since this was last asked, and clearing the maps would make much of it:
    /// all that processes map, with what found none, takes no more than half.
    pub fn should_clear(&mut self) -> bool {
        if !std::mem::take(&mut self.full) {
            return false;
        }
        let used: HashSet<ModuleId> = self.processes.values().flat_map(|process| &process.files).copied().collect();
        let mut needed = Room::default();
        for (_, placed) in self.files.iter().filter(|(file, _)| used.contains(file)) {
            needed.rows = needed.rows.saturating_add(placed.needs.rows);
            needed.pages = needed.pages.saturating_add(placed.needs.pages);
        }
        needed.rows <= self.room.rows / 2 && needed.pages <= self.room.pages / 2
    }

    /// Forgets everything; the processes that were known, whose entries have to go before anything is placed anew.
    pub fn clear(&mut self) -> Vec<u32> {
        self.used = Room::default();
        self.files.clear();
        self.retired.clear();
        self.free.clear();
        self.processes.drain().map(|(tgid, _)| tgid).collect()
    }

    fn file(&mut self, tgid: u32, module: &Arc<Module>) -> Placed {
        if let Some(placed) = self.files.get(&module.id) {
            return *placed;
        }
        if module.symbols_path.is_some() {
            let waiting = self.waiting.entry(module.id).or_insert_with(|| {
                self.wanted.push(Arc::clone(module));
                HashSet::new()
            });
            waiting.insert(tgid);
        }
        Placed::default()
    }

    fn has_room(&mut self, needs: Room) -> bool {
        let fits = needs.rows <= self.room.rows - self.used.rows && needs.pages <= self.room.pages - self.used.pages;
        self.full |= !fits;
        fits
    }

    /// Writes a table to the maps, which have room for it.
    fn write(&mut self, table: &Table, needs: Room) -> Placed {
        let words: Vec<u64> = table.rows.iter().map(|row| row.0).collect();
        self.rows.write(self.used.rows as usize * 8, words.as_bytes());
        let of = |page: &[u32]| u64::from(page[0] + self.used.rows) | u64::from(page[1] + self.used.rows) << 32;
        let words: Vec<u64> = table.pages.windows(2).map(of).collect();
        self.pages.write(self.used.pages as usize * 8, words.as_bytes());
        const _: () = assert!(PAGE_BITS == 16, "a page of file offset fits 32 bits for files of up to 2^48 bytes");
        let placed = Placed {
            first_page: self.used.pages,
            end_page: self.used.pages + needs.pages,
            bias: self.used.pages.wrapping_sub(table.first_page as u32),
            needs,
        };
        self.used.rows += needs.rows;
        self.used.pages += needs.pages;
        placed
    }
}
