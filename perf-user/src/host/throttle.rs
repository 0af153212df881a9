//! Control groups that were held back because they had used up their share of CPU time (`cpu.max`, `cpu.cfs_quota_us`).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt, fs,
    path::{Path, PathBuf},
};

use super::cgroup::Hierarchies;

/// How often a group was held back so far, and for how long, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    times: u64,
    ns: u64,
}

/// What is known of groups at a moment.
#[derive(Debug, Default)]
pub struct Throttling {
    /// By directory: the group's name, and what it had been held back.
    groups: BTreeMap<PathBuf, (String, Held)>,
}

/// A group that was held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// Its path in its hierarchy.
    pub group: String,
    /// How often.
    pub times: u64,
    /// For how long, over all CPUs.
    pub ns: u64,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, times, ns } = self;
        let seconds = *ns as f64 / 1e9;
        write!(
            f,
            "the control group {group} had used up its CPU time {times} times and was held back for {seconds:.1} s in all \
             (cpu.max): its threads waited for a CPU then, and nobody took it"
        )
    }
}

impl Throttling {
    /// The groups of these processes, and those that they are in.
    #[must_use]
    pub fn of(processes: &[u32]) -> Self {
        let (hierarchies, mut groups) = (Hierarchies::of("cpu"), BTreeMap::new());
        for (directory, name) in processes.iter().flat_map(|tgid| hierarchies.groups(*tgid)) {
            if let Entry::Vacant(new) = groups.entry(directory) {
                let held = read(new.key()).unwrap_or_default();
                new.insert((name, held));
            }
        }
        Self { groups }
    }

    /// Which of them were held back since, the longest time first.
    #[must_use]
    pub fn since(&self) -> Vec<HeldBack> {
        let held = self.groups.iter().filter_map(|(directory, (group, before))| {
            let now = read(directory)?;
            let (times, ns) = (now.times.saturating_sub(before.times), now.ns.saturating_sub(before.ns));
            (times > 0).then(|| HeldBack { group: group.clone(), times, ns })
        });
        let mut held: Vec<HeldBack> = held.collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.ns));
        held
    }
}

fn read(directory: &Path) -> Option<Held> {
    Some(parse(&fs::read_to_string(directory.join("cpu.stat")).ok()?))
}

/// `cpu.stat`, of either version.
fn parse(text: &str) -> Held {
    let mut held = Held::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        match name {
            "nr_throttled" => held.times = value,
            "throttled_usec" => held.ns = value.saturating_mul(1000),
            "throttled_time" => held.ns = value,
            _ => {}
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_tell_how_long_they_held_back() {
        let second = "usage_usec 99\nnr_periods 7\nnr_throttled 3\nthrottled_usec 1500\n";
        let first = "nr_periods 7\nnr_throttled 3\nthrottled_time 1500000\n";
        assert_eq!([parse(second), parse(first)], [Held { times: 3, ns: 1_500_000 }; 2]);
        assert_eq!(parse("usage_usec 5\nnonsense\nnr_throttled x\n"), Held::default());
    }
}
