//! Asks how much memory processes have, and what limits them, once a window.

use std::collections::{BTreeSet, HashMap};

use crate::{
    collect::EventKind,
    host::{
        memory_limits::{Gauge, MemoryLimits},
        memory_use::{MappingUse, MemoryUse, mappings},
        sys,
    },
    task::{Follow, LocatedMemory, LocatedWindow, ProcessMappings, ProcessMemory, Tasks},
};

/// Processes that are asked in a window: those that touched most.
const PROCESSES: usize = 256;

/// Processes whose mappings are looked at: those with most memory.
const LOOKED_AT: usize = 8;

/// Names of mappings that are told apart, of a process: those with most memory.
const MAPPINGS: usize = 24;
/// What stands for the others.
const OTHERS: &str = "[others]";

/// The least part of the time that is not spent on looking at a process's mappings, as its reciprocal: the kernel looks at each page.
const LOOKS_COST: u64 = 1_000;
/// Looks are at least such a part of the time since the first apart, so that they are few in long recordings.
const LOOKS_APART: u64 = 8;

/// What is asked.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    limits: MemoryLimits,
    started_ns: u64,
    /// When a process's mappings are looked at again.
    next_look: HashMap<u32, u64>,
    /// What was read before the first window.
    first: Option<LocatedMemory>,
}

impl MemoryWatch {
    /// Of these processes, as the recording begins; `None` if memory is not recorded.
    pub(super) fn begin(members: &[u32], kinds: &[EventKind], tasks: &Tasks) -> Option<Self> {
        if !kinds.contains(&EventKind::Memory) {
            return None;
        }
        let started_ns = sys::monotonic_ns();
        let (limits, next_look) = (MemoryLimits::of(members), HashMap::new());
        let mut watch = Self { limits, started_ns, next_look, first: None };
        watch.first = Some(watch.look(members, tasks));
        Some(watch)
    }

    /// What there is to tell at the end of a window.
    pub(super) fn read(&mut self, window: &LocatedWindow, tasks: &Tasks) -> LocatedMemory {
        let mut touched: HashMap<u32, u64> = HashMap::new();
        for sample in window.kinds.iter().filter(|kind| kind.kind == EventKind::Memory).flat_map(|kind| &kind.samples) {
            *touched.entry(sample.tgid).or_default() += sample.value;
        }
        // Of all of the machine's processes, those that touch nothing have what they had.
        let mut asked: BTreeSet<u32> = touched.keys().copied().collect();
        if *tasks.follows() != Follow::All {
            asked.extend(tasks.living());
        }
        let mut asked: Vec<u32> = asked.into_iter().collect();
        asked.sort_by_key(|tgid| std::cmp::Reverse(touched.get(tgid).copied().unwrap_or(0)));
        asked.truncate(PROCESSES);
        let now = self.look(&asked, tasks);
        let mut told = self.first.take().unwrap_or_default();
        told.processes.extend(now.processes);
        told.mappings.extend(now.mappings);
        told.gauges.extend(now.gauges);
        told
    }

    fn look(&mut self, asked: &[u32], tasks: &Tasks) -> LocatedMemory {
        let at_ns = sys::monotonic_ns();
        let processes = asked.iter().filter_map(|tgid| {
            let told = MemoryUse::of(*tgid)?;
            Some(ProcessMemory {
                tgid: *tgid,
                process: tasks.process_name(*tgid, at_ns),
                at_ns: sys::monotonic_ns(),
                told,
            })
        });
        let processes: Vec<ProcessMemory> = processes.collect();
        let mut largest: Vec<(u64, u32)> =
            processes.iter().map(|process| (process.told.resident(), process.tgid)).collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        let mappings = largest.into_iter().take(LOOKED_AT).filter_map(|(_, tgid)| self.look_at_mappings(tgid, at_ns));
        let mappings = mappings.collect();
        let gauges: Vec<(u64, Gauge)> = self.limits.read().into_iter().map(|gauge| (at_ns, gauge)).collect();
        LocatedMemory { processes, mappings, gauges }
    }

    /// The mappings of a process, if it is time.
    fn look_at_mappings(&mut self, tgid: u32, now_ns: u64) -> Option<ProcessMappings> {
        if self.next_look.get(&tgid).is_some_and(|next_ns| now_ns < *next_ns) {
            return None;
        }
        let begun_ns = sys::monotonic_ns();
        let mut found: Vec<(String, MappingUse)> = mappings(tgid).ok()?.into_iter().collect();
        let (ended_ns, age_ns) = (sys::monotonic_ns(), now_ns.saturating_sub(self.started_ns));
        let pause_ns = ended_ns.saturating_sub(begun_ns).saturating_mul(LOOKS_COST).max(age_ns / LOOKS_APART);
        self.next_look.insert(tgid, ended_ns.saturating_add(pause_ns));
        found.sort_by_key(|(_, told)| std::cmp::Reverse(told.resident + told.swapped));
        let mut others = MappingUse::default();
        for (_, told) in found.drain(MAPPINGS.min(found.len())..) {
            others.resident += told.resident;
            others.anonymous += told.anonymous;
            others.huge += told.huge;
            others.swapped += told.swapped;
        }
        if others != MappingUse::default() {
            found.push((OTHERS.into(), others));
        }
        Some(ProcessMappings { tgid, at_ns: begun_ns, sums: found })
    }
}
