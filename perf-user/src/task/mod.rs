//! Who ran: processes, their names, and what was mapped where at any moment of the recording.

mod block;
mod calls;
mod file_calls;
mod file_names;
mod files;
mod generated;
mod java;
mod kernel_locks;
mod lock_names;
mod locks;
mod memory;
mod module;
mod named;
mod process;
mod pythons;
mod resolve;
mod space;
#[cfg(test)]
mod tests;
mod timeline;

pub use block::LocatedBlock;
pub use calls::{File, LocatedCall, LocatedCalls, LocatedOpen};
pub use file_calls::{LocatedFileCalls, Peer};
pub use file_names::{FileKind, FileText};
pub use generated::{GeneratedCode, GrowingFile, OwnFiles};
pub(crate) use java::is_hang_up;
pub use kernel_locks::LocatedKernelLocks;
pub use locks::{HELD_BY, LocatedLocks};
pub use memory::{LocatedMemory, ProcessMappings, ProcessMemory};
pub use module::{Module, ModuleId, ModuleKind, Modules};
pub use pythons::{NATIVE_GAP, PYTHON_DEEP, PYTHON_UNREADABLE};
pub use resolve::{LocatedKind, LocatedSample, LocatedWindow, RawFrame, WOKEN_BY, did};
pub use space::CodeMapping;
pub use timeline::LocatedTimeline;

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
};

use generated::Generator;
use lock_names::LockNames;
use perf_ebpf::block::LEFT_NS;
use process::Process;
use pythons::Pythons;
use space::{AddressSpace, Change, Mapping};

use crate::host::{
    kernel_variables::KernelVariables,
    perf_ring::{MapEvent, TaskEvent},
    proc,
};

/// Whose history to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// Every process's.
    #[default]
    All,
    /// Of the processes that were scanned and their children.
    Known,
    /// The same, and of processes that take this name.
    Named(String),
}

/// All processes whose history is kept.
#[derive(Debug, Default)]
pub struct Tasks {
    follow: Follow,
    processes: HashMap<u32, Process>,
    modules: Modules,
    pythons: Pythons,
    files: files::Files,
    lock_names: LockNames,
    kernel_variables: KernelVariables,
    lost_events: u64,
    /// Whether events may have been missed since processes were last looked for.
    events_missed: bool,
    /// Processes whose mappings have changed since this was last asked.
    changed: HashSet<u32>,
    remapped: bool,
}

impl Tasks {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(follow: Follow) -> Self {
        Self { follow, ..Self::default() }
    }

    /// Whether the process's beginning is known. What happens to others tells nothing without what was before; they are
    /// read from `/proc` when they are sampled.
    fn is_followed(&self, tgid: u32) -> bool {
        self.processes.get(&tgid).is_some_and(|process| process.ended_ns.is_none())
    }

    /// Whose history is kept.
    #[must_use]
    pub fn follows(&self) -> &Follow {
        &self.follow
    }

    /// Whether a process that takes this name is followed from then on.
    fn is_wanted(&self, comm: &str, exec: bool) -> bool {
        match &self.follow {
            Follow::All => exec,
            Follow::Known => false,
            Follow::Named(name) => name == comm,
        }
    }

    /// Reads what a process that runs already has mapped, unless it is known.
    pub fn scan(&mut self, tgid: u32) {
        if self.processes.get(&tgid).is_some_and(|process| !process.spaces.is_empty() && process.ended_ns.is_none()) {
            return;
        }
        // A process that ends now leaves its samples' frames without a module, and they are reported so.
        let Some((tids, space)) = self.look_at(tgid) else { return };
        // What an ended process of the same id left makes room.
        let process = self.processes.entry(tgid).or_default();
        *process = Process { tids, ..Process::default() };
        process.spaces.push((0, Arc::new(space)));
        self.changed.insert(tgid);
        if let Some(name) = proc::comm(tgid) {
            process.names.push((0, name));
        }
        self.look_for_generators(tgid);
    }

    /// Finds out where the process tells what code it generates, if it does, as long as it is there to be asked.
    fn look_for_generators(&mut self, tgid: u32) {
        let Some(process) = self.processes.get_mut(&tgid) else { return };
        for (_, space) in &process.spaces {
            if process.generator(space).is_none() && space.has_generated() {
                let module = self.modules.jit_of(tgid, process.name_at(u64::MAX));
                process.generators.push(Generator::new(tgid, space.executed_ns, module));
            }
        }
    }

    /// Takes note that nobody listened to a CPU for a while.
    pub fn miss(&mut self) {
        self.events_missed = true;
    }

