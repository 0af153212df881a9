//! Requests to devices with what only their moment knows: the names of processes and of disks.

use std::collections::{HashMap, HashSet};

use perf_ebpf::block::{BlockSum, FileKey, FileName, FileRequests, OpenRequest, SlowRequest};

use super::Tasks;
use crate::{
    drain::{RawBlock, RawWindow},
    host::{block::disk_name, mounts::Mounts},
};

/// Requests that are not complete that are told one by one: the oldest.
const OPEN: usize = 64;

/// Requests to devices on their way to be stored.
#[derive(Debug, Default)]
pub struct LocatedBlock {
    /// By process, disk and operation.
    pub sums: Vec<((u32, u32, u32), BlockSum)>,
    /// By the same and file.
    pub files: Vec<((u32, u32, u32), FileKey, FileRequests)>,
    /// The paths of files in all these.
    pub paths: HashMap<FileKey, String>,
    /// Those that took longest, the longest first.
    pub slowest: Vec<SlowRequest>,
    /// Those that were not complete when the recording ended, the oldest first.
    pub open: Vec<OpenRequest>,
    /// The names of the processes in all these.
    pub processes: HashMap<u32, String>,
    /// And of the disks.
    pub disks: HashMap<u32, String>,
    /// All that were completed, or are known to be lost.
    pub taken: u64,
    /// Of those, what was lost, by cause.
    pub lost: Vec<(&'static str, u64)>,
    /// Facts about quality.
    pub facts: Vec<(&'static str, u64)>,
}

impl LocatedBlock {
    /// Those that are counted in `sums`.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.sums.iter().map(|(_, sum)| sum.whole.count).sum()
    }

    /// Takes over the counts of a window that cannot be kept.
    pub fn absorb(&mut self, dropped: &Self, cause: &'static str) {
        self.taken += dropped.taken;
        self.lost.push((cause, dropped.reported()));
        self.lost.extend(&dropped.lost);
        self.facts.extend(&dropped.facts);
    }
}

/// The path of a file, as far as it is known; the empty text for none.
fn path(file: FileKey, name: Option<&FileName>, mounts: &Mounts) -> String {
    if file == FileKey::default() {
        return String::new();
    }
    let Some(name) = name.filter(|name| name.used > 0 || name.is_whole != 0) else {
        return format!("inode {} of {}:{}", file.inode, file.system >> 20, file.system & 0xf_ffff);
    };
    let text = name.text.get(..name.used as usize).unwrap_or(&name.text);
    let parts = text.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    let parts: Vec<_> = parts.map(String::from_utf8_lossy).collect();
    let mut path = parts.iter().rev().fold(String::new(), |path, part| path + "/" + part);
    let known = if name.is_whole == 0 { None } else { mounts.path(file.system, &path) };
    path = known.unwrap_or_else(|| format!("…{path}"));
    if name.is_deleted != 0 { path + " (deleted)" } else { path }
}

impl Tasks {
    /// Finds out what is known of the requests of a window as long as it can be known.
    pub(super) fn locate_block(&self, block: &RawBlock, window: &RawWindow) -> LocatedBlock {
        let mut open = block.open.clone();
        open.truncate(OPEN);
        let (mut processes, mut disks) = (HashMap::new(), HashMap::new());
        let named = block.sums.keys().map(|(tgid, disk, _)| (*tgid, *disk));
        let named = named.chain(block.slowest.iter().map(|slow| (slow.tgid, slow.device)));
        for (tgid, disk) in named.chain(open.iter().map(|open| (open.key.tgid, open.device))) {
            processes.entry(tgid).or_insert_with(|| self.process_name(tgid, window.end_ns));
            disks.entry(disk).or_insert_with(|| disk_name(disk));
        }
        let files = block.files.keys().map(|(_, file)| *file).chain(block.slowest.iter().map(|slow| slow.file));
        let files: HashSet<FileKey> = files.chain(open.iter().map(|open| open.file)).collect();
        // Most windows of most programs have none.
        let mounts = if files.is_empty() { Mounts::default() } else { Mounts::read() };
        let paths = files.into_iter().map(|file| (file, path(file, block.names.get(&file), &mounts)));
        let open_at_end = block.open.len() as u64;
        LocatedBlock {
            sums: block.sums.iter().map(|(key, sum)| (*key, *sum)).collect(),
            files: block.files.iter().map(|((of, file), sum)| (*of, *file, *sum)).collect(),
            paths: paths.collect(),
            slowest: block.slowest.clone(),
            open,
            processes,
            disks,
            taken: block.taken,
            lost: block.lost.clone(),
            facts: block.facts.iter().copied().chain([("open_at_end", open_at_end)]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use perf_ebpf::block::{NAME_BYTES, PART_BYTES};

    use super::*;

    #[test]
    fn paths_are_put_together_from_their_parts() {
        let file = FileKey { inode: 12, system: 4_000 << 20 | 3, generation: 0 };
        let name = |text: &[u8], is_whole, is_deleted| {
            let mut name = FileName {
                text: [0; NAME_BYTES + PART_BYTES],
                used: text.len() as u32,
                is_whole,
                is_deleted,
                reserved: 0,
            };
            name.text[..text.len()].copy_from_slice(text);
            name
        };
        let told = |name: Option<FileName>| path(file, name.as_ref(), &Mounts::default());
        assert_eq!(told(Some(name(b"t.db\0data\0srv\0", 1, 0))), "…/srv/data/t.db", "it is mounted nowhere here");
        assert_eq!(told(Some(name(b"t.db\0data\0", 0, 1))), "…/data/t.db (deleted)");
        assert_eq!(told(None), "inode 12 of 4000:3");
        assert_eq!(path(FileKey::default(), None, &Mounts::default()), "");
    }
}
