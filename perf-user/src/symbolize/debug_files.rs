//! Debug files: what was taken out of a program or library when it was stripped, found by build id or by the link it left.
//!
//! They are looked for on this machine and in the target's root directory, in which links lead nowhere else. A file is the
//! right one if it has the same build id or, where one of them has none, the checksum that the link tells.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    NameOptions,
    debuginfod::Debuginfod,
    outline::{DebugLink, Outline},
};
use crate::{host::sys, task::Module};

/// Where distributions put debug files.
pub const DEBUG_DIRECTORY: &str = "/usr/lib/debug";

/// How much is read in a run to compute checksums: a target could lead to file after file.
const CHECKSUM_BYTES: u64 = 8 << 30;

/// The directories with debug files.
#[derive(Debug)]
pub(super) struct DebugFiles {
    directories: Vec<PathBuf>,
    debuginfod: Option<Debuginfod>,
    /// This machine's root directory.
    host: Option<Arc<OwnedFd>>,
    /// How much more may be read for checksums.
    checksum_bytes: u64,
}

impl DebugFiles {
    /// Looks in directories, and beside each file.
    pub(super) fn new(options: NameOptions) -> Self {
        let NameOptions { debug_directories: directories, debuginfod } = options;
        let debuginfod = debuginfod.map(Debuginfod::new);
        Self {
            directories,
            debuginfod,
            host: sys::open_root(Path::new("/")).ok().map(Arc::new),
            checksum_bytes: CHECKSUM_BYTES,
        }
    }

    /// The debug file of a module with this outline.
    pub(super) fn find(&mut self, module: &Module, outline: &Outline) -> Option<File> {
        let roots: Vec<Arc<OwnedFd>> = self.host.iter().chain(&module.root).cloned().collect();
        let id = outline.build_id.as_deref().map(by_id);
        let link = outline.link.as_ref();
        let by_id = id.map_or_else(Vec::new, |id| self.directories.iter().map(|base| base.join(&id)).collect());
        let by_link = link.map_or_else(Vec::new, |link| self.by_link(Path::new(&module.path), link));
        let by_id = by_id.into_iter().map(|path| (path, None));
        let places: Vec<_> = by_id.chain(by_link.into_iter().map(|path| (path, link))).collect();
        let found = places
            .iter()
            .find_map(|(path, link)| roots.iter().find_map(|root| self.open(root.as_fd(), path, outline, *link)));
        found.or_else(|| self.fetch(outline))
    }

    /// From the cache of debuginfod, or from a server.
    fn fetch(&mut self, outline: &Outline) -> Option<File> {
        let id = hex(outline.build_id.as_deref()?);
        let (path, host) = (self.debuginfod.as_ref()?.cached(&id), self.host.clone()?);
        let cached = self.open(host.as_fd(), &path, outline, None);
        cached.or_else(|| {
            let is_there = self.debuginfod.as_mut()?.fetch(&id);
            is_there.then(|| self.open(host.as_fd(), &path, outline, None)).flatten()
        })
    }

    /// What the reader of the recording must know.
    pub(super) fn warning(&self) -> Option<String> {
        self.debuginfod.as_ref()?.warning()
    }

    /// Where GDB looks, too.
    fn by_link(&self, path: &Path, link: &DebugLink) -> Vec<PathBuf> {
        let Some(directory) = path.parent().filter(|_| path.is_absolute()) else { return Vec::new() };
        let below = directory.strip_prefix("/").unwrap_or(directory);
        let beside = [directory.join(&link.name), directory.join(".debug").join(&link.name)];
        beside.into_iter().chain(self.directories.iter().map(|base| base.join(below).join(&link.name))).collect()
    }

    fn open(&mut self, root: BorrowedFd<'_>, path: &Path, outline: &Outline, link: Option<&DebugLink>) -> Option<File> {
        let file = sys::open_regular_within(root, path).ok()?;
        let found = Outline::read(&file)?;
        // What was stripped itself is of no use: a link may lead back to the very file it is in.
        if !found.has(".symtab") && !found.has(".debug_info") {
            return None;
        }
        let is_right = match (&outline.build_id, &found.build_id) {
            (Some(wanted), Some(its)) => wanted == its,
            _ => link.is_some_and(|link| self.checksum(&file) == Some(link.checksum)),
        };
        is_right.then_some(file)
    }

    fn checksum(&mut self, file: &File) -> Option<u32> {
        let bytes = file.metadata().ok()?.len();
        self.checksum_bytes = self.checksum_bytes.checked_sub(bytes)?;
        let (mut sum, mut rest) = (flate2::Crc::new(), file.take(bytes));
        let mut part = vec![0; 1 << 20];
        loop {
            match rest.read(&mut part).ok()? {
                0 => return Some(sum.sum()),
                read => sum.update(&part[..read]),
            }
        }
    }
}

