//! A running recording's kernel side: load, configure, attach, hold the links.

mod walk;

pub use walk::{Unwind, WalkRoom, try_walk};

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, include_bytes_aligned,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::{PerfEvent, ProgramInfo, RawTracePoint, raw_trace_point::RawTracePointLink},
};
use perf_ebpf::{
    comm::comm_words,
    target::{SIDE_KERNEL, SIDE_USER, TargetKind},
};

use super::{
    AttachError, Collector,
    cpu::CpuCollector,
    target::{Target, comm_from},
};
use crate::host::{Host, TaskOffsets, Unsupported, proc, sys, task_offsets};

/// The compiled kernel half; `cargo xtask ebpf` makes it.
#[cfg(target_arch = "x86_64")]
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/perfprobe.bpf.o");

/// The compiled kernel half; `cargo xtask ebpf` makes it.
#[cfg(target_arch = "aarch64")]
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/perfprobe.aarch64.bpf.o");

/// Processes that can be members of the target at once; those that ended are removed with their last window.
const PROCESS_ENTRIES: u32 = 65_536;

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
    /// Whom.
    pub target: Target,
    /// Whether children of members join.
    pub inherit: bool,
    /// Which frames.
    pub sides: Sides,
    /// How user frames are found.
    pub unwind: Unwind,
    /// Distinct records and stacks a window; a window of one second can hold no more than frequency times CPUs.
    pub entries: u32,
}

/// The kernel half at work. Dropping it detaches everything.
pub struct Session {
    bpf: Ebpf,
    collector: CpuCollector,
    follow: Vec<RawTracePointLink>,
    stats: Option<OwnedFd>,
}

impl Session {
    /// Loads the object.
    ///
    /// # Errors
    /// What the machine lacks, or the kernel refused.
    pub fn load(host: &Host, options: &SessionOptions, mut collector: CpuCollector) -> Result<Self, AttachError> {
        collector.check(host)?;
        // Without the privilege the report says that the cost in the kernel is not known.
        let stats = sys::enable_bpf_stats().ok();
        let mut bpf = load(options, &collector)?;
        let mut follow = Vec::new();
        if options.target.kind() == TargetKind::Processes {
            follow = attach_follow(&mut bpf, options)?;
            fill_processes(&mut bpf, &options.target)?;
        }
        collector.load(&mut bpf, host, options.unwind)?;
        Ok(Self { bpf, collector, follow, stats })
    }

    /// Starts sampling.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn attach(&mut self, host: &Host) -> Result<(), AttachError> {
        self.collector.attach(&mut self.bpf, host)
    }

    /// The collector, to decode what it collected.
    #[must_use]
    pub fn collector(&self) -> &CpuCollector {
        &self.collector
    }

    /// Attaches to CPUs that came online; which are new.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn follow_cpus(&mut self, online: &[u32]) -> Result<Vec<u32>, AttachError> {
        self.collector.follow_cpus(&mut self.bpf, online)
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

    /// Makes programs write to the maps of this generation.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_generation(&mut self, generation: u32) -> Result<(), AttachError> {
        const MAP: &str = "GENERATION";
        let map = self.bpf.map_mut(MAP).ok_or(AttachError::Missing(MAP))?;
        let mut array: Array<&mut MapData, u32> =
            map.try_into().map_err(|source| AttachError::Map { map: MAP, source })?;
        array.set(0, generation, 0).map_err(|source| AttachError::Map { map: MAP, source })
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
            Some(Map::HashMap(data)) => Ok(data.fd().as_fd()),
            _ => Err(AttachError::Missing(name)),
        }
    }

    /// Stops sampling: detaches every program, and keeps the maps.
    pub fn stop(&mut self) {
        self.collector.detach();
        self.follow.clear();
    }

    /// Time spent in and runs of all programs so far; `None` when the kernel does not count them for us.
    #[must_use]
    pub fn cost(&self) -> Option<(u64, u64)> {
        self.stats.as_ref()?;
        let infos: Vec<ProgramInfo> = self.bpf.programs().filter_map(|(_, program)| program.info().ok()).collect();
        Some(
            infos
                .iter()
                .fold((0, 0), |(ns, runs), info| (ns + info.run_time().as_nanos() as u64, runs + info.run_count())),
        )
    }
}

