//! A file system small enough to be filled up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Lab;

/// A file system in memory, unmounted when the value is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system of this many KiB in the lab's directory.
    ///
    /// # Panics
    /// If it can't be mounted.
    #[must_use]
    pub fn mount(lab: &Lab, kibibytes: u32) -> Self {
        let path = lab.file("small-disk");
        std::fs::create_dir(&path).expect("create the mount point");
        let size = format!("size={kibibytes}k");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).status().expect("run mount");
        assert!(status.success(), "mount a tmpfs: {status}");
        Self { path }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Uses up all space that is left.
    ///
    /// # Panics
    /// If the file can't be created.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.path.join("filler")).expect("create the file that fills the disk");
        while filler.write_all(&[0xff; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}
