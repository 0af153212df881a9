//! What memory is limited by, and how near that is: the machine, control groups, and the limits of processes.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use super::cgroup::Hierarchies;

/// What the machine is called among those whose figures are told.
pub const MACHINE: &str = "machine";
/// How the names of control groups among them begin, behind which follows the path.
pub const GROUP: &str = "cgroup ";
/// How those of processes begin, behind which follows the id.
pub const PROCESS: &str = "process ";

/// Bytes that are to be had without swapping (`MemAvailable`).
pub const AVAILABLE: &str = "available_bytes";
/// Bytes that may still be swapped out.
pub const SWAP_FREE: &str = "swap_free_bytes";
/// Pages swapped in so far.
pub const SWAPPED_IN: &str = "swapped_in_pages";
/// And out.
pub const SWAPPED_OUT: &str = "swapped_out_pages";
/// Processes killed for want of memory so far.
pub const OOM_KILLS: &str = "oom_kills";
/// Bytes that are used.
pub const USED: &str = "used_bytes";
/// Of these, what the kernel takes back when there is need: files' pages that nobody used lately.
pub const RECLAIMABLE: &str = "reclaimable_bytes";
/// Bytes that may be used at most.
pub const LIMIT: &str = "limit_bytes";
/// Bytes above which who uses more is slowed down (`memory.high`).
pub const HIGH: &str = "high_bytes";
/// How often a limit was met so far, that or the one above which who uses more is slowed down.
pub const LIMIT_HITS: &str = "limit_hits";
/// Microseconds in which some wanted memory, and waited for it.
pub const SOME: &str = "pressure_some_us";
/// Microseconds in which all that could have run did.
pub const FULL: &str = "pressure_full_us";

/// A figure at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Whose: [`MACHINE`], or what begins with [`GROUP`] or [`PROCESS`].
    pub subject: String,
    /// Which.
    pub name: &'static str,
    /// How much.
    pub value: u64,
}

/// A process that is in a control group, or in one below; the value is its id.
pub const MEMBER: &str = "member";

/// Control groups, and processes, whose figures are read: more would cost too much each second.
const MOST: usize = 64;

/// What limits the memory of some processes.
#[derive(Debug)]
pub struct MemoryLimits {
    hierarchies: Hierarchies,
    /// Control groups that limit memory, by directory: their paths.
    groups: BTreeMap<PathBuf, String>,
    /// Bytes that processes may map at most (`RLIMIT_AS`), of those for which there is a limit.
    address_spaces: BTreeMap<u32, u64>,
    /// Groups that had no limit when they were looked at.
    unlimited: HashSet<PathBuf>,
    /// Processes whose limits were looked for.
    met: HashSet<u32>,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            hierarchies: Hierarchies::of("memory"),
            groups: BTreeMap::new(),
            address_spaces: BTreeMap::new(),
            unlimited: HashSet::new(),
            met: HashSet::new(),
        }
    }
}

impl MemoryLimits {
    /// Looks for the limits of processes that were not met before; in which of these groups they are.
    pub fn meet(&mut self, processes: &[u32]) -> Vec<Gauge> {
        let mut members = Vec::new();
        for tgid in processes.iter().copied().filter(|tgid| self.met.insert(*tgid)) {
            for (directory, path) in self.hierarchies.groups(tgid) {
                if self.unlimited.contains(&directory) {
                    continue;
                }
                let is_known = self.groups.contains_key(&directory);
                let is_new = || self.groups.len() < MOST && limits_of_group(&directory) != [None; 2];
                if is_known || is_new() {
                    members.push(Gauge { subject: format!("{GROUP}{path}"), name: MEMBER, value: u64::from(tgid) });
                    self.groups.insert(directory, path);
                } else {
                    self.unlimited.insert(directory);
                }
            }
            let limits = fs::read_to_string(format!("/proc/{tgid}/limits")).unwrap_or_default();
            if let Some(limit) = address_space(&limits).filter(|_| self.address_spaces.len() < MOST) {
                self.address_spaces.insert(tgid, limit);
            }
        }
        members
    }

    /// The figures of now.
    #[must_use]
    pub fn read(&self) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        let mut add = |subject: &str, figures: Vec<Figure>| {
            let told = figures.into_iter().map(|(name, value)| Gauge { subject: subject.to_owned(), name, value });
            gauges.extend(told);
        };
        add(MACHINE, of_machine());
        for (directory, path) in &self.groups {
            add(&format!("{GROUP}{path}"), of_group(directory));
        }
        for (tgid, limit) in &self.address_spaces {
            let status = fs::read_to_string(format!("/proc/{tgid}/status")).unwrap_or_default();
            if let Some(kib) = value(&status, "VmSize:") {
                add(&format!("{PROCESS}{tgid}"), vec![(USED, kib << 10), (LIMIT, *limit)]);
            }
        }
        gauges
    }
}

