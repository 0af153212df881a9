//! Asks how much memory processes have, and what limits them, once a window.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    collect::{EventKind, target::Target},
    host::{
        memory_limits::MemoryLimits,
        memory_use::{MappingUse, MemoryUse, mappings},
        sys,
    },
    profile::OTHER_MAPPINGS,
    task::{Follow, LocatedMemory, LocatedWindow, ProcessMappings, ProcessMemory, Tasks},
};

/// Processes that are asked in a window: those that touched most.
const PROCESSES: usize = 256;

/// Processes whose mappings are looked at: those with most memory.
const LOOKED_AT: usize = 8;

/// Names of mappings that are told apart, of a process: those with most memory.
const MAPPINGS: usize = 24;

/// Looking at mappings takes at most such a part of a CPU's time, as its reciprocal: the kernel looks at each page.
const LOOKS_COST: u64 = 200;
/// Looks are at least such a part of the time since the first apart, so that they are few in long recordings.
const LOOKS_APART: u64 = 8;
/// How long the end waits for the last look.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    limits: MemoryLimits,
    started_ns: u64,
    /// The processes that were asked last, and lived.
    asked: BTreeSet<u32>,
    /// When mappings are looked at again.
    next_look_ns: u64,
    /// Who looks at them meanwhile: for some processes that takes seconds.
    look: Option<JoinHandle<Vec<ProcessMappings>>>,
    /// What was read before the first window.
    first: Option<LocatedMemory>,
}

impl MemoryWatch {
    /// As the recording begins, of its target; `None` if memory is not recorded.
    pub(super) fn begin(target: &Target, kinds: &[EventKind], tasks: &Tasks) -> Option<Self> {
        if !kinds.contains(&EventKind::Memory) {
            return None;
        }
        let mut watch = Self {
            limits: MemoryLimits::default(),
            started_ns: sys::monotonic_ns(),
            asked: BTreeSet::new(),
            next_look_ns: 0,
            look: None,
            first: None,
        };
        watch.first = Some(match target {
            // It begins with nothing; what it has now is still perfprobe's own copy, or half of what it is to be.
            Target::Command { tgid, .. } => {
                let (process, told) = (String::new(), MemoryUse::default());
                let first = ProcessMemory { tgid: *tgid, process, at_ns: watch.started_ns, told };
                LocatedMemory { processes: vec![first], ..LocatedMemory::default() }
            }
            target => {
                let members = target.processes();
                watch.ask(&members[..members.len().min(PROCESSES)], tasks)
            }
        });
        Some(watch)
    }

    /// What there is to tell at the end of a window, or of the recording.
    pub(super) fn read(&mut self, window: &LocatedWindow, tasks: &Tasks, is_last: bool) -> LocatedMemory {
        let mut touched: HashMap<u32, u64> = HashMap::new();
        for sample in window.kinds.iter().filter(|kind| kind.kind == EventKind::Memory).flat_map(|kind| &kind.samples) {
            *touched.entry(sample.tgid).or_default() += sample.value;
        }
        // Of all of the machine's processes, those that have touched something since the recording began.
        let mut asked: BTreeSet<u32> = touched.keys().chain(&self.asked).copied().collect();
        if *tasks.follows() != Follow::All {
            asked.extend(tasks.living());
        }
        let mut asked: Vec<u32> = asked.into_iter().collect();
        asked.sort_by_key(|tgid| (Reverse(touched.get(tgid).copied().unwrap_or(0)), !self.asked.contains(tgid)));
        asked.truncate(PROCESSES);
        if is_last {
            self.next_look_ns = 0;
        }
        let now = self.ask(&asked, tasks);
        let mut told = self.first.take().unwrap_or_default();
        told.processes.extend(now.processes);
        told.mappings.extend(now.mappings);
        told.gauges.extend(now.gauges);
        if is_last {
            let until = Instant::now() + LAST_LOOK;
            while self.look.as_ref().is_some_and(|look| !look.is_finished()) && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
            told.mappings.extend(self.done());
        }
        told
    }

    /// What was seen of mappings, if somebody has looked and is done.
    fn done(&mut self) -> Vec<ProcessMappings> {
        self.look.take_if(|look| look.is_finished()).and_then(|look| look.join().ok()).unwrap_or_default()
    }

    fn ask(&mut self, asked: &[u32], tasks: &Tasks) -> LocatedMemory {
        let at_ns = sys::monotonic_ns();
        let processes = asked.iter().filter_map(|tgid| {
            let told = MemoryUse::of(*tgid)?;
            let (process, at_ns) = (tasks.process_name(*tgid, at_ns), sys::monotonic_ns());
            Some(ProcessMemory { tgid: *tgid, process, at_ns, told })
        });
        let processes: Vec<ProcessMemory> = processes.collect();
        self.asked = processes.iter().map(|process| process.tgid).collect();
        let living: Vec<u32> = self.asked.iter().copied().collect();
        let members = self.limits.meet(&living);
        let gauges = members.into_iter().chain(self.limits.read()).map(|gauge| (at_ns, gauge)).collect();
        let mappings = self.looked_at(&processes, at_ns);
        LocatedMemory { processes, mappings, gauges }
    }

    /// What was seen of mappings, if somebody has looked and is done; then, when it is time, somebody looks again.
    fn looked_at(&mut self, processes: &[ProcessMemory], now_ns: u64) -> Vec<ProcessMappings> {
        let done = self.done();
        if let Some(ended_ns) = done.iter().map(|looked| looked.at_ns.saturating_add(looked.took_ns)).max() {
            let took_ns: u64 = done.iter().map(|looked| looked.took_ns).sum();
            let pause_ns = took_ns.saturating_mul(LOOKS_COST).max(now_ns.saturating_sub(self.started_ns) / LOOKS_APART);
            self.next_look_ns = ended_ns.saturating_add(pause_ns);
        }
        if self.look.is_none() && now_ns >= self.next_look_ns {
            let mut largest: Vec<(u64, u32)> =
                processes.iter().map(|process| (process.told.resident(), process.tgid)).collect();
            largest.sort_unstable_by(|a, b| b.cmp(a));
            let largest: Vec<u32> = largest.into_iter().take(LOOKED_AT).map(|(_, tgid)| tgid).collect();
            let look = move || largest.into_iter().filter_map(look_at).collect();
            self.look = thread::Builder::new().name("perfprobe maps".into()).spawn(look).ok();
        }
        done
    }
}

/// The mappings of a process now.
fn look_at(tgid: u32) -> Option<ProcessMappings> {
    let (at_ns, before_ns) = (sys::monotonic_ns(), sys::thread_cpu_ns());
    let mut sums: Vec<(String, MappingUse)> = mappings(tgid).ok()?.into_iter().collect();
    sums.sort_by_key(|(_, told)| Reverse(told.resident + told.swapped));
    let mut others = MappingUse::default();
    sums.drain(MAPPINGS.min(sums.len())..).for_each(|(_, told)| others += told);
    if others != MappingUse::default() {
        sums.push((OTHER_MAPPINGS.into(), others));
    }
    Some(ProcessMappings { tgid, at_ns, took_ns: sys::thread_cpu_ns().saturating_sub(before_ns), sums })
}
