//! BPF programs in the kernel: which a process holds, and which are still there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The kernel frees a program some time after its last holder is gone.
const FREED_WITHIN: Duration = Duration::from_secs(10);

/// The BPF programs that a process holds, by id.
///
/// # Panics
/// If it can't be looked at.
#[must_use]
pub fn bpf_programs_of(pid: u32) -> BTreeSet<u32> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("list the files of perfprobe").flatten();
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    files.filter_map(|file| id(std::fs::read_to_string(file.path()).ok()?)).collect()
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
