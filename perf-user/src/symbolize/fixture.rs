//! ELF files for tests, section by section.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs::File, io::Write as _};

/// An ELF file in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Elf {
    sections: Vec<(String, u32, u64, Vec<u8>)>,
}

const PROGBITS: u32 = 1;
const STRTAB: u32 = 3;
const NOTE: u32 = 7;

impl Elf {
    /// With a section.
    pub(super) fn section(self, name: &str, data: &[u8]) -> Self {
        self.section_at(name, 0, data)
    }

    /// With a section that is loaded at an address.
    pub(super) fn section_at(mut self, name: &str, address: u64, data: &[u8]) -> Self {
        self.sections.push((name.to_owned(), PROGBITS, address, data.to_vec()));
        self
    }

    /// With a build id.
    pub(super) fn build_id(mut self, id: &[u8]) -> Self {
        let words = [4, id.len() as u32, 3].into_iter().flat_map(u32::to_le_bytes);
        let note = words.chain(*b"GNU\0").chain(id.iter().copied()).collect();
        self.sections.push((".note.gnu.build-id".into(), NOTE, 0, note));
        self
    }

    /// With a link to a debug file.
    pub(super) fn link(self, name: &str, checksum: u32) -> Self {
        let mut data = name.as_bytes().to_vec();
        data.resize((name.len() + 1).next_multiple_of(4), 0);
        data.extend(checksum.to_le_bytes());
        self.section(".gnu_debuglink", &data)
    }

    /// The file: header, contents, names of sections, section table.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; 64];
        let (mut names, mut table) = (vec![0], vec![0; 64]);
        let mut add = |file: &mut Vec<u8>, name: &str, kind: u32, address: u64, data: &[u8]| {
            names.extend(name.as_bytes());
            names.push(0);
            let at = (names.len() - name.len() - 1) as u32;
            let data = if kind == STRTAB { names.clone() } else { data.to_vec() };
            table.extend([at, kind].into_iter().flat_map(u32::to_le_bytes));
            let longs = [0, address, file.len() as u64, data.len() as u64, 0, 1, 0];
            table.extend(longs.into_iter().flat_map(u64::to_le_bytes));
            file.extend(data);
        };
        self.sections.iter().for_each(|(name, kind, address, data)| add(&mut file, name, *kind, *address, data));
        add(&mut file, ".shstrtab", STRTAB, 0, &[]);
        let (table_at, count) = (file.len() as u64, self.sections.len() as u16 + 2);
        file.extend(table);
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        // ET_EXEC, EM_X86_64, EV_CURRENT.
        file[16..24].copy_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
        file[40..48].copy_from_slice(&table_at.to_le_bytes());
        let shorts = [64, 56, 0, 64, count, count - 1];
        file[52..64].copy_from_slice(&shorts.map(u16::to_le_bytes).concat());
        file
    }

    /// The file, without a name.
    pub(super) fn file(&self) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&self.bytes()).unwrap();
        file
    }
}
