//! What a program will map, before it is executed.

use std::{
    collections::{HashSet, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use object::{
    Endianness, ReadCache, ReadRef as _, elf,
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use crate::host::files::open_regular;

/// How much of a file the kernel looks at for an interpreter's name (`BINPRM_BUF_SIZE`).
const SCRIPT_BYTES: u64 = 256;

/// How many interpreters of interpreters the kernel follows.
const SCRIPTS: usize = 4;

/// No program is linked to as many libraries.
const LIBRARIES: usize = 256;

/// No dynamic segment is longer: a few dozen entries of 16 bytes, and one for each library.
const DYNAMIC_BYTES: u64 = 64 << 10;

/// Folders of one file that libraries are looked for in.
const MOST_FOLDERS: usize = 64;

/// The files that are mapped when a program is executed: that, or the one that interprets it, its dynamic linker, and the libraries
/// that these are linked to. Which of several libraries of a name it takes the linker alone knows: here it is the first in the folders
/// that a file names, that `LD_LIBRARY_PATH` does, or that the linker was found in. So some may be missing, and
/// others never be mapped.
pub(super) fn first_mapped(program: &Path) -> Vec<File> {
    let mut program = program.to_owned();
    for _ in 0..=SCRIPTS {
        let Some(file) = open(&program) else { break };
        if let Some(interpreter) = script_interpreter(&file) {
            program = interpreter;
            continue;
        }
        let Some(linker) = dynamic_linker(&file) else { return vec![file] };
        return with_libraries([program, linker]);
    }
    Vec::new()
}

/// Files, and the libraries that they and these are linked to.
fn with_libraries(first: [PathBuf; 2]) -> Vec<File> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths).collect();
    folders.extend(first[1].canonicalize().ok().and_then(|linker| linker.parent().map(Path::to_owned)));
    let mut names: HashSet<PathBuf> = first.iter().filter_map(|path| path.file_name()).map(PathBuf::from).collect();
    let mut waiting = VecDeque::from(first);
    let mut files = Vec::new();
    while let Some(path) = waiting.pop_front() {
        let Some(file) = open(&path) else { continue };
        let Linked { libraries, folders: own } = Linked::of(&file);
        let own = own.iter().flat_map(std::env::split_paths).map(|folder| from_origin(folder, &path));
        let own: Vec<PathBuf> = own.take(MOST_FOLDERS).collect();
        for library in libraries.into_iter().map(PathBuf::from) {
            if names.len() >= LIBRARIES || !names.insert(library.clone()) {
                continue;
            }
            // A name with a slash is a path by itself, which joining leaves as it is if it begins with one.
            let found = own.iter().chain(&folders).map(|folder| folder.join(&library)).find(|path| path.is_file());
            waiting.extend(found);
        }
        files.push(file);
    }
    files
}

/// A folder, as far from that of the file as it says.
fn from_origin(folder: PathBuf, file: &Path) -> PathBuf {
    let mut parts = folder.components();
    match parts.next().map(|first| first.as_os_str().to_owned()) {
        Some(first) if first == "$ORIGIN" || first == "${ORIGIN}" => {
            file.parent().unwrap_or(Path::new("/")).join(parts.as_path())
        }
        _ => folder,
    }
}

/// What the dynamic segment of a file says that it is linked to.
#[derive(Default)]
struct Linked {
    libraries: Vec<OsString>,
    /// Lists of folders where these are.
    folders: Vec<OsString>,
}

impl Linked {
    fn of(file: &File) -> Self {
        Self::read(&ReadCache::new(file)).unwrap_or_default()
    }

    fn read(cache: &ReadCache<&File>) -> Option<Self> {
        let (headers, endian) = program_headers(cache)?;
        let dynamic = headers.iter().find(|header| header.p_type(endian) == elf::PT_DYNAMIC)?;
        if dynamic.p_filesz(endian) > DYNAMIC_BYTES {
            return None;
        }
        let entries = dynamic.dynamic(endian, cache).ok()??;
        let table = entries.iter().find(|entry| entry.tag(endian) == elf::DT_STRTAB)?.d_val(endian);
        let holds = |header: &&Header| {
            header.p_type(endian) == elf::PT_LOAD
                && table.wrapping_sub(header.p_vaddr(endian)) < header.p_filesz(endian)
        };
        let segment = headers.iter().find(holds)?;
        let table = segment.p_offset(endian).checked_add(table - segment.p_vaddr(endian))?;
        let text = |entry: &elf::Dyn64<Endianness>| {
            let from = table.checked_add(entry.d_val(endian))?;
            let text = cache.read_bytes_at_until(from..from.checked_add(libc::PATH_MAX as u64)?, 0).ok()?;
            Some(OsStr::from_bytes(text).to_owned())
        };
        let texts = |tags: &[i64]| {
            let wanted = entries.iter().filter(|entry| tags.contains(&entry.tag(endian)));
            wanted.take(LIBRARIES).filter_map(text).collect()
        };
        Some(Self { libraries: texts(&[elf::DT_NEEDED]), folders: texts(&[elf::DT_RUNPATH, elf::DT_RPATH]) })
    }
}

type Header = elf::ProgramHeader64<Endianness>;

/// What tells what of a file is mapped, of one of 64 bits.
fn program_headers<'data>(cache: &'data ReadCache<&File>) -> Option<(&'data [Header], Endianness)> {
    let header = elf::FileHeader64::<Endianness>::parse(cache).ok()?;
    let endian = header.endian().ok()?;
    Some((header.program_headers(endian, cache).ok()?, endian))
}

