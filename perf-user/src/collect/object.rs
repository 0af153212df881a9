//! The kernel half's object: loading it for a run, and for a trial.

use std::{io, os::fd::AsFd as _, path::PathBuf, time::Instant};

use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned, maps::Map, programs::Program};
use perf_ebpf::{
    comm::comm_words,
    target::{SIDE_KERNEL, SIDE_USER, TargetKind},
};
use serde::Serialize;

use super::{
    AttachError, Collector as _, EventKind, before,
    block::{BlockCollector, Globals},
    calls::CallsCollector,
    cpu::{Clock, CpuCollector},
    faults::{self, FaultsCollector},
    file_calls::{self, FileCallsCollector},
    kernel_locks::{self, KernelLocksCollector},
    maps::size,
    memory::{self, MemoryCollector},
    sched::{self, SchedCollector},
    session::{SessionOptions, Sides, Unwind, WalkRoom, python, timeline},
    target::{Target, comm_from},
};
use crate::host::{Host, TaskOffsets, Unsupported, cgroup::Cgroup, sys, task_offsets};

/// The compiled kernel half; `cargo xtask ebpf` makes it.
#[cfg(target_arch = "x86_64")]
pub(super) static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/perfprobe.bpf.o");

/// The compiled kernel half; `cargo xtask ebpf` makes it.
#[cfg(target_arch = "aarch64")]
pub(super) static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/perfprobe.aarch64.bpf.o");

/// Processes that can be members of the target at once; those that ended are removed with their last window.
const PROCESS_ENTRIES: u32 = 65_536;

/// All programs in it that every kernel and architecture takes.
const PROGRAMS: &[&str] = &[
    "cpu_sample",
    "follow_fork",
    "follow_rename",
    "sched_switch",
    "sched_waking",
    "sched_new",
    "sched_exec",
    "sys_enter",
    "sys_exit",
    "calls_end",
    "io_start",
    "io_issue",
    "io_requeue",
    "io_merge",
    "io_done",
    "io_error",
    "io_complete",
    "page_changes",
    "tcp_state",
    "tcp_resends",
    "tcp_resets",
    "tcp_is_reset",
    "uring_ask",
    "uring_done",
    "kernel_lock_begins",
    "kernel_lock_ends",
    "memory_touched",
    #[cfg(target_arch = "x86_64")]
    "fault_user",
    #[cfg(target_arch = "x86_64")]
    "fault_minor",
    #[cfg(target_arch = "x86_64")]
    "fault_major",
];
/// The programs that walk stacks by tables, which needs `bpf_loop`.
const WALKING: &[&str] = &[
    "cpu_sample_walk",
    "sched_walk",
    "sched_waking_walk",
    "sys_exit_walk",
    "io_start_walk",
    "page_changes_walk",
    "uring_ask_walk",
    "kernel_lock_ends_walk",
    #[cfg(target_arch = "x86_64")]
    "memory_touched_walk",
    #[cfg(target_arch = "x86_64")]
    "fault_user_walk",
    #[cfg(target_arch = "x86_64")]
    "fault_minor_mapped",
    #[cfg(target_arch = "x86_64")]
    "fault_major_mapped",
];
/// Places, of all threads, whose last stacks are remembered.
const PLACES: u32 = 8_192;
/// One of the maps that windows are read from.
const BATCHED: &str = "CPU_COUNTS_0";

