//! Symbols in a stripped file, packed: `.gnu_debugdata` holds an ELF file with a symbol table alone, as Fedora ships it.

use std::{
    fs::File,
    io::{self, Read as _},
};

use lzma_rust2::XzReader;

use super::outline::Outline;
use crate::host::sys;

const SECTION: &str = ".gnu_debugdata";

/// A tenth of that is much.
const MAX_PACKED_BYTES: u64 = 16 << 20;

/// The symbols of Chromium would fit; what unpacks to more is meant to harm.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// The best packers ask for as much.
const MAX_DICTIONARY_KIB: u32 = 72 << 10;

/// The unpacked symbols of a file with this outline, and how many bytes of memory they take; `None` if it has none.
pub(super) fn symbols(file: &File, outline: &Outline) -> Option<(File, u64)> {
    let symbols = unpack(&outline.data(file, SECTION, MAX_PACKED_BYTES)?, MAX_UNPACKED_BYTES).ok()?;
    Some((sys::memory_file(symbols.as_ptr() as u64, symbols.len() as u64).ok()?, symbols.len() as u64))
}

fn unpack(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut symbols = Vec::new();
    let mut reader = XzReader::new_mem_limit(packed, false, MAX_DICTIONARY_KIB).take(limit + 1);
    reader.read_to_end(&mut symbols)?;
    if symbols.len() as u64 > limit {
        return Err(io::Error::other("it unpacks to more than is sane"));
    }
    Ok(symbols)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::io::Write as _;

    use lzma_rust2::{XzOptions, XzWriter};

    use super::{super::fixture::Elf, *};

    fn pack(data: &[u8]) -> Vec<u8> {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn symbols_are_unpacked_whole() {
        let inner = Elf::default().section(".symtab", b"names").bytes();
        let file = Elf::default().section(SECTION, &pack(&inner)).file();
        let (mut symbols, bytes) = symbols(&file, &Outline::read(&file).unwrap()).unwrap();
        let mut content = Vec::new();
        io::Seek::rewind(&mut symbols).unwrap();
        symbols.read_to_end(&mut content).unwrap();
        assert_eq!((content.len() as u64, content), (bytes, inner));
    }

    #[test]
    fn what_unpacks_to_too_much_or_to_nothing_is_no_symbols() {
        let zeros = pack(&[0; 100_000]);
        assert!(zeros.len() < 1000, "{} bytes", zeros.len());
        assert!(unpack(&zeros, 99_999).is_err());
        assert_eq!(unpack(&zeros, 100_000).unwrap().len(), 100_000);
        let mut cut = pack(b"something");
        cut.truncate(cut.len() / 2);
        for data in [&cut[..], b"no xz", b""] {
            let file = Elf::default().section(SECTION, data).file();
            assert!(symbols(&file, &Outline::read(&file).unwrap()).is_none(), "{} bytes", data.len());
        }
        let file = Elf::default().file();
        assert!(symbols(&file, &Outline::read(&file).unwrap()).is_none());
    }
}
