//! How much memory processes had over time, and what limited them.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::{
    memory_limits::{MACHINE, OOM_KILLS},
    memory_use::{MappingUse, MemoryUse},
};

/// Memory over the windows of the profile. Times are nanoseconds after the recording's start.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By process.
    pub processes: BTreeMap<u32, ProcessMemory>,
    /// Figures of the machine, of control groups and of processes, by whose and which.
    pub gauges: BTreeMap<(String, String), GaugePoints>,
    /// Processes that were seen in control groups which limit memory, by the groups' subjects.
    pub members: BTreeMap<String, BTreeSet<u32>>,
}

/// The memory of a process over time.
#[derive(Clone, Debug, Default)]
pub struct ProcessMemory {
    /// Its last name.
    pub process: String,
    /// How much, when.
    pub points: Vec<(u64, MemoryUse)>,
    /// What lay in its mappings when they were looked at first and last, by name.
    pub mappings: [Option<Mappings>; 2],
}

/// What lay in mappings, by name, at a moment.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    /// When.
    pub at_ns: u64,
    /// How much.
    pub sums: BTreeMap<String, MappingUse>,
}

/// What stands for the smallest mappings of a process, which are not told apart.
pub const OTHER_MAPPINGS: &str = "[others]";

impl Memory {
    /// How many processes were killed for want of memory, and where that is counted most closely.
    #[must_use]
    pub fn kills(&self) -> Option<(&str, u64)> {
        let kills = self.gauges.iter().filter_map(|((subject, name), gauge)| {
            let kills = gauge.last.1.saturating_sub(gauge.first.1);
            (name == OOM_KILLS && kills > 0).then_some((subject.as_str(), kills))
        });
        // Those above count the same, and the machine all.
        kills.max_by_key(|(subject, _)| (*subject != MACHINE, subject.len()))
    }

    /// When the last figure was read.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.gauges.values().map(|gauge| gauge.last.0).max().unwrap_or(0)
    }
}

/// A figure: when it was read first and last, and how much it was. First is before the selected time, if it was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugePoints {
    /// When, and how much.
    pub first: (u64, u64),
    /// The same.
    pub last: (u64, u64),
    /// The most at any time.
    pub most: u64,
}

impl GaugePoints {
    /// Of one point.
    #[must_use]
    pub fn of(point: (u64, u64)) -> Self {
        Self { first: point, last: point, most: point.1 }
    }
}

/// More points of a process are thinned out.
pub const MOST_POINTS: usize = 8_192;

impl ProcessMemory {
    /// Takes note of a moment; they come one after another. Of many the lower ones are kept, which trends are judged by, and the last.
    pub fn add_point(&mut self, at_ns: u64, told: MemoryUse) {
        self.points.push((at_ns, told));
        if self.points.len() > MOST_POINTS {
            let last = self.points.pop();
            let lower = self.points.chunks(2).filter_map(|pair| pair.iter().min_by_key(|(_, told)| told.own()));
            self.points = lower.copied().chain(last).collect();
        }
    }

    /// Takes note of a mapping at a moment; moments come one after another.
    pub fn add_mapping(&mut self, at_ns: u64, name: String, told: MappingUse) {
        let [first, last] = &mut self.mappings;
        let first = first.get_or_insert_with(|| Mappings { at_ns, ..Mappings::default() });
        if first.at_ns == at_ns {
            first.sums.insert(name, told);
            return;
        }
        let last = last.get_or_insert_with(|| Mappings { at_ns, ..Mappings::default() });
        if last.at_ns != at_ns {
            *last = Mappings { at_ns, ..Mappings::default() };
        }
        last.sums.insert(name, told);
    }
}