/// Creates the maps, and gives the programs what they are told of the run; whether they read Python frames.
pub(super) fn load(
    host: &Host,
    options: &SessionOptions,
    collector: &CpuCollector,
) -> Result<(Ebpf, bool), AttachError> {
    let io = Globals::of(options)?;
    let file_calls = file_calls::Globals::of(options)?;
    let faults = faults::Globals::of(options)?;
    let kernel_locks = kernel_locks::Globals::of(host, options)?;
    let memory = memory::Globals::of(options);
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
    let [comm_low, comm_high] = match &options.target {
        Target::Comm(name) => comm_words(&comm_from(name)),
        _ => [0; 2],
    };
    let offsets = match task_offsets() {
        Ok(offsets) => offsets,
        Err(missing) if needs_offsets(options) => return Err(missing.into()),
        // Without them, samples before and after an exec in one window cannot be told apart; that is all.
        Err(_) => TaskOffsets {
            pid: 0,
            tgid: 0,
            exec_count: 0,
            state: 0,
            stack: None,
            mm: None,
            fs_base: None,
            exec: None,
            other_abi: None,
        },
    };
    let exec = offsets.exec.unwrap_or(0);
    let (stack, mm) = (offsets.stack.unwrap_or(0), offsets.mm.unwrap_or(0));
    let (other_abi_offset, other_abi_bits) = offsets.other_abi.unwrap_or((0, 0));
    let tells_state = u32::from(sched::tells_state(host));
    let wakers = u32::from(options.tells_wakers());
    let locks = u32::from(options.records(EventKind::Locks));
    let queues = u32::from(options.records(EventKind::Sched));
    let waits = u32::from(options.tells_waits());
    let python = options.python && options.sides != Sides::Kernel;
    let fs_base = if python { python::fs_base(host, &offsets).unwrap_or(0) } else { 0 };
    let timeline_min_ns = match options.timeline_min_ns {
        None => 0,
        Some(min_ns) if options.records(EventKind::OffCpu) => min_ns.max(1),
        // No wait is as long.
        Some(_) => u64::MAX,
    };
    loader
        .override_global("TIMELINE_MIN_NS", &timeline_min_ns, true)
        .override_global("TARGET_KIND", &kind, true)
        .override_global("STACK_SIDES", &sides, true)
        .override_global("INHERIT", &inherit, true)
        .override_global("COMM_LOW", &comm_low, true)
        .override_global("COMM_HIGH", &comm_high, true)
        .override_global("EXEC_COUNT_OFFSET", &offsets.exec_count, true)
        .override_global("TASK_PID_OFFSET", &offsets.pid, true)
        .override_global("TASK_TGID_OFFSET", &offsets.tgid, true)
        .override_global("TASK_EXEC_OFFSET", &exec, true)
        .override_global("TASK_STATE_OFFSET", &offsets.state, true)
        .override_global("TELLS_STATE", &tells_state, true)
        .override_global("WAKERS", &wakers, true)
        .override_global("LOCKS", &locks, true)
        .override_global("RUN_QUEUE", &queues, true)
        .override_global("WAITS_TOLD", &waits, true)
        .override_global("MIN_WAIT_NS", &options.waits.min_ns, true)
        .override_global("WAIT_STATES", &options.waits.states, true)
        .override_global("TASK_STACK_OFFSET", &stack, true)
        .override_global("OTHER_ABI_OFFSET", &other_abi_offset, true)
        .override_global("OTHER_ABI_BITS", &other_abi_bits, true)
        .override_global("TASK_MM_OFFSET", &mm, cfg!(target_arch = "x86_64"))
        .override_global("FS_BASE_OFFSET", &fs_base, cfg!(target_arch = "x86_64"));
    // A user stack, a kernel stack and one of Python frames.
    let (deep_kinds, stack_kinds) = (u32::from(options.unwind != Unwind::FramePointers), 2);
    let entries = if options.schedules() || options.records(EventKind::Syscalls) || options.records(EventKind::Io) {
        options.entries.max(sched::STACKS)
    } else {
        options.entries
    };
    let kinds = |kinds: u32| entries.saturating_mul(kinds + u32::from(fs_base != 0)).max(1);
    loader
        .map_max_entries("STACKS_0", kinds(stack_kinds))
        .map_max_entries("STACKS_1", kinds(stack_kinds))
        .map_max_entries("DEEP_STACKS_0", kinds(deep_kinds))
        .map_max_entries("DEEP_STACKS_1", kinds(deep_kinds));
    if fs_base != 0 {
        loader
            .map_max_entries("PYTHON", python::PROCESSES)
            .map_max_entries("PYTHON_KNOWN", python::KNOWN)
            .map_max_entries("PYTHON_CODE", python::RING_BYTES);
    }
    if options.unwind != Unwind::FramePointers {
        let room = WalkRoom::of(&options.target);
        loader
            .map_max_entries("UNWIND_ROWS", room.rows)
            .map_max_entries("UNWIND_PAGES", room.pages)
            .map_max_entries("UNWIND_CODE", room.code)
            .map_max_entries("UNWIND_SPACES", room.spaces);
    }
    if options.target.kind() == TargetKind::Processes {
        loader.map_max_entries("PROCESSES", PROCESS_ENTRIES);
    }
    if timeline_min_ns != 0 {
        loader.map_max_entries("TIMELINE", timeline::ring_bytes());
    }
    if options.schedules() {
        SchedCollector::configure(&mut loader, options);
    }
    if options.records(EventKind::Syscalls) {
        CallsCollector::configure(&mut loader, host.cpus.len());
    }
    FileCallsCollector::configure(&mut loader, &file_calls, host.cpus.len(), options);
    FaultsCollector::configure(&mut loader, &faults, host.cpus.len(), options);
    KernelLocksCollector::configure(&mut loader, &kernel_locks, host.cpus.len(), options);
    MemoryCollector::configure(&mut loader, &memory, host.cpus.len(), options);
    BlockCollector::configure(&mut loader, &io, host.cpus.len(), options);
    if options.schedules() || options.records(EventKind::Io) {
        size(&mut loader, [("PLACES", PLACES)]);
    }
    collector.configure(&mut loader);
    Ok((load_object(&mut loader)?, fs_base != 0))
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

/// Whether it takes the kernel's BTF: to tell threads that are not running.
fn needs_offsets(options: &SessionOptions) -> bool {
    options.schedules() || follows(options)
}

/// Whether the target's children are followed.
pub(super) fn follows(options: &SessionOptions) -> bool {
    options.target.kind() == TargetKind::Processes && (options.inherit || matches!(options.target, Target::Comm(_)))
}

/// What loading the object showed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Every program, in its most expensive form.
    pub programs: Vec<ProgramTrial>,
    /// Whether the kernel hands out entries of maps in batches.
    pub has_batches: bool,
}

