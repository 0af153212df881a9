//! Files that code was mapped from, opened when first seen and held as long as somebody has them mapped, so that deleting
//! or replacing them loses nothing.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use super::named::Named;
use crate::{
    host::{
        files::open_regular,
        perf_ring::MapEvent,
        proc::{self, ANONYMOUS, DELETED},
        sys,
    },
    python::Code,
};

/// Names a module; none is given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub u32);

impl ModuleId {
    /// The kernel and its modules.
    pub const KERNEL: Self = Self(0);
    /// Addresses that nothing was mapped at.
    pub const UNMAPPED: Self = Self(1);
    /// Executable memory without a file: generated code.
    pub const JIT: Self = Self(2);
    /// Addresses in a process whose mappings the kernel does not show.
    pub const HIDDEN: Self = Self(3);
    /// The callers that a walk could not reach; the address is the reason.
    pub const CUT_OFF: Self = Self(4);
    /// Python code that could not be read.
    pub const PYTHON_UNREAD: Self = Self(5);
    /// What threads did, as far as the scheduler is concerned; the address is what.
    pub const DID: Self = Self(6);
}

/// What a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// The kernel.
    Kernel,
    /// Nothing.
    Unmapped,
    /// Something in a process that may not be looked into.
    Hidden,
    /// Callers that could not be reached.
    CutOff,
    /// What threads did.
    Did,
    /// A thread that ended waits.
    Waker,
    /// A file or a socket; the address is what threads did to it.
    Touched,
    /// A lock, at this address; or a thread that has one.
    Lock,
    /// A code object of Python's; places in it are byte offsets of instructions.
    Python,
    /// Generated code.
    Jit,
    /// The kernel's code in user processes, `[vdso]`.
    Vdso,
    /// A file.
    File,
}

/// Where the code of frames comes from.
#[derive(Debug)]
pub struct Module {
    /// Its name.
    pub id: ModuleId,
    /// What it is.
    pub kind: ModuleKind,
    /// The path as the target sees it, or a name in brackets.
    pub path: String,
    /// Where its symbols can be read, as long as this value lives; `None` when the file could not be opened.
    pub symbols_path: Option<PathBuf>,
    /// Whether it could not be opened for want of a privilege.
    pub denied: bool,
    file: Option<Arc<File>>,
    /// The code object that it is.
    pub code: Option<Arc<Code>>,
    /// The root directory of the process that it was first seen in.
    pub root: Option<Arc<OwnedFd>>,
}

impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Module {}

impl Module {
    /// A file that is not held open: it can be replaced at any time.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let shown = path.to_string_lossy().into_owned();
        Self {
            id: ModuleId(0),
            kind: ModuleKind::File,
            path: shown,
            symbols_path: Some(path),
            denied: false,
            file: None,
            code: None,
            root: None,
        }
    }

    pub(super) fn without_file(id: ModuleId, kind: ModuleKind, path: &str, code: Option<Arc<Code>>) -> Self {
        Self { id, kind, path: path.into(), symbols_path: None, denied: false, code, root: None, file: None }
    }

    /// The last part of its path, for frames without a symbol.
    #[must_use]
    pub fn short_name(&self) -> &str {
        // In brackets there is no path, though there can be a process's name, and a slash in that.
        let name = if self.path.starts_with('[') { None } else { self.path.rsplit('/').next() };
        name.unwrap_or(&self.path).trim_start_matches('[').trim_end_matches(']')
    }

    /// The file, if it is held open.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }
}

/// How many modules that nothing refers to any more are kept, with their files open, for the next process that maps them.
const KEPT: usize = 256;

/// A mount namespace by its inode, and a directory in it by device and inode.
type RootKey = (u64, u64, u64);

/// The modules in use, and some that were.
#[derive(Debug)]
pub struct Modules {
    kernel: Arc<Module>,
    unmapped: Arc<Module>,
    hidden: Arc<Module>,
    jit: Arc<Module>,
    cut_off: Arc<Module>,
    did: Arc<Module>,
    wakers: Named,
    touched: Named,
    locks: Named,
    python_unread: Arc<Module>,
    files: HashMap<(u64, u64, String), Arc<Module>>,
    roots: HashMap<RootKey, Weak<OwnedFd>>,
    /// How many files there may be before those without a user are dropped.
    room: usize,
    last: ModuleId,
}

