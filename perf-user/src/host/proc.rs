//! What `/proc` says of processes that run already.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use super::{perf_ring::MapEvent, sys};

/// The names of all processes' directories in `/proc`.
pub fn all_processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The name of a process (of its main thread); `None` when it is gone.
#[must_use]
pub fn comm(tgid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{tgid}/comm")).ok()?;
    Some(String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).into_owned())
}

/// Why a process id cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Nothing has this id.
    #[error("there is no process {0}; `ps -e` lists those that run")]
    Missing(u32),
    /// It is a thread of another process.
    #[error("{0} is a thread of process {1}; name the process with --pid {1}")]
    Thread(u32, u32),
    /// It is a thread of the kernel's own.
    #[error(
        "process {0} is a thread of the kernel, which has no program to profile; --all records the kernel's threads too"
    )]
    Kernel(u32),
    /// It is another user's, and `/proc` does not show it.
    #[error(
        "process {0} is hidden from this user (/proc is mounted with hidepid); run perfprobe with sudo or CAP_SYS_PTRACE"
    )]
    Hidden(u32),
    /// It has ended, and waits for its parent to notice.
    #[error("process {0} has ended already (it is a zombie)")]
    Zombie(u32),
}

/// What a thread is called where it is: in the innermost of its PID namespaces.
#[must_use]
pub fn own_tid(tgid: u32, tid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{tgid}/task/{tid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.and_then(|ids| ids.split_ascii_whitespace().last()?.parse().ok()).unwrap_or(tid)
}

/// Whether a user can mean this process id as a target.
///
/// # Errors
/// Why not.
pub fn check_target(tgid: u32) -> Result<(), NoTarget> {
    let missing = |_| if is_hidden(tgid) { NoTarget::Hidden(tgid) } else { NoTarget::Missing(tgid) };
    let read = |name| fs::read(format!("/proc/{tgid}/{name}")).map_err(missing);
    if let Some(group) = thread_group(&read("status")?).filter(|group| *group != tgid) {
        return Err(NoTarget::Thread(tgid, group));
    }
    if threads(tgid).is_empty() {
        return Err(NoTarget::Zombie(tgid));
    }
    if Stat::parse(&read("stat")?).is_some_and(Stat::is_kernel_thread) {
        return Err(NoTarget::Kernel(tgid));
    }
    Ok(())
}

/// Whether a process runs which `/proc` does not show to this user: the mount option `hidepid`.
#[must_use]
pub fn is_hidden(tgid: u32) -> bool {
    fs::read_dir(format!("/proc/{tgid}/task")).is_err() && sys::pidfd_open(tgid).is_ok()
}

/// The process that a thread belongs to, as its `status` tells.
#[must_use]
pub fn thread_group(status: &[u8]) -> Option<u32> {
    // A newline in the name is escaped there, so no name can pass for a line of its own.
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// What `stat` says of a thread (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    state: u8,
    parent: u32,
    flags: u64,
    started_ticks: u64,
}

impl Stat {
    /// Finds the fields behind the name, which can hold anything but the last parenthesis.
    #[must_use]
    pub fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let mut fields = fields.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        Some(Self { state, parent, flags: fields.nth(4)?.parse().ok()?, started_ticks: fields.nth(12)?.parse().ok()? })
    }

    /// The process that started it, or has taken it over.
    #[must_use]
    pub fn parent(self) -> u32 {
        self.parent
    }

    /// When it began, in ticks of the kernel's clock since the machine was started.
    #[must_use]
    pub fn started_ticks(self) -> u64 {
        self.started_ticks
    }

    /// Only the kernel's own threads have the flag `PF_KTHREAD`.
    #[must_use]
    pub fn is_kernel_thread(self) -> bool {
        const PF_KTHREAD: u64 = 0x0020_0000;
        self.flags & PF_KTHREAD != 0
    }

    /// Its task state, as the kernel abbreviates it: `R`, `S`, `D`, ...
    #[must_use]
    pub fn state(self) -> u8 {
        self.state
    }

    /// Whether it runs, or can run again.
    fn is_living(self) -> bool {
        !b"ZX".contains(&self.state)
    }
}

/// The processes that run now and that these, or their children, have started, in the order of their ids.
#[must_use]
pub fn descendants(tgids: &[u32]) -> Vec<u32> {
    let living = |tgid: u32| thread_stat(tgid, tgid).filter(|stat| stat.is_living());
    let parents: Vec<(u32, u32)> = all_processes().filter_map(|tgid| Some((tgid, living(tgid)?.parent()))).collect();
    below(tgids, &parents)
}

/// All that descend from `tgids`, by processes with their parents.
fn below(tgids: &[u32], parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found: BTreeSet<u32> = tgids.iter().copied().collect();
    // A child can have a smaller id than its parent: until no more are found.
    loop {
        let before = found.len();
        let next: Vec<u32> =
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(tgid, _)| *tgid).collect();
        found.extend(next);
        if found.len() == before {
            break;
        }
    }
    found.into_iter().filter(|tgid| !tgids.contains(tgid)).collect()
}

/// The threads of a process that have not ended, the main one first if it is among them; none when the process has.
#[must_use]
pub fn threads(tgid: u32) -> Vec<u32> {
    let living = |tid: &u32| thread_stat(tgid, *tid).is_some_and(Stat::is_living);
    let mut tids: Vec<u32> = tids(tgid).into_iter().filter(living).collect();
    tids.sort_unstable_by_key(|tid| (*tid != tgid, *tid));
    tids
}

