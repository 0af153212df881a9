//! A file in memory for code that wants a path.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory in memory, emptied before each input and removed at the end.
pub struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    /// Makes it, for this process alone.
    pub fn new() -> Self {
        let directory = PathBuf::from(format!("/dev/shm/perfprobe-fuzz-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory in /dev/shm");
        Self { directory }
    }

    /// A file that holds `bytes`, and nothing beside it.
    pub fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.empty();
        fs::write(&path, bytes).expect("write to /dev/shm");
        path
    }

    /// The same path, where there is no file yet, nor a journal of an earlier one.
    pub fn empty(&self) -> PathBuf {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        self.directory.join("input.perfprobe")
    }

    /// Another file in the directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
