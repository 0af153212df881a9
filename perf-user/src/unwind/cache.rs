//! Tables of earlier recordings, on disk: reading one takes a tenth of the time that making it does.
//!
//! A table belongs to a file as it was on this machine: device, inode, size, and the times of its last changes, the second of
//! which nobody can set. A build id would do between machines, but anybody can give a program that of the C library.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use perf_ebpf::{
    stack::{STACK_ID_SEED, mix},
    unwind::Row,
};

use super::Table;
use crate::host::sys;

/// All tables together take no more than this on disk: those that were not used for the longest time go.
const LIMIT_BYTES: u64 = 256 << 20;

/// No table is larger, nor is what is read of one.
const TABLE_BYTES: u64 = 128 << 20;

/// Changes with the meaning of a row.
const MAGIC: &[u8; 8] = b"ppunw\0\0\x03";

/// Magic, first page, number of pages, number of rows, digest of the first page and of all that follows.
const HEADER_BYTES: usize = 40;

/// A directory of tables, that of this user alone.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// The one in the user's cache directory (`$XDG_CACHE_HOME`, else `~/.cache`); `None` where that cannot be had, or
    /// belongs to somebody else.
    #[must_use]
    pub fn open() -> Option<Self> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Self::at(&base)
    }

    /// The one in this directory of its user, which is made if it is missing. What another user could exchange is neither
    /// trusted nor written to: every directory on the way is this user's or root's, and no others may write to it.
    fn at(base: &Path) -> Option<Self> {
        let trusted = |path: &Path| {
            let metadata = fs::symlink_metadata(path).ok()?;
            let owned = [0, sys::effective_uid()].contains(&metadata.uid());
            (metadata.is_dir() && owned && metadata.mode() & 0o022 == 0).then_some(())
        };
        if !base.is_absolute() {
            return None;
        }
        let wanted = base.join("perfprobe").join("unwind");
        let mut directory = PathBuf::new();
        for part in wanted.components() {
            directory.push(part);
            if trusted(&directory).is_none() {
                // Fails if something is there.
                DirBuilder::new().mode(0o700).create(&directory).ok()?;
                trusted(&directory)?;
            }
        }
        Some(Self { directory })
    }

    /// The table of a file, if it is there and whole.
    #[must_use]
    pub fn get(&self, file: &File) -> Option<Table> {
        let kept = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(self.path(file)?).ok()?;
        let bytes = kept.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= TABLE_BYTES)?.len();
        let mut data = Vec::with_capacity(bytes as usize);
        (&kept).take(TABLE_BYTES).read_to_end(&mut data).ok()?;
        let table = decode(&data)?;
        // What is used is kept.
        let _ = kept.set_modified(SystemTime::now());
        Some(table)
    }

    /// Makes the table of a file, and keeps it, unless the file changes meanwhile, or has just changed: what is written to it in
    /// the same tick of the clock does not show. A full disk, or another recorder that does the same, costs no more than
    /// keeping it.
    ///
    /// # Errors
    /// As `make`.
    pub fn keep<E>(&self, file: &File, make: impl FnOnce() -> Result<Table, E>) -> Result<Table, E> {
        const TICK_SECONDS: i64 = 2;
        let before = self.path(file);
        let table = make()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let settled = file.metadata().is_ok_and(|metadata| metadata.ctime() + TICK_SECONDS < now);
        if let Some(path) = before.filter(|before| settled && self.path(file).as_ref() == Some(before)) {
            self.write(&path, &table);
            self.evict(LIMIT_BYTES);
        }
        Ok(table)
    }

    fn write(&self, path: &Path, table: &Table) {
        let unfinished = self.directory.join(format!("{}.unfinished", std::process::id()));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            options.open(&unfinished)?.write_all(&encode(table))?;
            fs::rename(&unfinished, path)
        };
        if write().is_err() {
            let _ = fs::remove_file(&unfinished);
        }
    }

    /// Where the table of a file is, if that is one that can be told from others.
    fn path(&self, file: &File) -> Option<PathBuf> {
        let name = identity(file)?.map(|part| format!("{part:x}")).join("-");
        Some(self.directory.join(name))
    }

    /// Removes the tables that were not used for the longest time, until the others take no more than `limit` bytes.
    fn evict(&self, limit: u64) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let facts = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        };
        let mut kept: Vec<_> = entries.flatten().filter_map(facts).collect();
        let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        if bytes <= limit {
            return;
        }
        kept.sort();
        for (_, size, path) in kept {
            if bytes <= limit {
                break;
            }
            let _ = fs::remove_file(path);
            bytes -= size;
        }
    }
}

