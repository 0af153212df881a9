//! From a file's call frame information, and from code that has none, to the table by which the kernel half walks stacks.

mod cache;
mod derive;
mod first;
mod kernel;
mod loader;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod walk;

pub use cache::{Cache, decode, encode};
pub use kernel::{Room, Unwinder};
pub use loader::Loader;
pub use table::Table;
pub use walk::by_frame_pointers;

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    fs::File,
    hash::Hash,
};

use gimli::{BaseAddresses, CieOrFde, CommonInformationEntry, EndianSlice, LittleEndian, UnwindContext, UnwindSection};
use object::{
    Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _, ReadCache, SectionFlags, SegmentFlags,
    SymbolKind, elf, read::ReadRef,
};
use perf_ebpf::unwind::{Cfa, Rule, SavedFp};

use derive::Gap;
use first::first_mapped;
use rules::rule;
use table::Stretches;

/// Why a file has no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTable {
    /// It is no ELF file of this machine's, or a damaged one.
    #[error("it cannot be read as ELF: {0}")]
    Unreadable(String),
    /// It has neither `.eh_frame` nor `.debug_frame`.
    #[error("it has no call frame information, nor code that tells: build it with -fasynchronous-unwind-tables")]
    Absent,
    /// It has more than any program.
    #[error("its call frame information is too large")]
    TooLarge,
    /// What it has cannot be parsed.
    #[error("its call frame information is damaged: {0}")]
    Damaged(gimli::Error),
}

/// Executable parts of a file: addresses as the file's own sections name them, and where those lie in the file.
struct Segments(Vec<(u64, u64, u64)>);

impl Segments {
    /// Those that lie in a file of so many bytes: a table has a page for each 64 KiB of them.
    fn of<'data, R: ReadRef<'data>>(elf: &object::File<'data, R>, bytes: u64) -> Self {
        let executable = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & elf::PF_X != 0);
        let inside = |(offset, size): (u64, u64)| offset.checked_add(size).is_some_and(|end| end <= bytes);
        let segments = elf.segments().filter(|segment| executable(segment.flags()) && inside(segment.file_range()));
        let place = |segment: object::Segment<'data, '_, R>| {
            let (offset, size) = segment.file_range();
            (segment.address(), size, offset)
        };
        Self(segments.map(place).take(SEGMENTS).collect())
    }

    /// The file offsets of the code from `start` to `end`.
    fn offsets(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let holds = |(address, size, _): &&(u64, u64, u64)| start >= *address && end >= start && end - address <= *size;
        let (address, _, offset) = self.0.iter().find(holds)?;
        Some((start - address + offset, end - address + offset))
    }
}

/// Finds the function of a file that nothing has called, though its call frame information may know a caller: its addresses.
pub type StackEnd = fn(&File) -> Option<(u64, u64)>;

/// Reads a file's call frame information: `.eh_frame`, and of `.debug_frame` what that leaves out. Of a file that has none,
/// the table knows where stacks end.
///
/// # Errors
/// When the file has none that can be read.
pub fn read(file: &File, stack_end: StackEnd) -> Result<Table, NoTable> {
    let unreadable = |error: object::Error| NoTable::Unreadable(error.to_string());
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).map_err(unreadable)?;
    let bytes = file.metadata().map_err(|error| NoTable::Unreadable(error.to_string()))?.len();
    let segments = Segments::of(&elf, bytes);
    let mut bases = BaseAddresses::default();
    let address = |name: &str| elf.section_by_name(name).map(|section| section.address());
    bases = address(".eh_frame").map_or(bases.clone(), |address| bases.set_eh_frame(address));
    bases = address(".text").map_or(bases.clone(), |address| bases.set_text(address));
    bases = address(".got").map_or(bases.clone(), |address| bases.set_got(address));
    // One that cannot be read does not spoil the other.
    let section = |name: &str| -> Result<Cow<'_, [u8]>, NoTable> {
        let section = elf.section_by_name(name).ok_or(NoTable::Absent)?;
        if section.compressed_file_range().map_err(unreadable)?.uncompressed_size > SECTION_BYTES {
            return Err(NoTable::TooLarge);
        }
        let data = section.uncompressed_data().map_err(unreadable)?;
        if data.is_empty() { Err(NoTable::Absent) } else { Ok(data) }
    };
    let mut stretches = Stretches::with_room(ROWS);
    // First, because what was added first holds.
    if let Some((start, end)) = stack_end(file).and_then(|(start, end)| segments.offsets(start, end)) {
        stretches.fill(start, end, Rule::of(Cfa::End, SavedFp::Kept, 0));
    }
    let eh_frame = section(".eh_frame").and_then(|data| {
        let mut eh_frame = gimli::EhFrame::new(&data, LittleEndian);
        eh_frame.set_address_size(8);
        collect((&eh_frame, &data), &bases, &segments, &mut stretches)
    });
    let debug_frame = section(".debug_frame").and_then(|data| {
        let mut debug_frame = gimli::DebugFrame::new(&data, LittleEndian);
        debug_frame.set_address_size(8);
        collect((&debug_frame, &data), &bases, &segments, &mut stretches)
    });
    derive_gaps(&elf, &segments, &mut stretches);
    if stretches.is_empty() {
        return Err(match (eh_frame, debug_frame) {
            (Err(NoTable::Absent) | Ok(()), Err(why)) | (Err(why), _) => why,
            _ => NoTable::Absent,
        });
    }
    // Where the kernel begins has no caller; the dynamic linker's has no call frame information either. What has some holds.
    if let Some((start, end)) = segments.offsets(elf.entry(), elf.entry().saturating_add(ENTRY_BYTES)) {
        stretches.fill(start, end, Rule::of(Cfa::End, SavedFp::Kept, 0));
    }
    stretches.into_table().ok_or(NoTable::TooLarge)
}

