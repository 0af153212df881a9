//! Where a process tells what code it has generated: its perf map, and the jitdumps that it has mapped.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Module, space::AddressSpace};
use crate::host::{
    status::{self, Status},
    sys,
};

/// A file that grows while it is read, and how much of it belongs to a window.
#[derive(Clone, Debug)]
pub struct GrowingFile {
    /// The file.
    pub file: Arc<File>,
    /// Its length at the end of the window.
    pub bytes: u64,
}

impl GrowingFile {
    /// A file as long as it is now.
    ///
    /// # Errors
    /// When it cannot be asked for its length.
    pub fn now(file: Arc<File>) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

/// What a process had told of its generated code at the end of a window.
#[derive(Debug)]
pub struct GeneratedCode {
    /// The module of its frames.
    pub module: Arc<Module>,
    /// Its perf map, if there is one.
    pub perf_map: Option<GrowingFile>,
    /// Whether a perf map could not be opened for want of a privilege.
    pub denied: bool,
    /// Its jitdumps.
    pub dumps: Vec<Arc<File>>,
    /// The virtual machine that can be asked for a perf map.
    pub java: Option<Arc<OwnFiles>>,
}

/// A program that generates code: a process from one exec to the next.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    /// When it was executed, 0 if that was before the recording.
    pub(super) executed_ns: u64,
    pub(super) module: Arc<Module>,
    /// `None` when it was gone before it could be looked at.
    files: Option<Arc<OwnFiles>>,
    /// Whether looking at it takes a privilege.
    denied: bool,
}

impl Generator {
    pub(super) fn new(tgid: u32, executed_ns: u64, module: Arc<Module>) -> Self {
        let files = OwnFiles::open(tgid, executed_ns);
        let denied = files.as_ref().is_err_and(is_denied);
        Self { executed_ns, module, files: files.ok().map(Arc::new), denied }
    }

