//! Page faults: a tracepoint tells when they begin, and the kernel's own counts of them when they end.

use std::collections::BTreeMap;

use aya::{
    Ebpf, EbpfLoader,
    programs::perf_event::{PerfEvent, PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
};

use super::{
    AttachError, EventKind,
    links::{Links, load_raw},
    maps::size,
    session::{SessionOptions, Unwind},
};
use crate::host::{
    Host, Unsupported,
    block::{Offset, block_offsets},
    online_cpus,
};

/// Threads whose faults are followed at once: those that had one last.
const THREADS: u32 = 16_384;
/// At least so many for each CPU: before 6.16 each keeps 128 free entries for itself.
const THREADS_OF_CPU: u32 = 512;

const BEGINS: &str = "fault_user";
const WALKING: &str = "fault_user_walk";

/// The events of a page that is needed, by the program, and by the kernel for it.
const TRACEPOINTS: [&str; 2] = ["page_fault_user", "page_fault_kernel"];

/// The programs that are told of the ends of faults, and the counts that tell them.
const ENDS: [(&str, SoftwareEvent); 2] =
    [("fault_minor", SoftwareEvent::PageFaultsMin), ("fault_major", SoftwareEvent::PageFaultsMaj)];
/// The same where the kernel tells what is mapped (`bpf_find_vma`, 5.17).
const MAPPED: [(&str, SoftwareEvent); 2] =
    [("fault_minor_mapped", SoftwareEvent::PageFaultsMin), ("fault_major_mapped", SoftwareEvent::PageFaultsMaj)];

/// Whether the running kernel tells when page faults begin.
#[must_use]
pub fn are_told() -> bool {
    cfg!(target_arch = "x86_64") && block_offsets().is_ok_and(|offsets| !offsets.faults.is_empty())
}

/// What programs are told of the running kernel.
#[derive(Debug, Default)]
pub(super) struct Globals {
    offsets: Vec<Offset>,
}

impl Globals {
    /// Of the running kernel, if `options` have faults recorded.
    pub(super) fn of(options: &SessionOptions) -> Result<Self, Unsupported> {
        if !options.records(EventKind::Faults) {
            return Ok(Self::default());
        }
        let offsets = block_offsets()?.faults.clone();
        if !are_told() {
            let why = "the kernel does not tell when they begin";
            return Err(Unsupported::new(
                "recording page faults",
                why,
                "use Linux with BTF on x86-64, or record others",
            ));
        }
        Ok(Self { offsets })
    }
}

/// Page faults.
#[derive(Debug)]
pub struct FaultsCollector {
    begins: &'static str,
    ends: &'static [(&'static str, SoftwareEvent)],
    begin_links: Links,
    end_links: BTreeMap<u32, Vec<PerfEventLink>>,
}

impl FaultsCollector {
    /// Sets globals and map sizes, before the object is loaded.
    pub(super) fn configure<'globals>(
        loader: &mut EbpfLoader<'globals>,
        globals: &'globals Globals,
        cpus: usize,
        options: &SessionOptions,
    ) {
        for (name, offset) in &globals.offsets {
            loader.override_global(name, offset, true);
        }
        if options.records(EventKind::Faults) {
            size(loader, [("OPEN_FAULTS", THREADS.max(THREADS_OF_CPU.saturating_mul(cpus as u32)))]);
        }
    }

    /// Loads its programs; `python` says that they read Python frames too.
    pub(super) fn load(bpf: &mut Ebpf, unwind: Unwind, python: bool) -> Result<Self, AttachError> {
        let begins = if unwind.walks(python) { WALKING } else { BEGINS };
        let ends = if Host::read().is_before(5, 17) { &ENDS } else { &MAPPED };
        load_raw(bpf, begins)?;
        for (name, _) in ends {
            program(bpf, name)?.load().map_err(AttachError::program(name))?;
        }
        Ok(Self { begins, ends, begin_links: Links::default(), end_links: BTreeMap::new() })
    }

    /// Attaches its programs. What tells the beginning first: what ends without one is counted as lost.
    pub(super) fn attach(&mut self, bpf: &mut Ebpf, cpus: &[u32]) -> Result<(), AttachError> {
        self.begin_links.attach(bpf, TRACEPOINTS.map(|tracepoint| (self.begins, tracepoint)))?;
        cpus.iter().try_for_each(|cpu| self.attach_online(bpf, *cpu))
    }

    /// Attaches to the CPUs that are online, except those that `stayed` so; which are new.
    pub(super) fn follow_cpus(
        &mut self,
        bpf: &mut Ebpf,
        stayed: &[u32],
        online: &[u32],
    ) -> Result<Vec<u32>, AttachError> {
        self.end_links.retain(|cpu, _| stayed.contains(cpu));
        let new: Vec<u32> = online.iter().copied().filter(|cpu| !self.end_links.contains_key(cpu)).collect();
        new.iter().try_for_each(|cpu| self.attach_online(bpf, *cpu))?;
        Ok(new)
    }

    /// A CPU that has gone offline since it was looked for has no faults.
    fn attach_online(&mut self, bpf: &mut Ebpf, cpu: u32) -> Result<(), AttachError> {
        match self.attach_cpu(bpf, cpu) {
            Err(_) if !online_cpus().contains(&cpu) => Ok(()),
            attached => attached,
        }
    }

    fn attach_cpu(&mut self, bpf: &mut Ebpf, cpu: u32) -> Result<(), AttachError> {
        let refused = |source| AttachError::PerfEvent { cpu, source };
        for (name, event) in self.ends {
            let program = program(bpf, name)?;
            let (scope, each) = (PerfEventScope::AllProcessesOneCpu { cpu }, SamplePolicy::Period(1));
            let link = program.attach(PerfEventConfig::Software(*event), scope, each, false).map_err(refused)?;
            self.end_links.entry(cpu).or_default().push(program.take_link(link).map_err(refused)?);
        }
        Ok(())
    }

    /// Detaches its programs: of no fault is the beginning missed.
    pub(super) fn detach(&mut self) {
        self.end_links.clear();
        self.begin_links.detach();
    }
}

fn program<'bpf>(bpf: &'bpf mut Ebpf, name: &'static str) -> Result<&'bpf mut PerfEvent, AttachError> {
    let program = bpf.program_mut(name).ok_or(AttachError::Missing(name))?;
    program.try_into().map_err(AttachError::program(name))
}
