//! A running recording's kernel side: load, configure, attach, hold the links.

mod block;
mod calls;
pub(super) mod python;
mod target;
pub(super) mod timeline;
mod timing;
mod walk;

pub use block::try_block;
pub use calls::try_calls;
pub use python::try_python;
pub(super) use target::mark;
use target::{attach_follow, fill_cgroup, fill_processes, processes};
pub use timing::Cost;
use timing::Timing;
pub use walk::{Unwind, WalkRoom, can_walk, try_walk};

use std::{
    collections::HashSet,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray},
    programs::raw_trace_point::RawTracePointLink,
};
use perf_ebpf::{sched::WaitFilter, target::TargetKind};

use super::{
    AttachError, Collector, EventKind,
    block::BlockCollector,
    calls::CallsCollector,
    cpu::CpuCollector,
    faults::FaultsCollector,
    file_calls::FileCallsCollector,
    kernel_locks::KernelLocksCollector,
    locks::LockFinder,
    maps::fill,
    memory::MemoryCollector,
    object::load,
    sched::{self, SchedCollector},
    target::Target,
};
use crate::host::{Host, proc, sys};

/// What to keep of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// User and kernel frames.
    Both,
    /// User frames only.
    User,
    /// Kernel frames only.
    Kernel,
}

/// How to record.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// What.
    pub kinds: Vec<EventKind>,
    /// Whom.
    pub target: Target,
    /// Whether children of members join.
    pub inherit: bool,
    /// Which frames.
    pub sides: Sides,
    /// How user frames are found.
    pub unwind: Unwind,
    /// Whether Python frames are read, if this kernel half and kernel can.
    pub python: bool,
    /// Which waits.
    pub waits: WaitFilter,
    /// Distinct records and stacks a window; a window of one second can hold no more than frequency times CPUs.
    pub entries: u32,
    /// How long waits are at least that are told one by one, as samples are then; `None`: only sums are kept.
    pub timeline_min_ns: Option<u64>,
}

impl SessionOptions {
    /// To listen to these events of nobody.
    pub(super) fn of_trial(kinds: Vec<EventKind>) -> Self {
        Self {
            kinds,
            target: Target::Processes(Vec::new()),
            inherit: false,
            sides: Sides::Both,
            unwind: Unwind::FramePointers,
            python: false,
            waits: WaitFilter::ALL,
            entries: 1,
            timeline_min_ns: None,
        }
    }

    /// Whether this kind is recorded.
    #[must_use]
    pub fn records(&self, kind: EventKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether single waits are told, not only what threads do with their time.
    #[must_use]
    pub fn tells_waits(&self) -> bool {
        self.records(EventKind::OffCpu) || self.tells_wakers()
    }

    /// Whether it is told who ended waits.
    #[must_use]
    pub fn tells_wakers(&self) -> bool {
        self.records(EventKind::OffWake) || self.records(EventKind::Locks)
    }

    /// Whether what is done is told by the file that it is about.
    #[must_use]
    pub fn tells_files(&self) -> bool {
        self.records(EventKind::Files) || self.records(EventKind::Faults)
    }

    /// Whether the scheduler's events are listened to.
    #[must_use]
    pub fn schedules(&self) -> bool {
        self.tells_waits() || self.records(EventKind::Sched) || self.records(EventKind::KernelLocks)
    }
}

/// The kernel half at work. Dropping it detaches everything.
pub struct Session {
    bpf: Ebpf,
    options: SessionOptions,
    collector: CpuCollector,
    sched: Option<SchedCollector>,
    calls: Option<CallsCollector>,
    block: Option<BlockCollector>,
    file_calls: Option<FileCallsCollector>,
    faults: Option<FaultsCollector>,
    kernel_locks: Option<KernelLocksCollector>,
    memory: Option<MemoryCollector>,
    follow: Vec<RawTracePointLink>,
    timing: Option<Timing>,
    /// Whether the kernel half reads Python frames.
    reads_python: bool,
}

impl Session {
    /// Loads the object.
    ///
    /// # Errors
    /// What the machine lacks, or the kernel refused.
    pub fn load(host: &Host, options: &SessionOptions, mut collector: CpuCollector) -> Result<Self, AttachError> {
        collector.check(host)?;
        let (mut bpf, reads_python) = load(host, options, &collector)?;
        let mut follow = Vec::new();
        if options.target.kind() == TargetKind::Processes {
            follow = attach_follow(&mut bpf, options)?;
            fill_processes(&mut bpf, &options.target)?;
        }
        if let Target::Cgroup(cgroup) = &options.target {
            fill_cgroup(&mut bpf, cgroup)?;
        }
        if options.records(EventKind::Cpu) {
            collector.load(&mut bpf, host, options.unwind, reads_python)?;
        }
        // A command has not begun.
        let is_new = matches!(options.target, Target::Command { .. });
        let load = |bpf| SchedCollector::load(bpf, options.unwind, reads_python, is_new);
        let sched = options.schedules().then(|| load(&mut bpf));
        let calls = options
            .records(EventKind::Syscalls)
            .then(|| CallsCollector::load(&mut bpf, options.unwind, reads_python))
            .transpose()?;
        let block =
            options.records(EventKind::Io).then(|| BlockCollector::load(&mut bpf, options.unwind, reads_python));
        let (sched, block) = (sched.transpose()?, block.transpose()?);
        let file_calls =
            options.records(EventKind::Files).then(|| FileCallsCollector::load(&mut bpf, options.unwind, reads_python));
        let faults = options
            .records(EventKind::Faults)
            .then(|| FaultsCollector::load(&mut bpf, host, options.unwind, reads_python));
        let (file_calls, faults) = (file_calls.transpose()?, faults.transpose()?);
        let kernel_locks = options
            .records(EventKind::KernelLocks)
            .then(|| KernelLocksCollector::load(&mut bpf, options.unwind, reads_python))
            .transpose()?;
        let memory = options
            .records(EventKind::Memory)
            .then(|| MemoryCollector::load(&mut bpf, options.unwind, reads_python))
            .transpose()?;
        let (options, timing) = (options.clone(), None);
        Ok(Self {
            bpf,
            options,
            collector,
            sched,
            calls,
            block,
            file_calls,
            faults,
            kernel_locks,
            memory,
            follow,
            timing,
            reads_python,
        })
    }

