//! BPF programs and maps in the kernel: which a process holds, and what is still there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData, MapInfo};

/// The kernel frees a program some time after its last holder is gone.
const FREED_WITHIN: Duration = Duration::from_secs(10);

/// Whether the process holds BPF programs, as far as it may be looked at.
pub(crate) fn holds_programs(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/fdinfo")).exists() && !ids(pid, "prog_id:").is_empty()
}

/// The ids that the files of a process show under `field`.
fn ids(pid: u32, field: &str) -> BTreeSet<u32> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok());
    files.filter_map(|file| id(std::fs::read_to_string(file.path()).ok()?)).collect()
}

/// The BPF programs that a recorder holds, by id, as soon as it has some.
///
/// # Panics
/// If it can't be looked at, or has none in [`FREED_WITHIN`].
#[must_use]
pub fn bpf_programs_of(pid: u32) -> BTreeSet<u32> {
    let deadline = Instant::now() + FREED_WITHIN;
    loop {
        let programs = ids(pid, "prog_id:");
        if !programs.is_empty() {
            return programs;
        }
        let files: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().collect();
        let targets: Vec<_> = files.iter().filter_map(|file| std::fs::read_link(file.path()).ok()).collect();
        assert!(Instant::now() < deadline, "a recorder holds programs, not {targets:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The keys of the map of followed processes that a recorder holds.
///
/// # Panics
/// If it has none.
#[must_use]
pub fn followed_processes(pid: u32) -> Vec<u32> {
    let is_it = |id: &u32| MapInfo::from_id(*id).is_ok_and(|info| info.name_as_str() == Some("PROCESSES"));
    let id = ids(pid, "map_id:").into_iter().find(is_it).expect("perfprobe has a map of processes");
    let map = Map::HashMap(MapData::from_id(id).expect("open the map of processes"));
    let processes: HashMap<_, u32, u32> = map.try_into().expect("a map from process ids");
    processes.keys().flatten().collect()
}

/// Asserts that the kernel frees all of `programs`.
///
/// # Panics
/// If it does not.
pub fn assert_bpf_programs_freed(programs: &BTreeSet<u32>) {
    let deadline = Instant::now() + FREED_WITHIN;
    loop {
        let loaded = aya::programs::loaded_programs().map(|program| program.expect("list the BPF programs").id());
        let left: Vec<u32> = loaded.filter(|id| programs.contains(id)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "BPF programs {left:?} of {programs:?} stay in the kernel");
        std::thread::sleep(Duration::from_millis(50));
    }
}
