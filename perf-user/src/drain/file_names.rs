//! The names of files that requests and calls are about.

use std::collections::{HashMap, HashSet};

use perf_ebpf::block::{FileKey, FileName};
use zerocopy::FromBytes as _;

use super::{DrainError, kept::Kept, read_map};
use crate::{collect::session::Session, host::sys::Reading};

const NAMES: [&str; 2] = ["FILE_NAMES_0", "FILE_NAMES_1"];
/// Names asked for in one system call.
const BATCH: usize = 64;

/// The names of this window and of the last one, and of what goes on since before that.
#[derive(Debug, Default)]
pub(super) struct FileNames {
    kept: Kept<FileKey, FileName>,
}

impl FileNames {
    /// Reads the names of a window, with those of the window before, in which what ends in this one may have begun. `open` are the
    /// files of what goes on.
    pub(super) fn read(
        &mut self,
        session: &Session,
        generation: u32,
        open: HashSet<FileKey>,
    ) -> Result<HashMap<FileKey, FileName>, DrainError> {
        let mut names = HashMap::new();
        let bytes = (size_of::<FileKey>(), size_of::<FileName>());
        read_map(session, NAMES[generation as usize], Reading::Drain, bytes, BATCH, |key, value| {
            if let (Ok(key), Ok(name)) = (FileKey::read_from_bytes(key), FileName::read_from_bytes(value)) {
                names.insert(key, name);
            }
        })?;
        let all: Vec<FileKey> = self.kept.ids().collect();
        self.kept.turn(&mut names, all, open);
        Ok(names)
    }
}
