//! Names for the stubs through which a file calls functions of others: `malloc@plt`.
//!
//! No symbol covers them, and a lookup that takes the nearest symbol before them would blame `_init`.

use std::{
    cell::OnceCell,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, ObjectSymbolTable as _, ReadCache, SymbolIndex,
    read::elf::ElfFile64,
};

/// A section of stubs: where it lies in the file, and which relocation its first stub belongs to.
#[derive(Debug)]
struct Stubs {
    offsets: Range<u64>,
    entry_bytes: u64,
    /// Stubs before the one of the first relocation; `None` if the order is not that of the relocations.
    header: Option<u64>,
}

/// The stubs of one file. Their names are read when the first is asked for: most files are never sampled in one.
#[derive(Debug, Default)]
pub(super) struct Plt {
    path: PathBuf,
    sections: Vec<Stubs>,
    names: OnceCell<Vec<String>>,
}

const ENTRY_BYTES: u64 = 16;
const RELA_BYTES: usize = 24;

/// No linker makes more stubs than fit in this.
const MAX_RELOCATION_BYTES: u64 = 16 << 20;

impl Plt {
    /// Reads where a file has stubs; nowhere when it has none, or cannot be read.
    pub(super) fn read(path: &Path) -> Self {
        let sections = File::open(path).ok().and_then(|file| sections(file).ok()).unwrap_or_default();
        Self { path: path.to_owned(), sections, names: OnceCell::new() }
    }

    fn names(&self) -> &[String] {
        self.names.get_or_init(|| File::open(&self.path).ok().and_then(|file| names(file).ok()).unwrap_or_default())
    }

    /// The name of the stub at a file offset; `None` when there is no stub.
    pub(super) fn name(&self, offset: u64) -> Option<String> {
        let stubs = self.sections.iter().find(|stubs| stubs.offsets.contains(&offset))?;
        let index = (offset - stubs.offsets.start) / stubs.entry_bytes;
        let target = stubs.header.and_then(|header| self.names().get(index.checked_sub(header)? as usize));
        Some(target.map_or_else(|| "[plt]".to_owned(), |name| format!("{name}@plt")))
    }
}

fn sections(file: File) -> object::Result<Vec<Stubs>> {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<object::Endianness, _>::parse(&cache)?;
    let mut found = Vec::new();
    for section in elf.sections() {
        // The classic section begins with the stub that calls the dynamic linker (System V ABI, AMD64, 5.2).
        let (entry_bytes, header) = match section.name()? {
            ".plt" => (ENTRY_BYTES, Some(1)),
            ".plt.sec" => (ENTRY_BYTES, Some(0)),
            ".plt.got" => (8, None),
            _ => continue,
        };
        if let Some((start, bytes)) = section.file_range() {
            found.push(Stubs { offsets: start..start.saturating_add(bytes), entry_bytes, header });
        }
    }
    Ok(found)
}

/// The names that the relocations of stubs ask for, in their order.
fn names(file: File) -> object::Result<Vec<String>> {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<object::Endianness, _>::parse(&cache)?;
    let relocations = elf.section_by_name(".rela.plt").filter(|section| section.size() <= MAX_RELOCATION_BYTES);
    let Some(relocations) = relocations else { return Ok(Vec::new()) };
    let symbols = elf.dynamic_symbol_table();
    let name = |entry: &[u8]| {
        let symbol = u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]);
        let name = symbols.and_then(|table| table.symbol_by_index(SymbolIndex(symbol as usize)).ok()?.name().ok());
        name.filter(|name| !name.is_empty()).unwrap_or("*ifunc").to_owned()
    };
    Ok(relocations.data()?.chunks_exact(RELA_BYTES).map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_of_this_very_program() {
        // Test programs are linked dynamically against the C library, and call it through stubs or directly.
        let plt = Plt::read(Path::new("/proc/self/exe"));
        for stubs in &plt.sections {
            assert!(plt.name(stubs.offsets.start).is_some());
            assert!(plt.name(stubs.offsets.end).is_none_or(|name| name.contains("plt")));
        }
    }

    #[test]
    fn stubs_are_numbered_from_the_first_relocation() {
        let stubs = |start: u64, header| Stubs { offsets: start..start + 64, entry_bytes: 16, header };
        let plt = Plt {
            sections: vec![stubs(0x1000, Some(1)), stubs(0x2000, Some(0))],
            path: PathBuf::new(),
            names: OnceCell::from(vec!["a".into(), "b".into()]),
        };
        let name = |offset| plt.name(offset);
        assert_eq!(name(0x1000).as_deref(), Some("[plt]"), "the dynamic linker's");
        assert_eq!(name(0x1010).as_deref(), Some("a@plt"));
        assert_eq!(name(0x102f).as_deref(), Some("b@plt"));
        assert_eq!(name(0x2000).as_deref(), Some("a@plt"));
        assert_eq!(name(0x3000), None);
    }

    #[test]
    fn what_is_no_elf_has_no_stubs() {
        assert!(Plt::read(Path::new("/proc/self/maps")).sections.is_empty());
    }
}