fn load(options: &SessionOptions, collector: &CpuCollector) -> Result<Ebpf, AttachError> {
    let mut loader = EbpfLoader::new();
    // Nothing here is relocated against the kernel's types, and parsing them costs a start-up noticeable time.
    loader.btf(None);
    let kind = options.target.kind() as u32;
    let sides = match options.sides {
        Sides::Both => SIDE_USER | SIDE_KERNEL,
        Sides::User => SIDE_USER,
        Sides::Kernel => SIDE_KERNEL,
    };
    let inherit = u32::from(options.inherit);
    let (cgroup_id, cgroup_level) = match &options.target {
        Target::Cgroup(cgroup) => (cgroup.id, cgroup.level),
        _ => (0, 0),
    };
    let [comm_low, comm_high] = match &options.target {
        Target::Comm(name) => comm_words(&comm_from(name)),
        _ => [0; 2],
    };
    let offsets = match task_offsets() {
        Ok(offsets) => offsets,
        Err(missing) if needs_offsets(options) => return Err(missing.into()),
        // Without them, samples before and after an exec in one window cannot be told apart; that is all.
        Err(_) => TaskOffsets { pid: 0, tgid: 0, exec_count: 0 },
    };
    loader
        .override_global("TARGET_KIND", &kind, true)
        .override_global("STACK_SIDES", &sides, true)
        .override_global("CGROUP_ID", &cgroup_id, true)
        .override_global("CGROUP_LEVEL", &cgroup_level, true)
        .override_global("INHERIT", &inherit, true)
        .override_global("COMM_LOW", &comm_low, true)
        .override_global("COMM_HIGH", &comm_high, true)
        .override_global("EXEC_COUNT_OFFSET", &offsets.exec_count, true)
        .override_global("TASK_PID_OFFSET", &offsets.pid, true)
        .override_global("TASK_TGID_OFFSET", &offsets.tgid, true)
        .map_max_entries("STACKS_0", options.entries.saturating_mul(2))
        .map_max_entries("STACKS_1", options.entries.saturating_mul(2));
    if options.unwind == Unwind::Tables {
        let room = WalkRoom::of(&options.target);
        loader
            .map_max_entries("DEEP_STACKS_0", options.entries)
            .map_max_entries("DEEP_STACKS_1", options.entries)
            .map_max_entries("UNWIND_ROWS", room.rows)
            .map_max_entries("UNWIND_PAGES", room.pages)
            .map_max_entries("UNWIND_CODE", room.code)
            .map_max_entries("UNWIND_SPACES", room.spaces);
    }
    if options.target.kind() == TargetKind::Processes {
        loader.map_max_entries("PROCESSES", PROCESS_ENTRIES);
    }
    collector.configure(&mut loader);
    load_object(&mut loader)
}

/// Loads the object's maps and relocates its programs. Kernels before 5.11 charge maps to the limit of locked memory.
fn load_object(loader: &mut EbpfLoader<'_>) -> Result<Ebpf, AttachError> {
    let unlimited = sys::raise_memlock().is_ok();
    loader.load(OBJECT).map_err(|error| match sys::memlock_bytes() {
        Some(limit) if !unlimited && is_refused_memory(&error) && Host::read().is_before(5, 11) => Unsupported::new(
            "the maps of perfprobe's BPF object",
            format!("Linux before 5.11 takes them from this user's locked memory, whose limit is {} KiB", limit >> 10),
            "raise it (ulimit -l unlimited as root; systemd: LimitMEMLOCK=infinity), or give perfprobe CAP_SYS_RESOURCE too",
        )
        .into(),
        _ => error.into(),
    })
}

fn is_refused_memory(error: &EbpfError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOMEM));
        }
        source = error.source();
    }
    false
}

fn needs_offsets(options: &SessionOptions) -> bool {
    options.target.kind() == TargetKind::Processes && (options.inherit || matches!(options.target, Target::Comm(_)))
}

const PROCESSES: &str = "PROCESSES";

fn processes(bpf: &mut Ebpf) -> Result<HashMap<&mut MapData, u32, u32>, AttachError> {
    let map = bpf.map_mut(PROCESSES).ok_or(AttachError::Missing(PROCESSES))?;
    map.try_into().map_err(|source| AttachError::Map { map: PROCESSES, source })
}

fn fill_processes(bpf: &mut Ebpf, target: &Target) -> Result<(), AttachError> {
    let mut processes = processes(bpf)?;
    // Twice: a process whose parent was not a member yet when it forked shows at the second look.
    let found = target.processes().into_iter().chain(target.processes());
    let mut insert = |tgid| processes.insert(tgid, 1, 0);
    found.into_iter().try_for_each(&mut insert).map_err(|source| AttachError::Map { map: PROCESSES, source })
}

fn attach_follow(bpf: &mut Ebpf, options: &SessionOptions) -> Result<Vec<RawTracePointLink>, AttachError> {
    let mut wanted = Vec::new();
    if needs_offsets(options) {
        wanted.push(("follow_fork", "sched_process_fork"));
    }
    if let Target::Comm(_) = options.target {
        wanted.push(("follow_rename", "task_rename"));
    }
    wanted.into_iter().map(|(program, tracepoint)| attach_raw(bpf, program, tracepoint)).collect()
}

fn attach_raw(bpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<RawTracePointLink, AttachError> {
    let refused = |source| AttachError::Program { program: name, source };
    let program: &mut RawTracePoint =
        bpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(refused)?;
    program.load().map_err(refused)?;
    let link = program.attach(tracepoint).map_err(refused)?;
    program.take_link(link).map_err(refused)
}

/// Loads every program into the kernel and lets go of it again; how many instructions the verifier walked through.
///
/// # Errors
/// What the kernel refused.
pub fn try_load() -> Result<u32, AttachError> {
    let mut bpf = load_object(EbpfLoader::new().btf(None))?;
    let mut instructions = 0;
    for (name, kind) in [("cpu_sample", true), ("follow_fork", false), ("follow_rename", false)] {
        let refused = |source| AttachError::Program { program: name, source };
        let program = bpf.program_mut(name).ok_or(AttachError::Missing(name))?;
        if kind {
            let program: &mut PerfEvent = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
        } else {
            let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
        }
        let info = bpf.program(name).ok_or(AttachError::Missing(name))?.info().map_err(refused)?;
        instructions += info.verified_instruction_count().unwrap_or(0);
    }
    Ok(instructions)
}