    /// What it has told so far.
    pub(super) fn code(&self, space: Option<&AddressSpace>) -> GeneratedCode {
        let perf_map = self.files.as_ref().map(|files| files.perf_map());
        let denied = self.denied || perf_map.as_ref().is_some_and(|map| map.as_ref().is_err_and(is_denied));
        let modules = space.map(AddressSpace::modules).unwrap_or_default();
        let dumps = modules.iter().filter(|module| is_jitdump(module)).filter_map(|module| module.file());
        let java = modules.iter().any(|module| module.path.ends_with("/libjvm.so"));
        GeneratedCode {
            module: Arc::clone(&self.module),
            perf_map: perf_map.and_then(Result::ok),
            denied,
            dumps: dumps.collect(),
            java: self.files.clone().filter(|_| java),
        }
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Runtimes map the first page of the file as code, for no other purpose than that profilers see it.
fn is_jitdump(module: &Module) -> bool {
    let name = module.short_name();
    name.strip_prefix("jit-").and_then(|name| name.strip_suffix(".dump")).is_some()
}

/// The files a process makes under its own name in `/tmp`, as that is in its root. They are found after its end, too.
#[derive(Debug)]
pub struct OwnFiles {
    tgid: u32,
    /// What it is called there.
    own_tgid: u32,
    uid: u32,
    /// What was last written before this is of another process, which had the same id.
    since_unix_ns: u64,
    directory: File,
    perf_map: Mutex<Option<Arc<File>>>,
}

/// By this much the time of a file can lag behind the time at which it was written.
const FILE_TIME_LAG_NS: u64 = 100_000_000;

impl OwnFiles {
    /// Looks for the directory.
    ///
    /// # Errors
    /// When the process is gone, may not be looked at, or has none.
    fn open(tgid: u32, executed_ns: u64) -> io::Result<Self> {
        let Status { own_tgid, uid, .. } = Status::of(tgid)?;
        let began_ns = status::started_ns(tgid)?.max(executed_ns);
        let age_ns = sys::monotonic_ns().saturating_sub(began_ns).saturating_add(FILE_TIME_LAG_NS);
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let root = handle(&format!("/proc/{tgid}/root").into(), 0)?;
        let directory = sys::handle_in_root(root.as_fd(), c"tmp")?;
        Ok(Self {
            tgid,
            own_tgid,
            uid,
            since_unix_ns: unix_ns.saturating_sub(age_ns),
            directory,
            perf_map: Mutex::default(),
        })
    }

    /// The process.
    #[must_use]
    pub fn tgid(&self) -> u32 {
        self.tgid
    }

    /// What the process calls itself.
    #[must_use]
    pub fn own_tgid(&self) -> u32 {
        self.own_tgid
    }

    /// Its effective user.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The path by which this process reaches a file there.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()).into()
    }

    /// A handle to a file there, which must be of the process's user or of root, and what it is.
    ///
    /// # Errors
    /// When there is none, or it is somebody else's.
    pub fn handle(&self, name: &str) -> io::Result<(File, Metadata)> {
        let handle = handle(&self.path(name), libc::O_NOFOLLOW)?;
        let metadata = handle.metadata()?;
        let owned = metadata.uid() == self.uid || metadata.uid() == 0;
        if owned { Ok((handle, metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// The perf map as it is now.
    ///
    /// # Errors
    /// When there is none, or it may not be read.
    pub fn perf_map(&self) -> io::Result<GrowingFile> {
        let mut held = self.perf_map.lock().unwrap_or_else(PoisonError::into_inner);
        match self.open_perf_map(held.as_ref()) {
            Ok(file) => *held = Some(file),
            // One that was removed is as good as it was.
            Err(_) if held.is_some() => {}
            Err(error) => return Err(error),
        }
        GrowingFile::now(held.as_ref().map(Arc::clone).ok_or(io::ErrorKind::NotFound)?)
    }

    fn open_perf_map(&self, held: Option<&Arc<File>>) -> io::Result<Arc<File>> {
        let (handle, metadata) = self.handle(&format!("perf-{}.map", self.own_tgid))?;
        let written_ns = (metadata.mtime().max(0) as u64).saturating_mul(1_000_000_000) + metadata.mtime_nsec() as u64;
        if !metadata.is_file() || written_ns < self.since_unix_ns {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(held) = held
            && let before = held.metadata()?
            && (before.dev(), before.ino()) == (metadata.dev(), metadata.ino())
        {
            return Ok(Arc::clone(held));
        }
        let file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
        if sys::is_last_descriptor(file.as_fd()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(file))
    }
}

/// Opens what is there for nothing but to be looked at, which no device or FIFO notices.
fn handle(path: &PathBuf, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | flags).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use super::*;

    fn own_files(directory: &std::path::Path) -> OwnFiles {
        let mut files = OwnFiles::open(std::process::id(), 0).unwrap();
        files.directory = handle(&directory.to_owned(), 0).unwrap();
        files
    }

    fn name() -> String {
        format!("perf-{}.map", std::process::id())
    }

    #[test]
    fn only_a_regular_file_of_this_process_is_its_perf_map() {
        let directory = tempfile::tempdir().unwrap();
        let files = own_files(directory.path());
        let path = directory.path().join(name());
        assert!(files.perf_map().is_err(), "there is none");
        fs::write(directory.path().join("other"), "10 10 f\n").unwrap();
        symlink(directory.path().join("other"), &path).unwrap();
        assert!(files.perf_map().is_err(), "a link");
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(files.perf_map().is_err(), "a FIFO, which nobody writes to");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "10 10 f\n").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(400 * 86_400);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        assert!(files.perf_map().is_err(), "written before the process began");
        fs::write(&path, "10 10 f\n20 20 g\n").unwrap();
        assert_eq!(files.perf_map().unwrap().bytes, 16);
    }

    #[test]
    fn a_perf_map_that_is_replaced_is_seen_and_one_that_is_removed_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (files, path) = (own_files(directory.path()), directory.path().join(name()));
        fs::write(&path, "10 10 f\n").unwrap();
        let first = files.perf_map().unwrap();
        assert!(Arc::ptr_eq(&first.file, &files.perf_map().unwrap().file));
        fs::remove_file(&path).unwrap();
        assert_eq!(files.perf_map().unwrap().bytes, 8);
        fs::write(&path, "10 10 something else\n").unwrap();
        let second = files.perf_map().unwrap();
        assert!(!Arc::ptr_eq(&first.file, &second.file) && second.bytes == 21);
    }
}
