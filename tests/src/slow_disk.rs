//! A disk whose reads take a known time.

use std::path::PathBuf;
use std::process::Command;

use crate::{Lab, LoopDevice, Program, Workload};

/// A block device over a file of a file system that takes its time, both gone when the value is dropped.
#[derive(Debug)]
pub struct SlowDisk {
    // Let go of in this order.
    disk: Option<LoopDevice>,
    server: Workload,
    mounted: PathBuf,
}

impl SlowDisk {
    /// A device of 16 MiB, of which every read takes so long; `None`, said and counted as skipped, where the kernel has no file systems
    /// in user space, or no loop devices.
    ///
    /// # Panics
    /// If the mount point cannot be made.
    #[must_use]
    pub fn of(lab: &Lab, milliseconds: u64) -> Option<Self> {
        let mounted = lab.file("slow");
        std::fs::create_dir(&mounted).expect("create the mount point");
        let folder = mounted.to_str().expect("a path in UTF-8");
        let server = lab.start(&Program::c("slowdisk.c"), &["600", folder, "16", &milliseconds.to_string()]);
        if let Some(why) = server.logged("refused").first() {
            Lab::skip(&format!("no file system in user space: {why}"));
            return None;
        }
        let mut slow = Self { disk: None, server, mounted };
        slow.disk = LoopDevice::over(&slow.mounted.join("disk"));
        slow.disk.is_some().then_some(slow)
    }

    /// The device.
    ///
    /// # Panics
    /// Never: what was returned has one.
    #[must_use]
    pub fn device(&self) -> &LoopDevice {
        self.disk.as_ref().expect("it has a device")
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.disk = None;
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted).status();
        self.server.kill();
    }
}
