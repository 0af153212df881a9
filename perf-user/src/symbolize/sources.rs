//! Where else the places of a file have names than in the file itself: its debug file, and symbols packed within it.

use std::{
    cell::OnceCell,
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use blazesym::symbolize::{
    Input, Symbolizer,
    source::{Elf, Source},
};

use super::{
    Named, Unnamed, debug_files::DebugFiles, go::GoTable, lookup, outline::Outline, packed, symbolizer, trust,
};
use crate::task::{Module, ModuleKind};

/// A file that belongs to another: both are loaded at the same addresses.
#[derive(Debug)]
struct Companion {
    symbolizer: Symbolizer,
    path: PathBuf,
    /// Holds it open, so that its path stays its own.
    _file: File,
    /// Whether what it says is better than what the file itself says, or only more.
    is_better: bool,
    /// Whether its debug information may be read.
    debug_syms: bool,
}

/// The files that complete another.
#[derive(Debug, Default)]
pub(super) struct Sources {
    outline: Option<Outline>,
    companions: Vec<Companion>,
    /// Read when the first place turns up that has no line otherwise.
    go: OnceCell<Option<GoTable>>,
    /// Whether debug information in the file itself may be read.
    pub(super) debug_syms: bool,
    /// Memory they take beside the heap.
    pub(super) bytes: i64,
}

impl Sources {
    /// Finds those of the module whose file is at `path`.
    pub(super) fn of(module: &Module, path: &Path, debug_files: &mut DebugFiles) -> Self {
        let Some((file, outline)) = read(path) else { return Self::default() };
        let mut sources = Self { debug_syms: may_read_debug_information(path, &outline), ..Self::default() };
        if module.kind == ModuleKind::File {
            if (!sources.debug_syms || !outline.has(".debug_info"))
                && let Some(found) = debug_files.find(module, &outline)
            {
                sources.companions.push(Companion::new(found, true));
            }
            if !outline.has(".symtab")
                && let Some((symbols, bytes)) = packed::symbols(&file, &outline)
            {
                sources.companions.push(Companion::new(symbols, false));
                sources.bytes += bytes as i64;
            }
        }
        sources.outline = Some(outline);
        sources
    }

    /// Completes what the file at `path` itself says of the places at these offsets.
    pub(super) fn complete(&self, module: &Module, path: &Path, offsets: &[u64], named: &mut [Named]) {
        let Some(outline) = &self.outline else { return };
        self.ask_companions(module, outline, offsets, named);
        self.ask_go(path, outline, offsets, named);
    }

    fn ask_companions(&self, module: &Module, outline: &Outline, offsets: &[u64], named: &mut [Named]) {
        for companion in &self.companions {
            let wanted = |at: &usize| companion.is_better || named[*at].unnamed.is_some();
            let places = (0..offsets.len()).filter(wanted);
            let places = places.filter_map(|at| Some((at, offsets[at], outline.address(offsets[at])?)));
            let places: Vec<(usize, u64, u64)> = places.collect();
            let offsets: Vec<u64> = places.iter().map(|place| place.1).collect();
            let addresses: Vec<u64> = places.iter().map(|place| place.2).collect();
            let found = companion.lookup(module, &addresses, &offsets).unwrap_or_default();
            for (found, (at, ..)) in found.into_iter().zip(places) {
                // That it has no name there either is the better reason: the file is not just stripped.
                let is_reason = found.unnamed == Some(Unnamed::NoSymbol) && named[at].unnamed.is_some();
                if found.unnamed.is_none() || is_reason {
                    named[at] = found;
                }
            }
        }
    }
}

impl Sources {
    fn ask_go(&self, path: &Path, outline: &Outline, offsets: &[u64], named: &mut [Named]) {
        let lacks_line = |named: &Named| named.functions.iter().all(|function| function.file.is_empty());
        if !GoTable::is_in(outline) || !named.iter().any(lacks_line) {
            return;
        }
        let Ok(file) = File::open(path) else { return };
        let Some(table) = self.go.get_or_init(|| GoTable::read(&file, outline)) else { return };
        let memory = |address: u64, length: usize| outline.memory(&file, address, length);
        for (named, offset) in named.iter_mut().zip(offsets).filter(|(named, _)| lacks_line(named)) {
            let found = outline.address(*offset).and_then(|address| table.functions(address, &memory));
            if let Some(functions) = found {
                *named = Named { functions, unnamed: None };
            }
        }
    }
}

impl Companion {
    fn new(file: File, is_better: bool) -> Self {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let debug_syms =
            is_better && read(&path).is_some_and(|(_, outline)| may_read_debug_information(&path, &outline));
        Self { symbolizer: symbolizer(), path, _file: file, is_better, debug_syms }
    }

    /// With debug information, or, where that cannot be read, with symbols alone.
    fn lookup(&self, module: &Module, addresses: &[u64], offsets: &[u64]) -> Option<Vec<Named>> {
        if addresses.is_empty() {
            return None;
        }
        let with = |debug_syms| {
            let elf = Elf { debug_syms, ..Elf::new(&self.path) };
            lookup(&self.symbolizer, module, &Source::Elf(elf), Input::VirtOffset(addresses), offsets)
        };
        self.debug_syms.then(|| with(true)).flatten().or_else(|| with(false))
    }
}

fn read(path: &Path) -> Option<(File, Outline)> {
    let file = File::open(path).ok()?;
    let outline = Outline::read(&file)?;
    Some((file, outline))
}

/// Links are not left to the symbolizer to follow: it would open whatever lies at their end.
fn may_read_debug_information(path: &Path, outline: &Outline) -> bool {
    !outline.names(".gnu_debuglink") && trust::debug_information_is_sane(path)
}
