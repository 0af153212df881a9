//! How much memory processes had over time, and what limited them.

use std::collections::BTreeMap;

use crate::host::{
    memory_limits::OOM_KILLS,
    memory_use::{MappingUse, MemoryUse},
};

/// Memory over the windows of the profile. Times are nanoseconds after the recording's start.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By process.
    pub processes: BTreeMap<u32, ProcessMemory>,
    /// Figures of the machine, of control groups and of processes, by whose and which: when, and how much.
    pub gauges: BTreeMap<(String, String), Vec<(u64, u64)>>,
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

impl Memory {
    /// How many processes were killed for want of memory, by where that is counted.
    pub fn kills(&self) -> impl Iterator<Item = (&str, u64)> {
        self.gauges.iter().filter_map(|((subject, name), points)| {
            let kills = points.last()?.1.saturating_sub(points.first()?.1);
            (name == OOM_KILLS && kills > 0).then_some((subject.as_str(), kills))
        })
    }
}

impl ProcessMemory {
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