type Figure = (&'static str, u64);

fn of_machine() -> Vec<Figure> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = text("/proc/meminfo");
    let kib = |name: &str| Some(value(&memory, name)? << 10);
    let events = text("/proc/vmstat");
    let told = [
        (AVAILABLE, kib("MemAvailable:")),
        (SWAP_FREE, kib("SwapFree:")),
        (SWAPPED_IN, value(&events, "pswpin")),
        (SWAPPED_OUT, value(&events, "pswpout")),
        (OOM_KILLS, value(&events, "oom_kill")),
    ];
    let told = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
    told.chain(pressure(&text("/proc/pressure/memory"))).collect()
}

/// The limit of a control group of either version, and where it is slowed down.
fn limits_of_group(directory: &Path) -> [Option<u64>; 2] {
    // Version 1 has a number that no machine has.
    let limit = |name: &str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 62)
    };
    [limit("memory.max").or_else(|| limit("memory.limit_in_bytes")), limit("memory.high")]
}

/// Of a control group of either version. Limits are among them if there are such.
fn of_group(directory: &Path) -> Vec<Figure> {
    let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    let number = |name: &str| text(name).trim().parse::<u64>().ok();
    let [limit, high] = limits_of_group(directory);
    // Its own, as far as the kernel tells them apart from those of groups below (5.2).
    let events =
        Some(text("memory.events.local")).filter(|text| !text.is_empty()).unwrap_or_else(|| text("memory.events"));
    let hits = [value(&events, "max"), value(&events, "high")].into_iter().flatten().reduce(u64::saturating_add);
    let told = if directory.join("memory.current").exists() {
        [
            (LIMIT, limit),
            (HIGH, high),
            (USED, number("memory.current")),
            (RECLAIMABLE, value(&text("memory.stat"), "inactive_file")),
            (LIMIT_HITS, hits),
            (OOM_KILLS, value(&events, "oom_kill")),
        ]
    } else {
        [
            (LIMIT, limit),
            (HIGH, high),
            (USED, number("memory.usage_in_bytes")),
            (RECLAIMABLE, value(&text("memory.stat"), "total_inactive_file")),
            (LIMIT_HITS, number("memory.failcnt")),
            (OOM_KILLS, value(&text("memory.oom_control"), "oom_kill")),
        ]
    };
    let told = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
    told.chain(pressure(&text("memory.pressure"))).collect()
}

/// The number behind a name that begins a line.
fn value(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t']))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Of a file that tells pressure (`Documentation/accounting/psi.rst`): the totals.
fn pressure(text: &str) -> Vec<Figure> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.rsplit_once("total=")?.1.trim().parse::<u64>().ok()
    };
    [(SOME, total("some ")), (FULL, total("full "))].into_iter().filter_map(|(name, us)| Some((name, us?))).collect()
}

/// From `limits` (proc(5)): the bytes of address space that a process may have; `None` if there is no limit.
fn address_space(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_names() {
        let stat = "active_file 7\ninactive_file 40\ntotal_inactive_file 50\n";
        assert_eq!((value(stat, "inactive_file"), value(stat, "file")), (Some(40), None));
        assert_eq!(value("MemAvailable:   24 kB\n", "MemAvailable:"), Some(24));
        let told =
            pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=47150\nfull avg10=0.00 avg60=0.00 total=4281\n");
        assert_eq!(told, [(SOME, 47150), (FULL, 4281)]);
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax address space  1048576  unlimited  bytes\n";
        assert_eq!(address_space(limits), Some(1 << 20));
        assert_eq!(address_space("Max address space  unlimited  unlimited  bytes\n"), None);
    }

    #[test]
    fn the_machine_tells_what_is_available() {
        let mut limits = MemoryLimits::default();
        let members = limits.meet(&[std::process::id()]);
        assert!(members.iter().all(|member| member.name == MEMBER && member.subject.starts_with(GROUP)), "{members:?}");
        assert_eq!(limits.meet(&[std::process::id()]), [], "it was met before");
        let told = limits.read();
        let available = told.iter().find(|gauge| (gauge.subject.as_str(), gauge.name) == (MACHINE, AVAILABLE)).unwrap();
        assert!(available.value > 1 << 20, "{told:?}");
    }
}