/// What tells a file, as it is now, from all others of this machine: device, inode, size, and the times of its last changes.
pub(super) fn identity(file: &File) -> Option<[u64; 7]> {
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    Some([
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime() as u64,
        metadata.mtime_nsec() as u64,
        metadata.ctime() as u64,
        metadata.ctime_nsec() as u64,
    ])
}

/// The table, as it is kept.
#[must_use]
pub fn encode(table: &Table) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEADER_BYTES + table.pages.len() * 4 + table.rows.len() * 8);
    body.extend(table.pages.iter().flat_map(|page| page.to_le_bytes()));
    body.extend(table.rows.iter().flat_map(|row| row.0.to_le_bytes()));
    let mut data = Vec::with_capacity(HEADER_BYTES + body.len());
    data.extend(MAGIC);
    let numbers = [table.first_page, table.pages.len() as u64, table.rows.len() as u64];
    data.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
    data.extend(digest(table.first_page, &body).to_le_bytes());
    data.extend(body);
    data
}

/// The table, if the data are what [`encode`] makes of one.
#[must_use]
pub fn decode(data: &[u8]) -> Option<Table> {
    let (header, body) = data.split_at_checked(HEADER_BYTES)?;
    let numbers = header.strip_prefix(MAGIC)?;
    let number = |at: usize| Some(u64::from_le_bytes(numbers.get(at * 8..at * 8 + 8)?.try_into().ok()?));
    let (first_page, pages, rows, told) = (number(0)?, number(1)?, number(2)?, number(3)?);
    let page_bytes = usize::try_from(pages).ok()?.checked_mul(4)?;
    let row_bytes = usize::try_from(rows).ok()?.checked_mul(8)?;
    if page_bytes.checked_add(row_bytes)? != body.len() || digest(first_page, body) != told {
        return None;
    }
    let (page_data, row_data) = body.split_at(page_bytes);
    let pages: Vec<u32> = page_data.as_chunks().0.iter().map(|page| u32::from_le_bytes(*page)).collect();
    let rows: Vec<Row> = row_data.as_chunks().0.iter().map(|row| Row(u64::from_le_bytes(*row))).collect();
    let in_order = pages.is_sorted() && pages.last().is_none_or(|last| *last as usize == rows.len());
    in_order.then_some(Table { pages, first_page, rows })
}

/// Tells damage, not malice: the directory is the user's own.
fn digest(first_page: u64, body: &[u8]) -> u64 {
    let (words, rest) = body.as_chunks();
    let hash = words.iter().fold(mix(STACK_ID_SEED, first_page), |hash, word| mix(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// In the user's own folder: `/tmp` is everybody's.
    fn tempdir() -> tempfile::TempDir {
        let folder = std::env::current_exe().unwrap();
        tempfile::tempdir_in(folder.parent().unwrap()).unwrap()
    }

    fn own_table() -> (File, Table) {
        let file = File::open("/proc/self/exe").unwrap();
        let table = super::super::read(&file, |_| None).unwrap();
        (file, table)
    }

    #[test]
    fn a_table_that_was_kept_is_found_again_for_the_same_file_only() {
        let base = tempdir();
        let cache = Cache::at(base.path()).unwrap();
        let (file, table) = own_table();
        assert_eq!(cache.get(&file), None);
        cache.write(&cache.path(&file).unwrap(), &table);
        assert_eq!(cache.get(&file).as_ref(), Some(&table));
        let other = base.path().join("copy");
        fs::copy("/proc/self/exe", &other).unwrap();
        assert_eq!(cache.get(&File::open(other).unwrap()), None);
    }

    #[test]
    fn damage_is_noticed_at_every_byte() {
        let (_, whole) = own_table();
        let table = Table { pages: vec![0, 2, 3], first_page: 7, rows: whole.rows[..3].to_vec() };
        let data = encode(&table);
        assert_eq!(decode(&data).as_ref(), Some(&table));
        for at in 0..data.len() {
            let mut damaged = data.clone();
            damaged[at] ^= 0x10;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&data[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes() {
        let base = tempdir();
        let cache = Cache::at(base.path()).unwrap();
        for (name, age) in [("old", 30), ("older", 40), ("new", 10)] {
            let kept = File::create(cache.directory.join(name)).unwrap();
            kept.set_len(100).unwrap();
            kept.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        cache.evict(250);
        let names = |name| cache.directory.join(name).exists();
        assert!(names("new") && names("old") && !names("older"));
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_used() {
        let base = tempdir();
        assert!(Cache::at(base.path()).is_some());
        fs::set_permissions(base.path().join("perfprobe"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::at(base.path()).is_none());
        std::os::unix::fs::symlink("/usr", base.path().join("link")).unwrap();
        assert!(Cache::at(&base.path().join("link")).is_none());
        assert!(Cache::at(&base.path().join("new").join("newer")).is_some());
        assert!(Cache::at(Path::new("relative")).is_none());
    }
}