    /// Starts sampling; why it is not known where threads wait already, if it is not.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn attach(&mut self, host: &Host) -> Result<Option<AttachError>, AttachError> {
        self.timing = Some(Timing::start(|| counted(&self.bpf), sys::monotonic_ns()));
        self.calls.iter_mut().try_for_each(|calls| calls.attach(&mut self.bpf))?;
        self.block.iter_mut().try_for_each(|block| block.attach(&mut self.bpf))?;
        if let Some(file_calls) = &mut self.file_calls {
            file_calls.attach(&mut self.bpf)?;
        }
        if let Some(faults) = &mut self.faults {
            faults.attach(&mut self.bpf, &host.cpus)?;
        }
        if let Some(memory) = &mut self.memory {
            memory.attach(&mut self.bpf, &host.cpus)?;
        }
        if self.options.records(EventKind::Cpu) {
            self.collector.attach(&mut self.bpf, host)?;
        }
        self.kernel_locks.iter_mut().try_for_each(|locks| locks.attach(&mut self.bpf))?;
        // Last: what threads do counts from here on.
        let Some(sched) = &mut self.sched else { return Ok(None) };
        let of_kernel = self.options.sides != Sides::User;
        let locks = self.options.records(EventKind::Locks).then(LockFinder::default);
        sched.attach(&mut self.bpf, &self.options.target, of_kernel, sys::monotonic_ns(), locks)
    }

    /// Stacks, by their ids, of threads that waited before the recording.
    pub fn take_stacks_before(&mut self) -> std::collections::HashMap<u64, Arc<[u64]>> {
        self.sched.as_mut().map(SchedCollector::take_stacks).unwrap_or_default()
    }

    /// What is recorded, and how.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// The collector, to decode what it collected.
    #[must_use]
    pub fn collector(&self) -> &CpuCollector {
        &self.collector
    }

