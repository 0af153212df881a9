//! A disk of the test's own: a file that the kernel shows as a block device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Lab;

/// A loop device over a file, let go of when the value is dropped.
#[derive(Debug)]
pub struct LoopDevice {
    path: String,
    mounted: Option<PathBuf>,
}

impl LoopDevice {
    /// A device of this many MiB over a new file in the lab's directory; `None`, said and counted as skipped, where the kernel has
    /// no loop devices.
    ///
    /// # Panics
    /// If the file cannot be made.
    #[must_use]
    pub fn over_file(lab: &Lab, mebibytes: u64) -> Option<Self> {
        let path = lab.file("disk.img");
        let file = File::create(&path).expect("create the disk's file");
        file.set_len(mebibytes << 20).expect("give the disk's file its size");
        Self::over(&path)
    }

    /// A device over a file that is there already.
    ///
    /// # Panics
    /// If losetup cannot be run.
    #[must_use]
    pub fn over(file: &Path) -> Option<Self> {
        if !Path::new("/dev/loop-control").exists() {
            let _ = Command::new("modprobe").arg("loop").status();
        }
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().expect("run losetup");
        if !output.status.success() {
            Lab::skip(&format!("no loop device: {}", String::from_utf8_lossy(&output.stderr).trim()));
            return None;
        }
        Some(Self { path: String::from_utf8_lossy(&output.stdout).trim().to_owned(), mounted: None })
    }

    /// Makes an ext4 file system on it, and mounts that in the lab's directory: where. `None`, said and counted as skipped, where it
    /// cannot be mounted.
    ///
    /// # Panics
    /// If the programs for that cannot be run.
    #[must_use]
    pub fn mount(&mut self, lab: &Lab) -> Option<PathBuf> {
        let folder = lab.file("mounted");
        std::fs::create_dir(&folder).expect("create the mount point");
        let made = Command::new("mkfs.ext4").args(["-q", "-F", &self.path]).output().expect("run mkfs.ext4");
        let mounted = Command::new("mount").arg(&self.path).arg(&folder).output().expect("run mount");
        if !made.status.success() || !mounted.status.success() {
            Lab::skip(&format!("no ext4 here: {}", String::from_utf8_lossy(&mounted.stderr).trim()));
            return None;
        }
        self.mounted = Some(folder.clone());
        Some(folder)
    }

    /// `/dev/loop0`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `loop0`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.trim_start_matches("/dev/")
    }

    /// Requests that were completed, and sectors, as the kernel's own account has them: reads, sectors read, writes, sectors
    /// written, flushes.
    ///
    /// # Panics
    /// If the kernel does not tell.
    #[must_use]
    pub fn account(&self) -> [u64; 5] {
        let text =
            std::fs::read_to_string(format!("/sys/block/{}/stat", self.name())).expect("read the disk's account");
        let fields: Vec<u64> = text.split_whitespace().map(|field| field.parse().expect("a number")).collect();
        [fields[0], fields[2], fields[4], fields[6], fields.get(15).copied().unwrap_or(0)]
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Some(folder) = &self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(folder).status();
        }
        let _ = Command::new("losetup").args(["--detach", &self.path]).status();
    }
}
