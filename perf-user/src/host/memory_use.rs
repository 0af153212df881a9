//! How much memory processes have, by what it is, as `/proc` tells it.

use std::{collections::BTreeMap, fs, io, ops::AddAssign};

use super::proc::{ANONYMOUS, parse_mapping};

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Its own pages in memory: heap, stacks, copies of files' pages (`RssAnon`).
    pub anonymous: u64,
    /// Pages of files that it has mapped (`RssFile`).
    pub file: u64,
    /// Pages of shared memory (`RssShmem`).
    pub shared: u64,
    /// Its own pages that were swapped out (`VmSwap`).
    pub swapped: u64,
}

impl MemoryUse {
    /// Of a process that lives; `None` if it does not, or has no memory of its own.
    #[must_use]
    pub fn of(tgid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{tgid}/status")).ok()?)
    }

    /// Parses `status` (proc(5)). Threads of the kernel, and processes that have ended, have no such lines.
    fn parse(status: &str) -> Option<Self> {
        let mut told = Self::default();
        let mut found = false;
        for (name, value) in status.lines().filter_map(|line| line.split_once(':')) {
            let place = match name {
                "RssAnon" => &mut told.anonymous,
                "RssFile" => &mut told.file,
                "RssShmem" => &mut told.shared,
                "VmSwap" => &mut told.swapped,
                _ => continue,
            };
            *place = kib(value)?;
            found = true;
        }
        found.then_some(told)
    }

    /// All that is in memory.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.anonymous.saturating_add(self.file).saturating_add(self.shared)
    }

    /// What is lost if nobody frees it: not what files hold as well.
    #[must_use]
    pub fn own(&self) -> u64 {
        self.anonymous.saturating_add(self.shared).saturating_add(self.swapped)
    }
}

/// `  1234 kB`, in bytes.
fn kib(text: &str) -> Option<u64> {
    text.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What lies in mappings of one name, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappingUse {
    /// In memory.
    pub resident: u64,
    /// Of that, the process's own pages.
    pub anonymous: u64,
    /// Of that, in huge pages.
    pub huge: u64,
    /// Swapped out.
    pub swapped: u64,
}

impl AddAssign for MappingUse {
    fn add_assign(&mut self, more: Self) {
        self.resident += more.resident;
        self.anonymous += more.anonymous;
        self.huge += more.huge;
        self.swapped += more.swapped;
    }
}

/// The mappings of a process, by name: `[heap]`, `[anonymous memory]`, `/usr/lib/libc.so.6`. The kernel looks at each page for that: a
/// gigabyte takes some milliseconds.
///
/// # Errors
/// When the process is gone, or may not be looked at.
pub fn mappings(tgid: u32) -> io::Result<BTreeMap<String, MappingUse>> {
    Ok(parse_smaps(&String::from_utf8_lossy(&fs::read(format!("/proc/{tgid}/smaps"))?)))
}

/// What memory of no file is called.
const NO_FILE: &str = "[anonymous memory]";

fn parse_smaps(text: &str) -> BTreeMap<String, MappingUse> {
    let mut found: BTreeMap<String, MappingUse> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        let Some((field, value)) = line.split_once(':').filter(|(field, _)| !field.contains(' ')) else {
            let path = parse_mapping(line, false).map(|mapping| mapping.path).unwrap_or_default();
            name = if path == ANONYMOUS || path.is_empty() { NO_FILE.to_owned() } else { path };
            continue;
        };
        let Some(bytes) = kib(value).filter(|bytes| *bytes > 0) else { continue };
        let told = found.entry(name.clone()).or_default();
        match field {
            "Rss" => told.resident += bytes,
            "Anonymous" => told.anonymous += bytes,
            "AnonHugePages" => told.huge += bytes,
            "Swap" => told.swapped += bytes,
            _ => {}
        }
    }
    found.retain(|_, told| told.resident + told.swapped > 0);
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn status_tells_what_is_whose() {
        let status = "Name:\tRssAnon: 7 kB\nVmRSS:\t  30 kB\nRssAnon:\t  10 kB\nRssFile:\t  20 kB\nRssShmem:\t 0 kB\nVmSwap:\t 1 kB\n";
        let told = MemoryUse::parse(status).unwrap();
        assert_eq!(told, MemoryUse { anonymous: 10 << 10, file: 20 << 10, shared: 0, swapped: 1 << 10 });
        assert_eq!((told.resident(), told.own()), (30 << 10, 11 << 10));
        assert_eq!(MemoryUse::parse("Name:\tkthreadd\n"), None);
        assert!(MemoryUse::of(std::process::id()).unwrap().anonymous > 0);
    }

    #[test]
    fn mappings_are_summed_by_name() {
        let smaps = "55d0-55e0 rw-p 00000000 00:00 0 [heap]\nSize: 64 kB\nRss: 40 kB\nAnonymous: 40 kB\nAnonHugePages: 0 kB\n\
            VmFlags: rd wr\n7f00-7f10 rw-p 00000000 00:00 0 \nRss: 2048 kB\nAnonymous: 2048 kB\nAnonHugePages: 2048 kB\n\
            7f20-7f30 rw-p 00000000 00:00 0 \nRss: 4 kB\nAnonymous: 4 kB\nSwap: 8 kB\n\
            7f30-7f40 r-xp 00001000 08:01 77 /usr/lib/a b.so\nRss: 12 kB\n7f50-7f60 ---p 00000000 00:00 0 \nRss: 0 kB\n";
        let told = parse_smaps(smaps);
        let names: Vec<_> = told.keys().map(String::as_str).collect();
        assert_eq!(names, ["/usr/lib/a b.so", NO_FILE, "[heap]"]);
        let anonymous = MappingUse { resident: 2052 << 10, anonymous: 2052 << 10, huge: 2 << 20, swapped: 8 << 10 };
        assert_eq!(told[NO_FILE], anonymous);
        assert_eq!(told["/usr/lib/a b.so"].resident, 12 << 10);
        let own = mappings(std::process::id()).unwrap();
        assert!(own.values().map(|told| told.resident).sum::<u64>() > 1 << 20, "{own:?}");
    }
}
