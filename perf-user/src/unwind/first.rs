//! What a program will map, before it is executed.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use object::{ReadCache, ReadRef as _, elf, read::elf::ProgramHeader as _};

/// How much of a file the kernel looks at for an interpreter's name (`BINPRM_BUF_SIZE`).
const SCRIPT_BYTES: u64 = 256;

/// How many interpreters of interpreters the kernel follows.
const SCRIPTS: usize = 4;

/// The files that the kernel maps when it executes a program: that, or the one that interprets it, and its dynamic linker.
/// What that maps it alone knows.
pub(super) fn first_mapped(program: &Path) -> Vec<File> {
    let mut program = program.to_owned();
    for _ in 0..=SCRIPTS {
        let Some(file) = open(&program) else { break };
        if let Some(interpreter) = script_interpreter(&file) {
            program = interpreter;
            continue;
        }
        let linker = dynamic_linker(&file).and_then(|linker| open(&linker));
        return std::iter::once(file).chain(linker).collect();
    }
    Vec::new()
}

/// Nothing waits for whoever writes to a pipe.
fn open(path: &Path) -> Option<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
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
    let elf = object::File::parse(&cache).ok()?;
    // Only its program headers tell the kernel.
    let object::File::Elf64(elf) = elf else { return None };
    let endian = elf.endian();
    let header = elf.elf_program_headers().iter().find(|header| header.p_type(endian) == elf::PT_INTERP)?;
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
    fn a_script_maps_what_interprets_it_and_its_linker() {
        let own = std::env::current_exe().unwrap();
        let of_own = inodes(first_mapped(&own));
        assert_eq!(of_own.first(), Some(&own.metadata().unwrap().ino()));
        let linker = std::fs::read_to_string("/proc/self/maps").unwrap().contains("/ld-");
        assert_eq!(of_own.len(), if linker { 2 } else { 1 });
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, format!("#! {} -x\n", own.display())).unwrap();
        assert_eq!(inodes(first_mapped(&script)), of_own);
        // One that is its own interpreter.
        std::fs::write(&script, format!("#!{}\n", script.display())).unwrap();
        assert!(first_mapped(&script).is_empty() && first_mapped(folder.path()).is_empty());
    }
}
