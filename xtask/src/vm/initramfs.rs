//! The guest's first file system: an uncompressed cpio archive in memory, of the form "newc".

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

/// Files for the kernel to unpack.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Initramfs {
    /// Adds a file of this text, executable.
    pub(crate) fn add(&mut self, path: &str, content: &[u8]) {
        self.add_with_mode(path, content, 0o755);
    }

    /// Adds a copy of a file of the machine, with its permissions.
    pub(crate) fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = fs::metadata(from)?.permissions().mode();
        self.add_with_mode(path, &content, mode & 0o7777);
        Ok(())
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn add_with_mode(&mut self, path: &str, content: &[u8], mode: u32) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            if self.directories.insert(path[..end].to_owned()) {
                self.entry(&path[..end], DIRECTORY, &[]);
            }
        }
        self.entry(path, REGULAR | mode, content);
    }

    /// Header of 13 numbers, name and content, each padded to four bytes (`Documentation/driver-api/early-userspace`).
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let (bytes, name_bytes) = (content.len() as u32, name.len() as u32 + 1);
        self.bytes.extend(b"070701");
        for number in [self.entries, mode, 0, 0, links, 0, bytes, 0, 0, 0, 0, name_bytes, 0] {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::Initramfs;

    #[test]
    fn cpio_reads_it() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut archive = Initramfs::default();
        archive.add("/vm/command", b"true");
        archive.add("/vm/settings", b"x=1\n");
        let spawned = Command::new("cpio").args(["-t", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut cpio) = spawned else {
            println!("SKIPPED: there is no cpio here to read the archive with");
            return;
        };
        cpio.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "vm\nvm/command\nvm/settings\n");
    }
}