/// Below a debug directory: `.build-id/12/3456.debug`.
fn by_id(id: &[u8]) -> PathBuf {
    let hex = hex(id);
    let (first, rest) = hex.split_at(hex.len().min(2));
    Path::new(".build-id").join(first).join(format!("{rest}.debug"))
}

pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{fs, io::Seek as _, os::unix::fs::symlink};

    use super::{super::fixture::Elf, *};

    /// A machine's directories, and a stripped program in them.
    struct Machine {
        folder: tempfile::TempDir,
        outline: Outline,
    }

    impl Machine {
        fn with(program: &Elf) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for directory in ["bin/.debug", "debug/bin", "debug/.build-id/01"] {
                fs::create_dir_all(folder.path().join(directory)).unwrap();
            }
            let outline = Outline::read(&program.file()).unwrap();
            Self { folder, outline }
        }

        fn put(&self, path: &str, content: &[u8]) {
            fs::write(self.folder.path().join(path), content).unwrap();
        }

        /// What the file holds that is found, with its own root directory for the program's, or this machine's.
        fn found(&self, as_root: bool) -> Option<Vec<u8>> {
            let here = if as_root { Path::new("/") } else { self.folder.path() };
            let mut files = looking_in(vec![here.join("debug")]);
            let mut module = Module::at(here.join("bin/program"));
            module.root = sys::open_root(self.folder.path()).ok().map(Arc::new).filter(|_| as_root);
            let mut content = Vec::new();
            let mut found = files.find(&module, &self.outline)?;
            found.rewind().unwrap();
            found.read_to_end(&mut content).unwrap();
            Some(content)
        }
    }

    fn looking_in(debug_directories: Vec<PathBuf>) -> DebugFiles {
        DebugFiles::new(NameOptions { debug_directories, debuginfod: None })
    }

    const ID: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn by_build_id_here_and_in_the_root_of_the_target() {
        let machine = Machine::with(&Elf::default().build_id(&ID));
        let path = "debug/.build-id/01/02030405060708.debug";
        assert_eq!(machine.found(false), None);
        machine.put(path, &Elf::default().section(".symtab", b"names").build_id(&[9; 8]).bytes());
        assert_eq!(machine.found(false), None, "another build");
        let right = Elf::default().section(".symtab", b"names").build_id(&ID).bytes();
        machine.put(path, &right);
        assert_eq!(machine.found(false).as_ref(), Some(&right));
        assert_eq!(machine.found(true).as_ref(), Some(&right));
    }

    #[test]
    fn by_link_wherever_gdb_looks() {
        let debug = Elf::default().section(".debug_info", b"lines").bytes();
        let mut sum = flate2::Crc::new();
        sum.update(&debug);
        for place in ["bin/program.debug", "bin/.debug/program.debug", "debug/bin/program.debug"] {
            let machine = Machine::with(&Elf::default().link("program.debug", sum.sum()));
            machine.put(place, &Elf::default().section(".debug_info", b"other").bytes());
            assert_eq!((machine.found(false), machine.found(true)), (None, None), "{place}: another checksum");
            machine.put(place, &debug);
            assert_eq!(machine.found(true).as_ref(), Some(&debug), "{place}");
            // Below a debug directory, the whole path counts.
            let here = machine.found(false);
            assert_eq!(here.is_some(), !place.starts_with("debug"), "{place}");
        }
    }

    #[test]
    fn a_link_with_a_build_id_needs_no_checksum_and_never_finds_the_stripped_file() {
        let stripped = Elf::default().link("program", 0).build_id(&ID);
        let machine = Machine::with(&stripped);
        machine.put("bin/program", &stripped.bytes());
        assert_eq!(machine.found(false), None);
        let debug = Elf::default().section(".symtab", b"names").build_id(&ID).bytes();
        machine.put("bin/.debug/program", &debug);
        assert_eq!(machine.found(false), Some(debug));
    }

    #[test]
    fn nothing_outside_of_the_root_and_no_more_than_is_allowed() {
        let debug = Elf::default().section(".symtab", b"names").bytes();
        let mut sum = flate2::Crc::new();
        sum.update(&debug);
        let machine = Machine::with(&Elf::default().link("x", sum.sum()));
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("x"), &debug).unwrap();
        let link = machine.folder.path().join("bin/x");
        symlink(elsewhere.path().join("x"), &link).unwrap();
        assert_eq!(machine.found(true), None);
        assert_eq!(machine.found(false), Some(debug.clone()), "on this machine a link is followed");
        let mut files = looking_in(Vec::new());
        let module = Module::at(machine.folder.path().join("bin/program"));
        assert!(files.find(&module, &machine.outline).is_some());
        files.checksum_bytes = debug.len() as u64 - 1;
        assert!(files.find(&module, &machine.outline).is_none());
    }
}
