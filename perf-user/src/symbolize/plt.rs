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
    Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, ObjectSymbolTable as _, ReadCache, SymbolIndex,
    read::elf::{ElfFile64, SectionHeader as _},
};

/// A section of stubs: where it lies in the file, and which relocation its first stub belongs to.
#[derive(Debug)]
struct Stubs {
    offsets: Range<u64>,
    entry_bytes: u64,
    /// Bytes before the stub of the first relocation; `None` if the order is not that of the relocations.
    header_bytes: Option<u64>,
}

/// The stubs of one file. Their names are read when the first is asked for: most files are never sampled in one.
#[derive(Debug, Default)]
pub(super) struct Plt {
    path: PathBuf,
    sections: Vec<Stubs>,
    names: OnceCell<Vec<String>>,
}

const ENTRY_BYTES: u64 = 16;

/// A stub with a landing pad or a signed return address (`-z force-bti`, `-z pac-plt`), on 64-bit Arm.
const LONG_ENTRY_BYTES: u64 = 24;

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
        let target = stubs.header_bytes.and_then(|header_bytes| {
            let bytes = (offset - stubs.offsets.start).checked_sub(header_bytes)?;
            self.names().get((bytes / stubs.entry_bytes) as usize)
        });
        Some(target.map_or_else(|| "[plt]".to_owned(), |name| format!("{name}@plt")))
    }
}

fn sections(file: File) -> object::Result<Vec<Stubs>> {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<object::Endianness, _>::parse(&cache)?;
    let mut found = Vec::new();
    for section in elf.sections() {
        // The classic section begins with the code that calls the dynamic linker: as long as one stub (System V ABI, AMD64,
        // 5.2), on 64-bit Arm as two.
        let (entry_bytes, header_bytes) = match (section.name()?, elf.architecture()) {
            (".plt", Architecture::Aarch64) => {
                let said_bytes = section.elf_section_header().sh_entsize(elf.endian());
                (if said_bytes == LONG_ENTRY_BYTES { said_bytes } else { ENTRY_BYTES }, Some(2 * ENTRY_BYTES))
            }
            (".plt", _) => (ENTRY_BYTES, Some(ENTRY_BYTES)),
            (".plt.sec", _) => (ENTRY_BYTES, Some(0)),
            (".plt.got", _) => (8, None),
            _ => continue,
        };
        if let Some((start, bytes)) = section.file_range() {
            found.push(Stubs { offsets: start..start.saturating_add(bytes), entry_bytes, header_bytes });
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
        let stubs = |start: u64, entry_bytes, header_bytes| Stubs {
            offsets: start..start + 80,
            entry_bytes,
            header_bytes: Some(header_bytes),
        };
        let plt = Plt {
            sections: vec![stubs(0x1000, 16, 16), stubs(0x2000, 16, 0), stubs(0x4000, 24, 32)],
            path: PathBuf::new(),
            names: OnceCell::from(vec!["a".into(), "b".into()]),
        };
        let name = |offset| plt.name(offset);
        assert_eq!(name(0x1000).as_deref(), Some("[plt]"), "the dynamic linker's");
        assert_eq!(name(0x1010).as_deref(), Some("a@plt"));
        assert_eq!(name(0x102f).as_deref(), Some("b@plt"));
        assert_eq!(name(0x2000).as_deref(), Some("a@plt"));
        assert_eq!(name(0x3000), None);
        assert_eq!(name(0x401f).as_deref(), Some("[plt]"), "two stubs long on 64-bit Arm");
        assert_eq!(name(0x4020).as_deref(), Some("a@plt"));
        assert_eq!(name(0x4038).as_deref(), Some("b@plt"));
    }

    #[test]
    fn what_is_no_elf_has_no_stubs() {
        assert!(Plt::read(Path::new("/proc/self/maps")).sections.is_empty());
    }
}