/// The threads of a process that `/proc` lists; what has ended may be among them.
#[must_use]
pub fn tids(tgid: u32) -> Vec<u32> {
    let tids = fs::read_dir(format!("/proc/{tgid}/task")).into_iter().flatten();
    tids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// What `stat` says of a thread; `None` when it is gone.
#[must_use]
pub fn thread_stat(tgid: u32, tid: u32) -> Option<Stat> {
    Stat::parse(&fs::read(format!("/proc/{tgid}/task/{tid}/stat")).ok()?)
}

/// For how long a thread has run, by the kernel's account, in nanoseconds; `None` when it is gone, or the kernel does not tell.
#[must_use]
pub fn thread_exec_ns(tgid: u32, tid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{tgid}/task/{tid}/schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// A thread's name; `None` when it is gone.
#[must_use]
pub fn thread_comm(tgid: u32, tid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{tgid}/task/{tid}/comm")).ok()?.trim_end_matches('\n').to_owned())
}

/// The executable mappings of a process, asked of any of its threads.
///
/// # Errors
/// When it is gone, or may not be read.
pub fn executable_mappings(tid: u32) -> io::Result<Vec<MapEvent>> {
    Ok(parse_mappings(&fs::read(format!("/proc/{tid}/maps"))?))
}

/// All mappings of a process, whatever they are for.
///
/// # Errors
/// As above.
pub fn all_mappings(tid: u32) -> io::Result<Vec<MapEvent>> {
    let maps = fs::read(format!("/proc/{tid}/maps"))?;
    Ok(String::from_utf8_lossy(&maps).lines().filter_map(|line| parse_mapping(line, false)).collect())
}

/// What mappings without a file have in the place of its path.
pub const ANONYMOUS: &str = "//anon";

/// What the kernel appends to the path of a file that was unlinked.
pub const DELETED: &str = " (deleted)";

/// Parses `maps`, as far as mappings are executable; lines that are none are left out.
#[must_use]
pub fn parse_mappings(maps: &[u8]) -> Vec<MapEvent> {
    String::from_utf8_lossy(maps).lines().filter_map(|line| parse_mapping(line, true)).collect()
}

/// Parses `start-end perms offset dev inode path`; `None`, too, if only `executable` mappings are wanted and it is not.
pub(super) fn parse_mapping(line: &str, executable: bool) -> Option<MapEvent> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let is_executable = fields.next()?.as_bytes().get(2) == Some(&b'x');
    if executable && !is_executable {
        return None;
    }
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let device = u64::from_str_radix(major, 16).ok()? << 32 | u64::from_str_radix(minor, 16).ok()?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next().unwrap_or("").trim_start();
    let path = if path.is_empty() { ANONYMOUS.into() } else { unescape(path) };
    Some(MapEvent { start, bytes: end.checked_sub(start)?, offset, device, inode, path })
}

/// A newline in a path is shown as `\012`.
fn unescape(path: &str) -> String {
    path.replace("\\012", "\n")
}

/// The path of the file behind a mapping, which opens even when the file was deleted or lies in another mount namespace.
#[must_use]
pub fn map_file(tgid: u32, mapping: &MapEvent) -> PathBuf {
    format!("/proc/{tgid}/map_files/{:x}-{:x}", mapping.start, mapping.start.saturating_add(mapping.bytes)).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn mappings_with_spaces_deleted_and_anonymous() {
        let line = "7f00-7f10 r-xp 00001000 fe:00 42                         /opt/my app/lib.so (deleted)";
        let mapping = parse_mapping(line, true).unwrap();
        assert_eq!((mapping.start, mapping.bytes, mapping.offset, mapping.inode), (0x7f00, 0x10, 0x1000, 42));
        assert_eq!(mapping.path, "/opt/my app/lib.so (deleted)");
        assert_eq!(parse_mapping("7f00-7f10 rwxp 00000000 00:00 0 ", true).unwrap().path, ANONYMOUS);
        assert_eq!(parse_mapping("7f00-7f10 r--p 00000000 00:00 0 ", true), None);
        assert!(parse_mapping("7f00-7f10 r--p 00000000 00:00 0 ", false).is_some());
        assert_eq!(parse_mapping("nonsense", false), None);
    }

    #[test]
    fn descendants_are_children_and_theirs() {
        let parents = [(1, 0), (10, 1), (11, 10), (5, 11), (12, 1), (13, 12), (7, 5)];
        assert_eq!(below(&[10], &parents), [5, 7, 11]);
        assert_eq!(below(&[10, 11], &parents), [5, 7], "those that are named are no news");
        assert_eq!(below(&[13], &parents), [0; 0]);
        let stat = Stat::parse(b"42 (a ) b) S 17 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0").unwrap();
        assert_eq!((stat.parent(), stat.started_ticks(), stat.state()), (17, 12345, b'S'));
    }

    #[test]
    fn targets_that_are_none() {
        assert_eq!(check_target(u32::MAX - 1), Err(NoTarget::Missing(u32::MAX - 1)));
        assert_eq!(check_target(std::process::id()), Ok(()));
        assert_eq!(check_target(2), Err(NoTarget::Kernel(2)));
    }
}
