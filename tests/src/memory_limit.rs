//! A cgroup whose memory is limited, of either version of the hierarchy.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Lab;

/// A cgroup of the memory controller, removed when the value is dropped; drop what runs in it first.
#[derive(Debug)]
pub struct MemoryLimit {
    path: PathBuf,
    usage: &'static str,
    limit: &'static str,
}

impl MemoryLimit {
    /// Creates one without a limit. `None`, with the reason printed and counted, where the machine has no memory controller.
    ///
    /// # Panics
    /// If it can't be created.
    #[must_use]
    pub fn create(name: &str) -> Option<Self> {
        let first = Self {
            path: PathBuf::from("/sys/fs/cgroup/memory"),
            usage: "memory.usage_in_bytes",
            limit: "memory.limit_in_bytes",
        };
        let second = |root: &str| {
            // Already on, or allowed to be.
            let _ = fs::write(Path::new(root).join("cgroup.subtree_control"), "+memory");
            let on = fs::read_to_string(Path::new(root).join("cgroup.subtree_control")).unwrap_or_default();
            let on = on.split_whitespace().any(|controller| controller == "memory");
            on.then(|| Self { path: root.into(), usage: "memory.current", limit: "memory.max" })
        };
        let found = first.path.join(first.limit).exists().then_some(first);
        let found = found.or_else(|| ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().find_map(second));
        let Some(mut found) = found else {
            Lab::skip("no memory controller is mounted");
            return None;
        };
        found.path.push(format!("{name}-{}", std::process::id()));
        fs::create_dir(&found.path).expect("create a cgroup of the memory controller");
        Some(found)
    }

    /// Moves a process into it.
    ///
    /// # Panics
    /// If it can't be moved.
    pub fn take(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("move a process into the cgroup");
    }

    /// Allows so many bytes more than what is in use.
    ///
    /// # Panics
    /// If the limit can't be set.
    pub fn leave(&self, bytes: u64) {
        let used = fs::read_to_string(self.path.join(self.usage)).expect("read the memory in use");
        let used: u64 = used.trim().parse().expect("bytes in use");
        fs::write(self.path.join(self.limit), (used + bytes).to_string()).expect("limit the memory");
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