/// Adds rules for the code that no call frame information covers. Symbols say where functions begin, if the file has any.
fn derive_gaps<'data, R: ReadRef<'data>>(elf: &object::File<'data, R>, segments: &Segments, stretches: &mut Stretches) {
    let executable =
        |flags| matches!(flags, SectionFlags::Elf { sh_flags } if sh_flags & u64::from(elf::SHF_EXECINSTR) != 0);
    let in_code = |section: &object::Section<'data, '_, R>| {
        let (offset, size) = section.file_range().filter(|_| executable(section.flags()))?;
        // Where a section is not where its segment has it, addresses lead astray.
        let end = section.address().checked_add(size)?;
        (segments.offsets(section.address(), end)? == (offset, offset.checked_add(size)?)).then_some(())?;
        Some((offset, section.data().ok()?))
    };
    let code: Vec<(u64, &[u8])> = elf.sections().filter_map(|section| in_code(&section)).take(SECTIONS).collect();
    let parts: Vec<_> = code.iter().map(|(start, data)| (*start, *start + data.len() as u64)).collect();
    let bytes = |(start, end): (u64, u64)| {
        let (first, data) = code.iter().find(|(first, data)| *first <= start && end - first <= data.len() as u64)?;
        Some(Gap { start, bytes: data.get((start - first) as usize..(end - first) as usize)? })
    };
    let gaps: Vec<Gap<'_>> = stretches.gaps(&parts).into_iter().filter_map(bytes).collect();
    if gaps.is_empty() || gaps.iter().map(|gap| gap.bytes.len() as u64).sum::<u64>() > derive::CODE_BYTES {
        return;
    }
    let place = |address| segments.offsets(address, address).map(|(offset, _)| offset);
    let symbols = elf.symbols().chain(elf.dynamic_symbols()).filter(|symbol| symbol.kind() == SymbolKind::Text);
    let functions = symbols.filter_map(|symbol| place(symbol.address()));
    for (start, end, rule) in derive::derive(&gaps, functions, place(elf.entry()).unwrap_or(u64::MAX)) {
        if stretches.is_full() {
            return;
        }
        stretches.begin((start, end));
        stretches.add(start, rule);
    }
}

/// Executable sections of a file; linkers make half a dozen.
const SECTIONS: usize = 64;

/// Call frame information of this size makes more rows than the kernel's maps hold. Files are the target's, and may be hostile.
const SECTION_BYTES: u64 = 128 << 20;

/// So do more rows than this.
const ROWS: usize = 16 << 20;

/// Common entries, by their bytes, each as often as functions refer to it: a few dozen bytes for each of millions of functions.
/// One that is long is read anew for every function that refers to it.
const COMMON_BYTES: u64 = 256 << 20;

/// Executable segments of a file; linkers make one or two.
const SEGMENTS: usize = 16;

/// The code at a file's entry, of which only some instructions are written by hand.
const ENTRY_BYTES: u64 = 64;

type Slice<'data> = EndianSlice<'data, LittleEndian>;

/// Adds what one section says. An entry that cannot be read leaves a stretch of code without rules, not the file.
fn collect<'data, S>(
    (section, data): (&S, &[u8]),
    bases: &BaseAddresses,
    segments: &Segments,
    stretches: &mut Stretches,
) -> Result<(), NoTable>
where
    S: UnwindSection<Slice<'data>>,
    S::Offset: gimli::UnwindOffset<usize> + Hash,
{
    let mut context = UnwindContext::new();
    let mut cies: HashMap<S::Offset, CommonInformationEntry<Slice<'data>>> = HashMap::new();
    let mut entries = section.entries(bases);
    let mut common_bytes = 0;
    while let Some(entry) = entries.next().map_err(NoTable::Damaged)? {
        let CieOrFde::Fde(partial) = entry else { continue };
        common_bytes += entry_bytes(data, gimli::UnwindOffset::into(partial.cie_offset()));
        if common_bytes > COMMON_BYTES {
            return Err(NoTable::TooLarge);
        }
        let parsed = partial.parse(|section, bases, offset| match cies.entry(offset) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(new) => section.cie_from_offset(bases, offset).map(|cie| new.insert(cie).clone()),
        });
        let Ok(fde) = parsed else { continue };
        let Some(offsets) = segments.offsets(fde.initial_address(), fde.end_address()) else { continue };
        if fde.len() == 0 {
            continue;
        }
        stretches.begin(offsets);
        let Ok(mut rows) = fde.rows(section, bases, &mut context) else { continue };
        while let Ok(Some(row)) = rows.next_row() {
            // Nothing keeps a row within its function but the compiler.
            if row.start_address() >= fde.end_address() {
                break;
            }
            let rule = rule(section, &fde, row).unwrap_or(Rule::UNKNOWN);
            // Segments of which one lies in another would have it elsewhere.
            stretches.add(offsets.0 + (row.start_address() - fde.initial_address()), rule);
            if stretches.is_full() {
                return Err(NoTable::TooLarge);
            }
        }
    }
    Ok(())
}

/// How long the entry at this offset says that it is; no more than there is.
fn entry_bytes(data: &[u8], offset: usize) -> u64 {
    let rest = data.get(offset..).unwrap_or_default();
    let said = match rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
        // The form for sections of more than 4 GiB.
        Some(u32::MAX) => rest[4..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)),
        said => said.unwrap_or(0).into(),
    };
    said.min(rest.len() as u64)
}
