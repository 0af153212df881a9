//! What lies where locks are: a variable of a program or a library, a place in a file that processes share, or memory.

use std::{cmp::Reverse, collections::HashMap, fs::File, path::Path, sync::Arc};

use object::{
    Object as _, ObjectSegment as _, ObjectSymbol as _, ObjectSymbolTable as _, ReadCache, SymbolIndex, SymbolKind,
};

use crate::{
    host::{
        files::open_regular,
        perf_ring::MapEvent,
        proc::{self, ANONYMOUS, DELETED},
    },
    symbolize::demangled,
};

/// Names of so many locks of a process are remembered, and of so many processes.
const MOST: usize = 65_536;
const MOST_PROCESSES: usize = 4_096;

/// Of so many files are the variables remembered.
const MOST_FILES: usize = 32;

/// Of larger files, and of those with more variables, it is not asked what these are called.
const MOST_BYTES: u64 = 1 << 30;
const MOST_SYMBOLS: usize = 500_000;

/// Longer names are cut.
const MOST_CHARACTERS: usize = 256;

/// The names of locks, each found out once.
#[derive(Debug, Default)]
pub(super) struct LockNames {
    known: HashMap<u32, HashMap<u64, String>>,
    /// What processes have mapped, as far as it was asked in this window.
    mappings: HashMap<u32, Vec<MapEvent>>,
    /// By device and inode.
    files: HashMap<(u64, u64), Arc<Variables>>,
}

impl LockNames {
    /// What the lock at this address of a process is called: `queue_lock+0x8 in server`, or `0x7f1200000040 (heap)`.
    pub(super) fn name(&mut self, tgid: u32, lock: u64) -> String {
        if let Some(name) = self.known.get(&tgid).and_then(|known| known.get(&lock)) {
            return name.clone();
        }
        let mappings = self.mappings.entry(tgid).or_insert_with(|| proc::all_mappings(tgid).unwrap_or_default());
        let name = name(tgid, lock, mappings, &mut self.files);
        if self.known.len() >= MOST_PROCESSES {
            self.known.clear();
        }
        let known = self.known.entry(tgid).or_default();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(lock, name.clone());
        name
    }

    /// The window has been located: what is mapped then may change.
    pub(super) fn end_window(&mut self) {
        self.mappings.clear();
    }

    /// What was known of a process, which has ended or begun another program, holds no more.
    pub(super) fn forget(&mut self, tgid: u32) {
        self.known.remove(&tgid);
    }
}

fn name(tgid: u32, lock: u64, mappings: &[MapEvent], files: &mut HashMap<(u64, u64), Arc<Variables>>) -> String {
    // They are in the order of their addresses.
    let at = mappings.partition_point(|mapping| mapping.start <= lock).checked_sub(1);
    let holds = |at: &usize| lock.wrapping_sub(mappings[*at].start) < mappings[*at].bytes;
    let Some(at) = at.filter(holds) else { return format!("{lock:#x}") };
    let mapping = &mappings[at];
    let is_file = |mapping: &MapEvent| mapping.path.starts_with('/') && mapping.inode != 0;
    if mapping.path == "[heap]" || mapping.path.starts_with("[stack") {
        return format!("{lock:#x} ({})", mapping.path.trim_matches(['[', ']']));
    }
    // Variables that begin as zeros lie in memory without a file, behind what is mapped of theirs.
    let before = at.checked_sub(1).map(|at| &mappings[at]);
    let before = before.filter(|before| mapping.path == ANONYMOUS && before.start + before.bytes == mapping.start);
    let file = before.unwrap_or(mapping);
    if !is_file(file) {
        return format!("{lock:#x} (memory)");
    }
    let variables = files.get(&(file.device, file.inode)).cloned().unwrap_or_else(|| {
        let variables = Arc::new(Variables::of(tgid, file).unwrap_or_default());
        if files.len() >= MOST_FILES {
            files.clear();
        }
        files.insert((file.device, file.inode), Arc::clone(&variables));
        variables
    });
    let path = file.path.trim_end_matches(DELETED);
    let short = Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy());
    if variables.segments.is_empty() {
        // No program: memory that processes share, most likely.
        let offset = lock - file.start + file.offset;
        return if file.start == mapping.start { format!("{path}+{offset:#x}") } else { format!("{lock:#x} (memory)") };
    }
    let Some(address) = variables.address(lock, file) else { return format!("{lock:#x} (memory)") };
    match variables.at(address) {
        Some((name, 0)) => format!("{name} in {short}"),
        Some((name, offset)) => format!("{name}+{offset:#x} in {short}"),
        None => format!("{address:#x} in {short}"),
    }
}

