//! A disk whose reads take a known time.

use std::path::PathBuf;
use std::process::Command;

use crate::{Lab, LoopDevice, Program, Workload};

/// A block device over a file of a file system that takes its time, both gone when the value is dropped.
#[derive(Debug)]
pub struct SlowDisk {
    // Let go of before the file that it is over.
    device: LoopDevice,
    _mounted: Mounted,
}

/// The file system, and the process that it is.
#[derive(Debug)]
struct Mounted {
    server: Workload,
    folder: PathBuf,
}

impl SlowDisk {
    /// A device of 16 MiB, of which every read takes so long; `None`, said and counted as skipped, where the kernel has no file systems
    /// in user space, or no loop devices.
    ///
    /// # Panics
    /// If the mount point cannot be made.
    #[must_use]
    pub fn of(lab: &Lab, milliseconds: u64) -> Option<Self> {
        let folder = lab.file("slow");
        std::fs::create_dir(&folder).expect("create the mount point");
        let path = folder.to_str().expect("a path in UTF-8");
        let server = lab.start(&Program::c("slowdisk.c"), &["600", path, "16", &milliseconds.to_string()]);
        if let Some(why) = server.logged("refused").first() {
            Lab::skip(&format!("no file system in user space: {why}"));
            return None;
        }
        let mounted = Mounted { server, folder };
        Some(Self { device: LoopDevice::over(&mounted.folder.join("disk"))?, _mounted: mounted })
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &LoopDevice {
        &self.device
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        self.server.kill();
    }
}
