//! ELF files around hostile sections, so that the reader of a section gets what was made for it.

/// Bytes of the header, of a program header, and of a section header.
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const SECTION: usize = 64;

/// Where the contents begin.
pub const CONTENT: u64 = (HEADER + SEGMENT) as u64;

const PROGBITS: u32 = 1;
const STRTAB: u32 = 3;

/// A file with these sections one after another from [`CONTENT`] on, in one executable segment that holds all of the file:
/// every address is its offset.
pub fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut headers = vec![0; SECTION];
    let mut file = vec![0; CONTENT as usize];
    let mut add = |file: &mut Vec<u8>, name: &str, kind: u32, content: Option<&[u8]>| {
        let at = names.len() as u32;
        names.extend(name.as_bytes());
        names.push(0);
        let content = content.unwrap_or(&names);
        let offset = file.len() as u64;
        headers.extend([at, kind].into_iter().flat_map(u32::to_le_bytes));
        headers.extend([2, offset, offset, content.len() as u64, 0, 1, 0].into_iter().flat_map(u64::to_le_bytes));
        file.extend(content);
    };
    sections.iter().for_each(|(name, content)| add(&mut file, name, PROGBITS, Some(content)));
    add(&mut file, ".shstrtab", STRTAB, None);
    let table = file.len() as u64;
    file.extend(headers);
    let bytes = file.len() as u64;
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    // ET_EXEC, EM_X86_64, EV_CURRENT.
    file[16..24].copy_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    let count = sections.len() as u16 + 2;
    let longs = [0, HEADER as u64, table].map(u64::to_le_bytes).concat();
    file[24..48].copy_from_slice(&longs);
    let shorts = [HEADER as u16, SEGMENT as u16, 1, SECTION as u16, count, count - 1];
    file[52..64].copy_from_slice(&shorts.map(u16::to_le_bytes).concat());
    // PT_LOAD, PF_R and PF_X.
    file[64..72].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    let longs = [0, 0, 0, bytes, bytes, 1].map(u64::to_le_bytes).concat();
    file[72..HEADER + SEGMENT].copy_from_slice(&longs);
    file
}