    /// Looks at all living processes again: they may have executed or mapped something that nobody told of.
    pub fn rescan(&mut self, time_ns: u64) {
        let living = self.processes.iter().filter(|(_, process)| process.ended_ns.is_none());
        let living: Vec<u32> = living.map(|(tgid, _)| *tgid).collect();
        for tgid in living {
            let Some((tids, mut space)) = self.look_at(tgid) else { continue };
            let process = self.processes.entry(tgid).or_default();
            process.tids = tids;
            space.executed_ns = process.spaces.last().map_or(0, |(_, space)| space.executed_ns);
            process.spaces.push((time_ns, Arc::new(space)));
            process.names.extend(proc::comm(tgid).map(|name| (time_ns, name)));
            self.changed.insert(tgid);
        }
        self.remapped = true;
    }

    /// The threads of a process and what it has mapped now; `None` when it is gone.
    fn look_at(&mut self, tgid: u32) -> Option<(HashSet<u32>, AddressSpace)> {
        let tids = proc::threads(tgid);
        let (living, mappings) = match tids.first() {
            Some(living) => (*living, proc::executable_mappings(*living)),
            None if proc::is_hidden(tgid) => (tgid, Err(io::ErrorKind::PermissionDenied.into())),
            None => return None,
        };
        let hidden = mappings.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        let mappings = match mappings {
            Err(_) if !hidden => return None,
            mappings => mappings.unwrap_or_default(),
        };
        let mut space = AddressSpace::default();
        space.hidden = hidden;
        for mapping in &mappings {
            let mapping = self.mapping(living, mapping, 0);
            space.insert(mapping);
        }
        // One whose threads are hidden ends with its main thread, as far as can be told.
        let tids = if tids.is_empty() { HashSet::from([tgid]) } else { tids.into_iter().collect() };
        Some((tids, space))
    }

    /// Takes note of an event. Events have to come in the order of their times.
    pub fn apply(&mut self, time_ns: u64, event: TaskEvent) {
        match event {
            TaskEvent::Comm { tgid, tid, comm, exec }
                if tid == tgid && !self.is_followed(tgid) && self.is_wanted(&comm, exec) =>
            {
                if !exec {
                    self.scan(tgid);
                }
                let process = self.processes.entry(tgid).or_default();
                (process.ended_ns, process.end_told) = (None, false);
                process.tids.insert(tid);
                process.names.push((time_ns, comm));
                if exec {
                    process.spaces.push((time_ns, Arc::new(AddressSpace::of_exec(time_ns))));
                    self.lock_names.forget(tgid);
                }
            }
            TaskEvent::Map { tgid, .. } | TaskEvent::Comm { tgid, .. } if !self.is_followed(tgid) => {}
            TaskEvent::Fork { parent_tgid, .. } if !self.is_followed(parent_tgid) => {}
            TaskEvent::Map { tgid, mapping } => {
                let mapping = self.mapping(tgid, &mapping, time_ns);
                let generated = mapping.module.kind == ModuleKind::Jit;
                let process = self.processes.entry(tgid).or_default();
                if process.spaces.is_empty() {
                    process.spaces.push((0, Arc::default()));
                }
                if let Some((_, space)) = process.spaces.last_mut() {
                    let change = Arc::make_mut(space).insert(mapping);
                    self.remapped |= change == Change::OtherCode;
                    if change != Change::None {
                        self.changed.insert(tgid);
                    }
                }
                if generated {
                    self.look_for_generators(tgid);
                }
            }
            TaskEvent::Comm { tgid, tid, comm, exec } => {
                let process = self.processes.entry(tgid).or_default();
                if exec {
                    process.spaces.push((time_ns, Arc::new(AddressSpace::of_exec(time_ns))));
                    // Whichever thread executed it, it is the only one now, and has the process's id.
                    process.tids = HashSet::from([tgid]);
                    self.lock_names.forget(tgid);
                }
                if tid == tgid {
                    process.names.push((time_ns, comm));
                }
            }
            TaskEvent::Fork { tgid, parent_tgid, tid } if tgid == parent_tgid => {
                if let Some(process) = self.processes.get_mut(&tgid) {
                    process.tids.insert(tid);
                }
            }
            TaskEvent::Fork { tgid, parent_tgid, tid } => {
                // The id may have belonged to a process that ended: its past stays, until it is forgotten.
                let parent = self.processes.get(&parent_tgid);
                let space = parent.and_then(|parent| parent.spaces.last()).map(|(_, space)| Arc::clone(space));
                let name = parent.and_then(|parent| parent.names.last()).map(|(_, name)| name.clone());
                let process = self.processes.entry(tgid).or_default();
                (process.ended_ns, process.end_told) = (None, false);
                process.generators.clear();
                process.tids = HashSet::from([tid]);
                process.spaces.push((time_ns, space.unwrap_or_default()));
                self.changed.insert(tgid);
                process.names.extend(name.map(|name| (time_ns, name)));
            }
            TaskEvent::Exit { tgid, tid } => {
                if let Some(process) = self.processes.get_mut(&tgid) {
                    process.tids.remove(&tid);
                    if process.tids.is_empty() {
                        process.ended_ns = Some(time_ns);
                    }
                }
            }
            TaskEvent::Lost { count } => {
                self.lost_events = self.lost_events.saturating_add(count);
                self.events_missed = true;
            }
        }
    }

