//! What an ELF file says of itself: sections, segments, build id, and the link to its debug file. The file is the target's:
//! nothing is read that is not bounded.

use std::{fs::File, os::unix::fs::FileExt as _};

use object::{
    Endianness, elf,
    elf::{FileHeader64, ProgramHeader64, SectionHeader64},
    pod,
};

type Header = FileHeader64<Endianness>;
type Section = SectionHeader64<Endianness>;
type Segment = ProgramHeader64<Endianness>;

const ENDIAN: Endianness = Endianness::Little;

/// Linkers make a few dozen.
const MAX_SEGMENTS: usize = 4_096;

/// What the table of sections, and the names of all, may take.
const MAX_TABLE_BYTES: u64 = 4 << 20;

/// Notes and links are a few dozen bytes.
const MAX_NOTE_BYTES: u64 = 64 << 10;

/// What `.gnu_debuglink` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DebugLink {
    /// The debug file's name, without directories.
    pub(super) name: String,
    /// The CRC-32 of all that the debug file holds.
    pub(super) checksum: u32,
}

/// An ELF file of 64 bits, as far as its headers tell.
#[derive(Debug, Default)]
pub(super) struct Outline {
    sections: Vec<(String, Section)>,
    segments: Vec<Segment>,
    /// If it has one.
    pub(super) build_id: Option<Vec<u8>>,
    /// If it is one to be followed.
    pub(super) link: Option<DebugLink>,
}

impl Outline {
    /// Reads it; `None` when it is no ELF file of 64 bits and little endian, or out of bounds.
    pub(super) fn read(file: &File) -> Option<Self> {
        let header = bytes(file, 0, size_of::<Header>() as u64, MAX_NOTE_BYTES)?;
        let (header, _) = pod::from_bytes::<Header>(&header).ok()?;
        let ident = &header.e_ident;
        if (ident.magic, ident.class, ident.data) != (elf::ELFMAG, elf::ELFCLASS64, elf::ELFDATA2LSB) {
            return None;
        }
        let mut outline = Self { segments: segments(file, header)?, ..Self::default() };
        outline.sections = sections(file, header)?;
        outline.build_id = outline.sections.iter().find_map(|(_, section)| {
            let is_note = section.sh_type.get(ENDIAN) == elf::SHT_NOTE;
            is_note.then(|| build_id(&section_data(file, section, MAX_NOTE_BYTES)?)).flatten()
        });
        outline.link = outline.data(file, ".gnu_debuglink", MAX_NOTE_BYTES).and_then(|data| link(&data));
        Some(outline)
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find_map(|(its, section)| (its == name).then_some(section))
    }

    /// Whether there is a section of this name, whatever is in it.
    pub(super) fn names(&self, section: &str) -> bool {
        self.section(section).is_some()
    }

    /// Whether a section of this name holds something.
    pub(super) fn has(&self, section: &str) -> bool {
        self.section(section)
            .is_some_and(|section| section.sh_type.get(ENDIAN) != elf::SHT_NOBITS && section.sh_size.get(ENDIAN) > 0)
    }

    /// What a section holds; `None` if there is none, or more than `limit` bytes.
    pub(super) fn data(&self, file: &File, section: &str, limit: u64) -> Option<Vec<u8>> {
        section_data(file, self.section(section)?, limit)
    }

    /// The address that a section is loaded at.
    pub(super) fn address_of(&self, section: &str) -> Option<u64> {
        self.section(section).map(|section| section.sh_addr.get(ENDIAN))
    }

    /// What the file holds of the memory at this address.
    pub(super) fn memory(&self, file: &File, address: u64, length: usize) -> Option<Vec<u8>> {
        let offset =
            self.segments.iter().filter(|segment| segment.p_type.get(ENDIAN) == elf::PT_LOAD).find_map(|segment| {
                let within = address.checked_sub(segment.p_vaddr.get(ENDIAN))?;
                let end = within.checked_add(length as u64)?;
                (end <= segment.p_filesz.get(ENDIAN))
                    .then(|| segment.p_offset.get(ENDIAN).checked_add(within))
                    .flatten()
            });
        bytes(file, offset?, length as u64, MAX_NOTE_BYTES)
    }

    /// The address that a place in the file is loaded at.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.p_type.get(ENDIAN) == elf::PT_LOAD).find_map(|segment| {
            let within = offset.checked_sub(segment.p_offset.get(ENDIAN))?;
            (within < segment.p_filesz.get(ENDIAN)).then(|| segment.p_vaddr.get(ENDIAN).checked_add(within)).flatten()
        })
    }
}

fn segments(file: &File, header: &Header) -> Option<Vec<Segment>> {
    let count = usize::from(header.e_phnum.get(ENDIAN));
    if count > MAX_SEGMENTS || usize::from(header.e_phentsize.get(ENDIAN)) != size_of::<Segment>() {
        return (count == 0).then(Vec::new);
    }
    let table = bytes(file, header.e_phoff.get(ENDIAN), (count * size_of::<Segment>()) as u64, MAX_TABLE_BYTES)?;
    Some(pod::slice_from_all_bytes::<Segment>(&table).ok()?.to_vec())
}

