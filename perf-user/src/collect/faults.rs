//! Page faults: a tracepoint tells when they begin, and the kernel's own counts of them when they end.

use aya::{
    Ebpf, EbpfLoader,
    programs::perf_event::{PerfEventConfig, SamplePolicy, SoftwareEvent},
};

use super::{
    AttachError, EventKind,
    links::{CpuLinks, Links, load_perf, load_raw},
    maps::{size, tell},
    session::{SessionOptions, Unwind},
};
use crate::host::{
    Host, Unsupported,
    block::{Offset, block_offsets},
};

/// Threads whose faults are followed at once: those that had one last.
const THREADS: u32 = 16_384;
/// At least so many for each CPU: before 6.16 each keeps 128 free entries for itself.
const THREADS_OF_CPU: u32 = 512;

const BEGINS: &str = "fault_user";
const WALKING: &str = "fault_user_walk";

/// The events of a page that is needed, by the program, and by the kernel for it.
const TRACEPOINTS: [&str; 2] = ["page_fault_user", "page_fault_kernel"];

type Ends = &'static [(&'static str, SoftwareEvent)];

/// The programs that are told of the ends of faults, and the counts that tell them.
const ENDS: Ends = &[("fault_minor", SoftwareEvent::PageFaultsMin), ("fault_major", SoftwareEvent::PageFaultsMaj)];
/// The same where the kernel tells what is mapped (`bpf_find_vma`, 5.17).
const MAPPED: Ends =
    &[("fault_minor_mapped", SoftwareEvent::PageFaultsMin), ("fault_major_mapped", SoftwareEvent::PageFaultsMaj)];

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
    ends: Ends,
    begin_links: Links,
    end_links: CpuLinks,
}

impl FaultsCollector {
    /// Sets globals and map sizes, before the object is loaded.
    pub(super) fn configure<'globals>(
        loader: &mut EbpfLoader<'globals>,
        globals: &'globals Globals,
        cpus: usize,
        options: &SessionOptions,
    ) {
        tell(loader, &globals.offsets);
        if options.records(EventKind::Faults) {
            size(loader, [("OPEN_FAULTS", THREADS.max(THREADS_OF_CPU.saturating_mul(cpus as u32)))]);
        }
    }

    /// Loads its programs; `python` says that they read Python frames too.
    pub(super) fn load(bpf: &mut Ebpf, host: &Host, unwind: Unwind, python: bool) -> Result<Self, AttachError> {
        let begins = if unwind.walks(python) { WALKING } else { BEGINS };
        let ends = if host.is_before(5, 17) { ENDS } else { MAPPED };
        load_raw(bpf, begins)?;
        ends.iter().try_for_each(|(name, _)| load_perf(bpf, name))?;
        Ok(Self { begins, ends, begin_links: Links::default(), end_links: CpuLinks::default() })
    }

    /// Attaches its programs. What tells the beginning first: what ends without one is counted as lost.
    pub(super) fn attach(&mut self, bpf: &mut Ebpf, cpus: &[u32]) -> Result<(), AttachError> {
        self.begin_links.attach(bpf, TRACEPOINTS.map(|tracepoint| (self.begins, tracepoint)))?;
        self.end_links.attach(cpus, |links, cpu| add(bpf, self.ends, links, cpu))
    }

    /// Attaches to the CPUs that are online, except those that `stayed` so; which are new.
    pub(super) fn follow_cpus(
        &mut self,
        bpf: &mut Ebpf,
        stayed: &[u32],
        online: &[u32],
    ) -> Result<Vec<u32>, AttachError> {
        self.end_links.follow(stayed, online, |links, cpu| add(bpf, self.ends, links, cpu))
    }

    /// Detaches its programs: of no fault is the beginning missed.
    pub(super) fn detach(&mut self) {
        self.end_links.detach();
        self.begin_links.detach();
    }
}

/// Attaches what tells the ends of faults on a CPU, of each of them.
fn add(bpf: &mut Ebpf, ends: Ends, links: &mut CpuLinks, cpu: u32) -> Result<(), AttachError> {
    ends.iter().try_for_each(|(name, event)| {
        links.add(bpf, name, cpu, (PerfEventConfig::Software(*event), SamplePolicy::Period(1)))
    })
}