impl Default for Modules {
    fn default() -> Self {
        let made_up = |id, kind, path: &str| Arc::new(Module::without_file(id, kind, path, None));
        Self {
            kernel: made_up(ModuleId::KERNEL, ModuleKind::Kernel, "[kernel]"),
            unmapped: made_up(ModuleId::UNMAPPED, ModuleKind::Unmapped, "[unmapped]"),
            hidden: made_up(ModuleId::HIDDEN, ModuleKind::Hidden, "[hidden]"),
            jit: made_up(ModuleId::JIT, ModuleKind::Jit, "[jit]"),
            cut_off: made_up(ModuleId::CUT_OFF, ModuleKind::CutOff, "[unwound no further]"),
            did: made_up(ModuleId::DID, ModuleKind::Did, "[scheduler]"),
            wakers: Named::default(),
            touched: Named::default(),
            locks: Named::default(),
            python_unread: made_up(ModuleId::PYTHON_UNREAD, ModuleKind::Python, "[python]"),
            files: HashMap::new(),
            roots: HashMap::new(),
            room: KEPT,
            last: ModuleId::DID,
        }
    }
}

impl Modules {
    /// The module of a mapping of process `tgid`; opens the file if it is new.
    pub fn of(&mut self, tgid: u32, mapping: &MapEvent) -> Arc<Module> {
        let path = mapping.path.strip_suffix(DELETED).unwrap_or(&mapping.path);
        let is_memory = [ANONYMOUS, "[anon", "[stack"].iter().any(|start| path.starts_with(start));
        if is_memory || path == "/dev/zero" || path == "[heap]" {
            return Arc::clone(&self.jit);
        }
        let key = (mapping.device, mapping.inode, path.to_owned());
        if let Some(module) = self.files.get(&key) {
            return Arc::clone(module);
        }
        self.make_room();
        let (kind, opened) =
            if path == "[vdso]" { (ModuleKind::Vdso, vdso()) } else { (ModuleKind::File, open(tgid, mapping, path)) };
        // Memory that is mapped in two places, to be written in one and executed in the other, is a file to the kernel.
        if path.starts_with("/memfd:") && opened.as_ref().is_ok_and(|file| !is_elf(file)) {
            self.files.insert(key, Arc::clone(&self.jit));
            return Arc::clone(&self.jit);
        }
        let denied = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        let file = opened.ok().map(Arc::new);
        let symbols_path = file.as_deref().map(held);
        let root = if kind == ModuleKind::File && file.is_some() { self.root(tgid) } else { None };
        self.last.0 += 1;
        let path = path.to_owned();
        let module = Module { id: self.last, kind, path, symbols_path, denied, code: None, root, file };
        let module = Arc::new(module);
        self.files.insert(key, Arc::clone(&module));
        module
    }

    /// A module for a code object of Python's, which is shown as its source file.
    pub fn python(&mut self, code: Arc<Code>) -> Arc<Module> {
        self.last.0 += 1;
        let path = if code.file.is_empty() { self.python_unread.path.clone() } else { code.file.clone() };
        Arc::new(Module::without_file(self.last, ModuleKind::Python, &path, Some(code)))
    }

    /// What stands for Python code that could not be read.
    #[must_use]
    pub fn python_unread(&self) -> &Arc<Module> {
        &self.python_unread
    }

    /// What stands for callers that could not be reached.
    #[must_use]
    pub fn cut_off(&self) -> &Arc<Module> {
        &self.cut_off
    }