    /// Attaches to all CPUs that are online, except those that `stayed` so; which are new.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn follow_cpus(&mut self, stayed: &[u32], online: &[u32]) -> Result<Vec<u32>, AttachError> {
        let bpf = &mut self.bpf;
        let faults = self.faults.as_mut().map(|faults| faults.follow_cpus(bpf, stayed, online)).transpose();
        let memory = self.memory.as_mut().map(|memory| memory.follow_cpus(bpf, stayed, online)).transpose();
        let cpu = self.options.records(EventKind::Cpu).then(|| self.collector.follow_cpus(bpf, stayed, online));
        // Whichever there are, they are attached to the same.
        let new = [cpu.transpose()?, faults?, memory?];
        Ok(new.into_iter().flatten().next().unwrap_or_default())
    }

    /// Takes processes that have ended out of the target: their ids will be others' one day.
    ///
    /// # Errors
    /// When the object has no such map.
    pub fn forget_processes(&mut self, tgids: &[u32]) -> Result<(), AttachError> {
        let mut processes = processes(&mut self.bpf)?;
        for tgid in tgids {
            // Most that ended were no members.
            let _ = processes.remove(tgid);
        }
        Ok(())
    }

    /// Takes processes out of the target that do not exist any more, for when nobody told which have ended.
    ///
    /// # Errors
    /// When the object has no such map.
    pub fn forget_gone(&mut self) -> Result<(), AttachError> {
        let mut processes = processes(&mut self.bpf)?;
        let members: Vec<u32> = processes.keys().flatten().collect();
        let living: HashSet<u32> = proc::all_processes().collect();
        for tgid in members.into_iter().filter(|tgid| !living.contains(tgid)) {
            let _ = processes.remove(&tgid);
        }
        Ok(())
    }

    /// Makes programs write to the maps of this generation, whose window begins now.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_generation(&mut self, generation: u32, now_ns: u64) -> Result<(), AttachError> {
        if self.sched.is_some() || self.block.is_some() {
            sched::set_window_start(&mut self.bpf, generation, now_ns)?;
        }
        fill(&mut self.bpf, "GENERATION", [(0, generation)].into_iter())
    }

    /// The counters of a generation, summed over CPUs, and zeroed. Only for a generation that no program writes to.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_counters(&mut self, generation: u32) -> Result<[u64; perf_ebpf::counters::COUNTER_SLOTS], AttachError> {
        use perf_ebpf::counters::{COUNTER_SLOTS, Counters};
        const MAP: &str = "COUNTERS";
        let wrong = |source| AttachError::Map { map: MAP, source };
        let map = self.bpf.map_mut(MAP).ok_or(AttachError::Missing(MAP))?;
        let mut array: PerCpuArray<&mut MapData, Counters> = map.try_into().map_err(wrong)?;
        let values = array.get(&generation, 0).map_err(wrong)?;
        let mut sums = [0; COUNTER_SLOTS];
        for cpu in values.iter() {
            sums.iter_mut().zip(cpu).for_each(|(sum, value)| *sum += value);
        }
        let zeros = vec![[0; COUNTER_SLOTS]; values.len()];
        let zeros = aya::maps::PerCpuValues::try_from(zeros).map_err(|error| wrong(error.into()))?;
        array.set(generation, zeros, 0).map_err(wrong)?;
        Ok(sums)
    }

    /// The descriptor of a hash map.
    ///
    /// # Errors
    /// When the object has no such map.
    pub fn hash_map_fd(&self, name: &'static str) -> Result<BorrowedFd<'_>, AttachError> {
        match self.bpf.map(name) {
            Some(Map::HashMap(data) | Map::LruHashMap(data)) => Ok(data.fd().as_fd()),
            _ => Err(AttachError::Missing(name)),
        }
    }

    /// Stops sampling: detaches every program, and keeps the maps.
    pub fn stop(&mut self) {
        if let Some(timing) = &mut self.timing {
            timing.turn_off(|| counted(&self.bpf), sys::monotonic_ns());
        }
        self.collector.detach();
        // Takes as long as a nap: what is heard of one thread and not of another meanwhile is no part of the recording.
        self.calls.iter_mut().for_each(|calls| calls.detach(&mut self.bpf));
        self.memory.iter_mut().for_each(MemoryCollector::detach);
        self.faults.iter_mut().for_each(FaultsCollector::detach);
        self.file_calls.iter_mut().for_each(FileCallsCollector::detach);
        self.block.iter_mut().for_each(BlockCollector::detach);
        self.kernel_locks.iter_mut().for_each(KernelLocksCollector::detach);
        self.sched.iter_mut().for_each(SchedCollector::detach);
        self.follow.clear();
    }

    /// Lets the kernel time programs, or not: to be called about once a second.
    pub fn time(&mut self, now_ns: u64) {
        if let Some(timing) = &mut self.timing {
            timing.step(|| counted(&self.bpf), now_ns);
        }
    }

    /// What programs cost as far as they were timed; `None` when the kernel does not time them for us.
    #[must_use]
    pub fn cost(&self, now_ns: u64) -> Option<Cost> {
        self.timing.as_ref()?.cost(|| counted(&self.bpf), now_ns)
    }
}

/// Time in, and runs of all programs that the kernel has counted.
fn counted(bpf: &Ebpf) -> (u64, u64) {
    let infos = bpf.programs().filter_map(|(_, program)| program.info().ok());
    infos.fold((0, 0), |(ns, runs), info| (ns + info.run_time().as_nanos() as u64, runs + info.run_count()))
}