fn sections(file: &File, header: &Header) -> Option<Vec<(String, Section)>> {
    let count = u64::from(header.e_shnum.get(ENDIAN));
    if count == 0 || usize::from(header.e_shentsize.get(ENDIAN)) != size_of::<Section>() {
        return Some(Vec::new());
    }
    let table = bytes(file, header.e_shoff.get(ENDIAN), count * size_of::<Section>() as u64, MAX_TABLE_BYTES)?;
    let table = pod::slice_from_all_bytes::<Section>(&table).ok()?;
    let names = table.get(usize::from(header.e_shstrndx.get(ENDIAN)))?;
    let names = section_data(file, names, MAX_TABLE_BYTES)?;
    let name = |section: &Section| {
        let rest = names.get(section.sh_name.get(ENDIAN) as usize..).unwrap_or_default();
        // Linkers share the ends of names, so that one long name could be had again and again.
        let name = rest[..rest.len().min(256)].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    Some(table.iter().map(|section| (name(section), *section)).collect())
}

fn section_data(file: &File, section: &Section, limit: u64) -> Option<Vec<u8>> {
    if section.sh_type.get(ENDIAN) == elf::SHT_NOBITS {
        return None;
    }
    bytes(file, section.sh_offset.get(ENDIAN), section.sh_size.get(ENDIAN), limit)
}

fn bytes(file: &File, offset: u64, length: u64, limit: u64) -> Option<Vec<u8>> {
    let end = offset.checked_add(length)?;
    if length > limit || end > file.metadata().ok()?.len() {
        return None;
    }
    let mut data = vec![0; length as usize];
    file.read_exact_at(&mut data, offset).ok()?;
    Some(data)
}

/// The build id in a section of notes (System V ABI, "Note Section"; `NT_GNU_BUILD_ID`).
fn build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    /// Shorter ones say nothing; the longest in use have 32 bytes.
    const BYTES: std::ops::RangeInclusive<usize> = 8..=64;
    while let Some((head, rest)) = notes.split_at_checked(12) {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name_bytes, id_bytes) = (word(0) as usize, word(4) as usize);
        let (name, rest) = rest.split_at_checked(name_bytes.checked_next_multiple_of(4)?)?;
        let id = rest.get(..id_bytes)?;
        if word(8) == elf::NT_GNU_BUILD_ID && name == b"GNU\0" {
            return BYTES.contains(&id_bytes).then(|| id.to_vec());
        }
        notes = rest.get(id_bytes.checked_next_multiple_of(4)?..)?;
    }
    None
}

/// What a section `.gnu_debuglink` says (GDB's manual, "Debugging Information in Separate Files"); `None` for what is no
/// bare name.
fn link(data: &[u8]) -> Option<DebugLink> {
    let end = data.iter().position(|byte| *byte == 0)?;
    let checksum = data.get((end + 1).next_multiple_of(4)..)?.first_chunk::<4>()?;
    let name = std::str::from_utf8(&data[..end]).ok()?;
    let is_bare = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    is_bare.then(|| DebugLink { name: name.to_owned(), checksum: u32::from_le_bytes(*checksum) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn this_very_program() {
        let file = File::open("/proc/self/exe").unwrap();
        let outline = Outline::read(&file).unwrap();
        assert!(outline.has(".text") && outline.names(".bss") && !outline.has(".bss"));
        assert_eq!(outline.data(&file, ".text", 16), None, "more than the limit");
        let text = outline.section(".text").unwrap();
        assert_eq!(outline.address(text.sh_offset.get(ENDIAN)), Some(text.sh_addr.get(ENDIAN)));
        assert_eq!(outline.address(u64::MAX), None);
        let expected = super::super::build_id(std::path::Path::new("/proc/self/exe"));
        let hex = |id: Vec<u8>| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(outline.build_id.map(hex), expected);
    }

    #[test]
    fn what_is_no_elf_has_no_outline() {
        assert!(Outline::read(&File::open("/proc/self/maps").unwrap()).is_none());
    }

    #[test]
    fn links_are_bare_names() {
        let said = |name: &str| {
            let mut data = name.as_bytes().to_vec();
            data.resize((name.len() + 1).next_multiple_of(4), 0);
            data.extend(0x1234_5678_u32.to_le_bytes());
            link(&data)
        };
        let good = |name: &str| Some(DebugLink { name: name.to_owned(), checksum: 0x1234_5678 });
        assert_eq!(said("libc.debug"), good("libc.debug"));
        assert_eq!(said("abc"), good("abc"));
        for bad in ["", ".", "..", "a/b", "/etc/shadow", "../x"] {
            assert_eq!(said(bad), None, "{bad}");
        }
        assert_eq!(link(b"no end"), None);
        assert_eq!(link(b"short\0\0\0\x01"), None);
    }

    #[test]
    fn build_ids_are_found_among_other_notes() {
        let note = |kind: u32, name: &[u8], id: &[u8]| {
            let mut note = Vec::new();
            [name.len() as u32, id.len() as u32, kind].iter().for_each(|word| note.extend(word.to_le_bytes()));
            note.extend(name);
            note.extend(id);
            note.resize(note.len().next_multiple_of(4), 0);
            note
        };
        let id = [7; 20];
        let other = note(3, b"abc\0", &[1; 9]);
        assert_eq!(build_id(&[other.clone(), note(3, b"GNU\0", &id)].concat()), Some(id.to_vec()));
        assert_eq!(build_id(&other), None);
        assert_eq!(build_id(&note(3, b"GNU\0", &[1; 2])), None, "too short to tell anything");
        assert_eq!(build_id(&[0xff; 40]), None);
    }
}