/// The variables of a file.
#[derive(Debug, Default)]
struct Variables {
    /// Where its segments are, of those that are loaded: offset in the file, address, size in memory.
    segments: Vec<[u64; 3]>,
    /// Address, size, in the order of their addresses; and where the name is: whether among those of dynamic linking.
    symbols: Vec<(u64, u64, SymbolIndex, bool)>,
    /// The file, for the names.
    file: Option<File>,
}

impl Variables {
    fn of(tgid: u32, mapping: &MapEvent) -> Option<Self> {
        let path = mapping.path.trim_end_matches(DELETED);
        let opened = open_regular(&proc::map_file(tgid, mapping))
            .or_else(|_| open_regular(Path::new(&format!("/proc/{tgid}/root{path}"))));
        let file = opened.ok().filter(|file| file.metadata().is_ok_and(|metadata| metadata.len() <= MOST_BYTES))?;
        Some(Self { file: Some(file.try_clone().ok()?), ..Self::read(&file)? })
    }

    fn read(file: &File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let elf = object::File::parse(&cache).ok()?;
        let segments = elf.segments().map(|segment| [segment.file_range().0, segment.address(), segment.size()]);
        let own = elf.symbols().map(|symbol| (symbol, false));
        let variables = own.chain(elf.dynamic_symbols().map(|symbol| (symbol, true)));
        let variables = variables.filter(|(symbol, _)| symbol.kind() == SymbolKind::Data && symbol.is_definition());
        let place = |(symbol, dynamic): (object::Symbol<'_, '_, _>, bool)| {
            (symbol.address(), symbol.size().max(1), symbol.index(), dynamic)
        };
        let mut symbols: Vec<(u64, u64, SymbolIndex, bool)> = variables.map(place).take(MOST_SYMBOLS).collect();
        // Of several at one address the largest.
        symbols.sort_by_key(|(address, size, ..)| (*address, Reverse(*size)));
        symbols.dedup_by_key(|(address, ..)| *address);
        Some(Self { segments: segments.collect(), symbols, file: None })
    }

    /// The address in the file of what lies here, of which this part is mapped.
    fn address(&self, lock: u64, mapping: &MapEvent) -> Option<u64> {
        // A mapping begins at a page, and a segment somewhere in it, maybe where another one ends.
        let page = |value: u64| value & !0xfff;
        let begins = self.segments.iter().filter(|[offset, ..]| page(*offset) <= mapping.offset);
        let [offset, address, _] = begins.max_by_key(|[offset, ..]| *offset)?;
        let bias = mapping.start.wrapping_sub(mapping.offset).wrapping_sub(address.wrapping_sub(*offset));
        let found = lock.wrapping_sub(bias);
        let holds = |[_, address, size]: &[u64; 3]| found.wrapping_sub(*address) < *size;
        self.segments.iter().any(holds).then_some(found)
    }

    /// The variable at an address, and how far in it that is.
    fn at(&self, address: u64) -> Option<(String, u64)> {
        let before = self.symbols.partition_point(|(begin, ..)| *begin <= address);
        let (begin, size, index, dynamic) = self.symbols.get(before.checked_sub(1)?)?;
        if address - begin >= *size {
            return None;
        }
        let cache = ReadCache::new(self.file.as_ref()?);
        let elf = object::File::parse(&cache).ok()?;
        let table = if *dynamic { elf.dynamic_symbol_table() } else { elf.symbol_table() };
        let symbol = table?.symbol_by_index(*index).ok()?;
        let name: String = demangled(symbol.name().ok()?).chars().take(MOST_CHARACTERS).collect();
        Some((name, address - begin))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    static LOCKS_OF_TESTS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
    static SET_BEFORE: [AtomicU32; 4] = [const { AtomicU32::new(7) }; 4];

    #[test]
    fn locks_are_called_after_what_they_lie_in() {
        let mut names = LockNames::default();
        let mut name = |address: *const AtomicU32| names.name(std::process::id(), address as u64);
        LOCKS_OF_TESTS[3].store(1, Relaxed);
        let zeros = name(&raw const LOCKS_OF_TESTS[3]);
        assert!(zeros.contains("LOCKS_OF_TESTS") && zeros.contains("+0xc in "), "{zeros}");
        let set = name(&raw const SET_BEFORE[0]);
        assert!(set.contains("SET_BEFORE in "), "{set}");
        let boxed = Box::new(AtomicU32::new(0));
        let heap = name(&raw const *boxed);
        assert!(heap.ends_with("(heap)") || heap.ends_with("(memory)"), "{heap}");
        let local = AtomicU32::new(0);
        let stack = name(&raw const local);
        assert!(stack.ends_with("(memory)") || stack.ends_with("(stack)"), "{stack}");
        assert_eq!(name(std::ptr::without_provenance(16)), "0x10");
    }
}