    /// Forgets what only times before `time_ns` can ask for: ended processes, and address spaces that an exec replaced; but those of
    /// `later`, of which earlier times may be asked for, too, only after a while.
    ///
    /// Returns the processes that have ended.
    pub fn forget_before(&mut self, time_ns: u64, later: &HashSet<u32>) -> Vec<u32> {
        if self.events_missed {
            let living: HashSet<u32> = proc::all_processes().collect();
            let missed = self.processes.iter_mut().filter(|(tgid, _)| !living.contains(tgid));
            missed.for_each(|(_, process)| _ = process.ended_ns.get_or_insert(time_ns));
        }
        let mut told = Vec::new();
        let needed_ns = |tgid: &u32| if later.contains(tgid) { time_ns.saturating_sub(LEFT_NS) } else { time_ns };
        self.processes.retain(|tgid, process| {
            let Some(ended_ns) = process.ended_ns.filter(|ended_ns| *ended_ns < time_ns) else { return true };
            if !std::mem::replace(&mut process.end_told, true) {
                told.push(*tgid);
            }
            ended_ns >= needed_ns(tgid)
        });
        told.iter().for_each(|tgid| self.lock_names.forget(*tgid));
        for (tgid, process) in &mut self.processes {
            let time_ns = needed_ns(tgid);
            let old = process.spaces.partition_point(|(from_ns, _)| *from_ns <= time_ns);
            process.spaces.drain(..old.saturating_sub(1));
            let old = process.names.partition_point(|(from_ns, _)| *from_ns <= time_ns);
            process.names.drain(..old.saturating_sub(1));
            for (_, space) in process.spaces.iter_mut().filter(|(_, space)| space.has_replaced_before(time_ns)) {
                Arc::make_mut(space).forget_before(time_ns);
            }
            let Process { spaces, generators, .. } = process;
            generators.retain(|generator| spaces.iter().any(|(_, space)| space.executed_ns == generator.executed_ns));
        }
        told
    }

    /// Whether, since this was last asked, events may have been missed: then the ends of processes, too.
    pub fn take_events_missed(&mut self) -> bool {
        std::mem::take(&mut self.events_missed)
    }

    /// The processes whose mappings have changed since this was last asked.
    pub fn take_changed(&mut self) -> HashSet<u32> {
        std::mem::take(&mut self.changed)
    }

    /// What a process has mapped now, sorted by address; nothing if it has ended.
    #[must_use]
    pub fn code(&self, tgid: u32) -> Vec<CodeMapping> {
        let living = self.processes.get(&tgid).filter(|process| process.ended_ns.is_none());
        living.and_then(|process| process.spaces.last()).map_or_else(Vec::new, |(_, space)| space.code())
    }

    /// Whether, since this was last asked, code came to lie where other code had been: what is counted under these
    /// addresses from now on has to be told from what was counted before.
    pub fn take_remapped(&mut self) -> bool {
        std::mem::take(&mut self.remapped)
    }

    /// What a process is called at this time, as far as is known.
    #[must_use]
    pub fn process_name(&self, tgid: u32, at_ns: u64) -> String {
        let known = self.processes.get(&tgid).and_then(|process| process.name_at(at_ns));
        known.map(str::to_owned).or_else(|| proc::comm(tgid)).unwrap_or_default()
    }

    /// Task events that the kernel had no room for.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        self.lost_events
    }

    fn mapping(&mut self, tgid: u32, event: &MapEvent, from_ns: u64) -> Mapping {
        let module = self.modules.of(tgid, event);
        Mapping {
            start: event.start,
            end: event.start.saturating_add(event.bytes),
            offset: event.offset,
            module,
            from_ns,
        }
    }
}
