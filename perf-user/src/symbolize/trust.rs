//! Whether the debug information of a file can be read without harm. The files are the target's, which may be hostile to a
//! recorder that runs as root.

use std::{fs::File, path::Path};

use object::{Object as _, ObjectSection as _, ReadCache, read::elf::ElfFile64};

/// More than this of a section, unpacked, is no program's.
const MAX_SECTION_BYTES: u64 = 4 << 30;

/// zlib packs a thousand times at the most, and zstd hardly anything real more.
const MAX_RATIO: u64 = 1100;

/// Whether sections unpack to a sane size, and links lead to files.
pub(super) fn debug_information_is_sane(path: &Path) -> bool {
    File::open(path).ok().and_then(|file| check(file).ok()).unwrap_or(false)
}

fn check(file: File) -> object::Result<bool> {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<object::Endianness, _>::parse(&cache)?;
    for section in elf.sections() {
        let range = section.compressed_file_range()?;
        let (packed, unpacked) = (range.compressed_size, range.uncompressed_size);
        if unpacked > MAX_SECTION_BYTES || (unpacked != packed && unpacked / MAX_RATIO > packed) {
            return Ok(false);
        }
        let link_is_sane = match section.name()? {
            // A bare name, which is looked for in the debug directories.
            ".gnu_debuglink" => linked(section.data()?).is_some_and(|name| !name.contains('/')),
            // A path: what is there must be a file, so that opening it cannot wait.
            ".gnu_debugaltlink" => linked(section.data()?).is_some_and(|name| {
                Path::new(name).is_absolute() && std::fs::metadata(name).map_or(true, |metadata| metadata.is_file())
            }),
            _ => true,
        };
        if !link_is_sane {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The text before the first zero byte.
fn linked(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_sane_and_no_elf_is_not() {
        assert!(debug_information_is_sane(Path::new("/proc/self/exe")));
        assert!(!debug_information_is_sane(Path::new("/proc/self/maps")));
    }

    #[test]
    fn links_end_at_the_zero() {
        assert_eq!(linked(b"libc.debug\0\0\x01\x02"), Some("libc.debug"));
        assert_eq!(linked(b"\xff\0"), None);
    }
}