/// What loading a program took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ProgramTrial {
    /// The program.
    pub program: &'static str,
    /// Its instructions, as the kernel keeps them.
    pub instructions: u32,
    /// Instructions the verifier walked through; kernels before 5.16 do not tell.
    pub verified_instructions: Option<u32>,
    /// How long verifying and compiling took, in microseconds.
    pub load_us: u64,
}

/// Loads every program, in every form that targets give it, and lets go of it again.
///
/// # Errors
/// What the kernel refused.
pub fn try_load() -> Result<Trial, AttachError> {
    let own = Target::Processes(vec![std::process::id()]);
    let inherit = task_offsets().is_ok();
    let forms = [
        Target::All,
        Target::Cgroup(Cgroup { path: PathBuf::new(), id: 0 }),
        if inherit { Target::Comm("perfprobe".into()) } else { own },
    ];
    let (mut programs, mut has_batches, host) = (Vec::<ProgramTrial>::new(), true, Host::read());
    for target in forms {
        let is_told = |kind: &EventKind| match kind {
            EventKind::Faults => faults::are_told(),
            EventKind::KernelLocks => kernel_locks::are_told(&host),
            _ => true,
        };
        let kinds = if inherit { EventKind::ALL.into_iter().filter(is_told).collect() } else { vec![EventKind::Cpu] };
        let trial = SessionOptions::of_trial(kinds);
        let options = SessionOptions { target, inherit, python: true, timeline_min_ns: Some(1), ..trial };
        let (mut bpf, _) = load(&host, &options, &CpuCollector::new(1, Clock::CpuClock, 1))?;
        let walks = bpf.program(WALKING[0]).is_some() && !host.is_before(5, 17);
        let walking = WALKING.iter().copied().filter(|_| walks);
        // What the kernel calls it for, its BTF tells.
        let before = inherit.then_some(before::PROGRAM);
        for program in PROGRAMS.iter().copied().chain(walking).chain(before) {
            let trial = try_program(&mut bpf, program)?;
            match programs.iter_mut().find(|known| known.program == program) {
                None => programs.push(trial),
                Some(known) if known.cost() < trial.cost() => *known = trial,
                Some(_) => {}
            }
        }
        has_batches &= match bpf.map(BATCHED) {
            Some(Map::HashMap(map)) => sys::has_batches(map.fd().as_fd()),
            _ => return Err(AttachError::Missing(BATCHED)),
        };
    }
    Ok(Trial { programs, has_batches })
}

impl ProgramTrial {
    fn cost(&self) -> (Option<u32>, u32) {
        (self.verified_instructions, self.instructions)
    }
}

fn try_program(bpf: &mut Ebpf, name: &'static str) -> Result<ProgramTrial, AttachError> {
    const INSTRUCTION_BYTES: u32 = 8;
    let refused = AttachError::program(name);
    let started = Instant::now();
    match bpf.program_mut(name).ok_or(AttachError::Missing(name))? {
        Program::PerfEvent(program) => program.load().map_err(refused),
        Program::RawTracePoint(program) => program.load().map_err(refused),
        Program::Iter(_) => before::load(bpf),
        _ => Err(AttachError::Missing(name)),
    }?;
    let load_us = started.elapsed().as_micros() as u64;
    let program = bpf.program(name).ok_or(AttachError::Missing(name))?;
    let info = program.info().map_err(refused)?;
    Ok(ProgramTrial {
        program: name,
        instructions: info.size_translated().unwrap_or(0) / INSTRUCTION_BYTES,
        verified_instructions: info.verified_instruction_count(),
        load_us,
    })
}