    /// What stands for what threads did.
    #[must_use]
    pub fn did(&self) -> &Arc<Module> {
        &self.did
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &Arc<Module> {
        &self.kernel
    }

    /// What stands for addresses at which nothing was mapped.
    #[must_use]
    pub fn unmapped(&self) -> &Arc<Module> {
        &self.unmapped
    }

    /// What stands for addresses in a process whose mappings are not shown.
    #[must_use]
    pub fn hidden(&self) -> &Arc<Module> {
        &self.hidden
    }

    /// What stands for code that was generated at run time, by whomever.
    #[must_use]
    pub fn jit(&self) -> Arc<Module> {
        Arc::clone(&self.jit)
    }

    /// A module for the code that a process generates: at the same address as another's it is other code.
    pub(super) fn jit_of(&mut self, tgid: u32, comm: Option<&str>) -> Arc<Module> {
        self.last.0 += 1;
        let space = if comm.is_some() { " " } else { "" };
        let path = format!("[jit of {tgid}{space}{}]", comm.unwrap_or_default());
        Arc::new(Module::without_file(self.last, ModuleKind::Jit, &path, None))
    }

    /// What stands for a thread that ended waits: no code of its, but itself.
    pub(super) fn waker(&mut self, name: &str) -> Arc<Module> {
        self.wakers.get(&mut self.last, ModuleKind::Waker, name)
    }

    /// What stands for what is done to the file or socket of this name.
    pub(super) fn touched(&mut self, name: &str) -> Arc<Module> {
        self.touched.get(&mut self.last, ModuleKind::Touched, name)
    }

    /// What stands for a lock of this name, or for who has it.
    pub(super) fn lock(&mut self, name: &str) -> Arc<Module> {
        self.locks.get(&mut self.last, ModuleKind::Lock, name)
    }

    /// The root directory of a process; most share one.
    fn root(&mut self, tgid: u32) -> Option<Arc<OwnedFd>> {
        let path = format!("/proc/{tgid}/root");
        let (root, namespace) = (fs::metadata(&path).ok()?, fs::metadata(format!("/proc/{tgid}/ns/mnt")).ok()?);
        let known = self.roots.entry((namespace.ino(), root.dev(), root.ino())).or_default();
        known.upgrade().or_else(|| {
            let opened = Arc::new(sys::open_root(Path::new(&path)).ok()?);
            *known = Arc::downgrade(&opened);
            Some(opened)
        })
    }

    /// Drops, once there are many, the modules that no address space, no window and no symbolizer refers to.
    fn make_room(&mut self) {
        if self.files.len() >= self.room {
            self.files.retain(|_, module| Arc::strong_count(module) > 1);
            self.roots.retain(|_, root| root.strong_count() > 0);
            self.room = self.files.len() + KEPT;
        }
    }
}

/// Opens the very file that is mapped, not another that has taken its path. Of several failures, a want of privileges is
/// the one to tell: with them, the file would have been found.
fn open(tgid: u32, mapping: &MapEvent, path: &str) -> io::Result<File> {
    if mapping.inode == 0 && !path.starts_with('/') {
        return Err(io::ErrorKind::NotFound.into());
    }
    // The link in `map_files` leads to the mapped file itself, though on some file systems (overlays) under another inode
    // number than the mapping shows; but meanwhile something else may be mapped there. Inside the target's root it is the
    // inode that tells; outside, the device too.
    let same_inode = |metadata: &Metadata| metadata.ino() == mapping.inode;
    let same_file = |metadata: &Metadata| same_inode(metadata) && device(metadata) == mapping.device;
    let or = |failed: io::Error, next: io::Result<File>| {
        next.map_err(|error| if failed.kind() == io::ErrorKind::PermissionDenied { failed } else { error })
    };
    let mapped = proc::map_file(tgid, mapping);
    open_if(&mapped, same_inode)
        .or_else(|error| or(error, open_if(&mapped, |_| is_still_mapped(tgid, mapping, path))))
        .or_else(|error| or(error, open_if(Path::new(&format!("/proc/{tgid}/exe")), same_inode)))
        .or_else(|error| or(error, open_if(Path::new(&format!("/proc/{tgid}/root{path}")), same_inode)))
        .or_else(|error| or(error, open_if(Path::new(path), same_file)))
}

fn is_elf(file: &File) -> bool {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).is_ok() && &magic == b"\x7fELF"
}

/// Whether the process still has this mapping, and no other in its place.
fn is_still_mapped(tgid: u32, mapping: &MapEvent, path: &str) -> bool {
    let same = |now: &MapEvent| {
        let now_path = now.path.strip_suffix(DELETED).unwrap_or(&now.path);
        (now.start, now.offset, now_path) == (mapping.start, mapping.offset, path)
    };
    proc::executable_mappings(tgid).is_ok_and(|mappings| mappings.iter().any(same))
}

/// Opens a regular file that passes a check. The path is the target's to choose: what is no file is not opened at all, and
/// nothing that takes its place meanwhile can make the open wait.
fn open_if(path: &Path, check: impl Fn(&Metadata) -> bool) -> io::Result<File> {
    let other = || io::Error::from(io::ErrorKind::NotFound);
    let wanted = |metadata: &Metadata| metadata.is_file() && check(metadata);
    Some(fs::metadata(path)?).filter(wanted).ok_or_else(other)?;
    let file = open_regular(path)?;
    Some(file.metadata()?).filter(wanted).ok_or_else(other)?;
    Some(file).filter(|file| !sys::is_last_descriptor(file.as_fd())).ok_or_else(other)
}

/// The device number in the form that mappings show.
fn device(metadata: &Metadata) -> u64 {
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    u64::from(major) << 32 | u64::from(minor)
}

/// The path by which this process can open a file it holds, whatever became of its name.
fn held(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// The vDSO of this process, which is the one of every process of its architecture. It is copied from memory: a program
/// with file capabilities may not open its own `/proc/self/mem`.
fn vdso() -> io::Result<File> {
    let mappings = proc::executable_mappings(std::process::id())?;
    let mapping = mappings.iter().find(|mapping| mapping.path == "[vdso]").ok_or(io::ErrorKind::NotFound)?;
    sys::memory_file(mapping.start, mapping.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_without_a_user_make_room() {
        let mut modules = Modules::default();
        let mut of = |inode: u64| {
            let path = format!("/{inode}");
            modules.of(0, &MapEvent { start: 0, bytes: 1, offset: 0, device: 0, inode, path })
        };
        let used = of(0);
        for inode in 1..=2 * KEPT as u64 {
            assert_ne!(of(inode), used, "no id is given out twice");
        }
        assert_eq!(of(0), used, "what is in use stays");
        assert!(modules.files.len() <= KEPT + 1, "{} are kept", modules.files.len());
    }
}
