//! A cgroup of version 2 for the time of a test.

use std::path::{Path, PathBuf};

use crate::Lab;

/// A cgroup, removed when the value is dropped; drop what runs in it first.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates a cgroup below the root of the hierarchy. `None`, with the reason printed and counted, where none is mounted.
    ///
    /// # Panics
    /// If it can't be created.
    #[must_use]
    pub fn create(name: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts").expect("read /proc/mounts");
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        });
        let Some(root) = root else {
            Lab::skip("no cgroup v2 hierarchy is mounted");
            return None;
        };
        Some(Self::at(root.join(format!("{name}-{}", std::process::id()))))
    }

    /// Creates a cgroup inside this one.
    ///
    /// # Panics
    /// If it can't be created.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::at(self.path.join(name))
    }

    fn at(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("create the cgroup {}: {error}", path.display()));
        Self { path }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into it.
    ///
    /// # Panics
    /// If it can't be moved.
    pub fn take(&self, pid: u32) {
        std::fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("move a process into the cgroup");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}