/// Nothing waits for whoever writes to a pipe.
fn open(path: &Path) -> Option<File> {
    open_regular(path).ok()
}

fn script_interpreter(file: &File) -> Option<PathBuf> {
    let mut head = Vec::new();
    let read = file.take(SCRIPT_BYTES).read_to_end(&mut head);
    let line = read.ok().and_then(|_| head.strip_prefix(b"#!"))?.split(|byte| *byte == b'\n').next()?;
    let name = line.trim_ascii_start().split(u8::is_ascii_whitespace).next()?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

fn dynamic_linker(file: &File) -> Option<PathBuf> {
    let cache = ReadCache::new(file);
    let (headers, endian) = program_headers(&cache)?;
    let header = headers.iter().find(|header| header.p_type(endian) == elf::PT_INTERP)?;
    let bytes = header.p_filesz(endian).min(libc::PATH_MAX as u64);
    let data = cache.read_bytes_at(header.p_offset(endian), bytes).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(data.split(|byte| *byte == 0).next()?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn inodes(files: Vec<File>) -> Vec<u64> {
        files.iter().map(|file| file.metadata().unwrap().ino()).collect()
    }

    #[test]
    fn a_script_maps_what_interprets_it_and_what_that_is_linked_to() {
        let own = std::env::current_exe().unwrap();
        let of_own = inodes(first_mapped(&own));
        assert_eq!(of_own.first(), Some(&own.metadata().unwrap().ino()));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mapped: HashSet<u64> = maps
            .lines()
            .filter(|line| line.contains(" r-xp ") && line.contains('/'))
            .map(|line| line.split_whitespace().nth(4).unwrap().parse().unwrap())
            .collect();
        // Others may be mapped that it is not linked to.
        let libc =
            maps.lines().find(|line| line.contains("/libc.so")).map(|line| line.split_whitespace().nth(4).unwrap());
        assert!(of_own.iter().all(|inode| mapped.contains(inode)), "{of_own:?} of {maps}");
        assert!(libc.is_none_or(|libc| of_own.contains(&libc.parse().unwrap())), "{of_own:?} of {maps}");
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, format!("#! {} -x\n", own.display())).unwrap();
        assert_eq!(inodes(first_mapped(&script)), of_own);
        // One that is its own interpreter.
        std::fs::write(&script, format!("#!{}\n", script.display())).unwrap();
        assert!(first_mapped(&script).is_empty() && first_mapped(folder.path()).is_empty());
    }
}
