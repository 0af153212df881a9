//! Memory that is touched for the first time: some of the page faults that need no disk are looked at, by the kernel's count of them.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::perf_event::{PerfEventConfig, SamplePolicy, SoftwareEvent},
};

use perf_ebpf::memory::{ALIGNMENT, AllMemory, PHYSICAL, TOLD};

use super::{
    AttachError, EventKind,
    links::{CpuLinks, load_perf},
    maps::{fill, size, tell},
    session::{SessionOptions, Unwind},
};
use crate::host::{
    block::{Offset, block_offsets},
    known_page::{KnownPage, memory_end},
    sys,
};

/// Threads and stacks that are told apart in a window, of each CPU: no more faults are looked at.
const ENTRIES: u32 = 2_048;

const PROGRAM: &str = "memory_touched";
const WALKING: &str = "memory_touched_walk";

/// What programs are told of the running kernel.
#[derive(Debug, Default)]
pub(super) struct Globals {
    offsets: Vec<Offset>,
    page_bytes: u64,
    first_table: u32,
}

impl Globals {
    /// Of the running kernel, if `options` have memory recorded. What is not known is not told: then no page is large, and what lies at
    /// an address is not known.
    pub(super) fn of(options: &SessionOptions) -> Self {
        if !options.records(EventKind::Memory) {
            return Self::default();
        }
        let offsets = block_offsets().map(|offsets| offsets.memory.clone()).unwrap_or_default();
        let flags = cpu_flags();
        // The kernel takes the flag away where it has four levels of page tables.
        let first_table = if flags.iter().any(|flag| flag == "la57") { 4 } else { 3 };
        Self { offsets, page_bytes: sys::page_bytes(), first_table }
    }
}

/// What the kernel says that CPUs can.
fn cpu_flags() -> Vec<String> {
    let Ok(file) = File::open("/proc/cpuinfo") else { return Vec::new() };
    let flags = BufReader::new(file).lines().map_while(Result::ok).find(|line| line.starts_with("flags"));
    flags.iter().flat_map(|flags| flags.split_ascii_whitespace()).map(str::to_owned).collect()
}

/// What the kernel half is told to find out where the kernel sees all memory. Confidential guests have memory that must not be read.
fn all_memory(flags: &[String], known: Option<&KnownPage>) -> AllMemory {
    let is_confidential = flags.iter().any(|flag| ["tdx_guest", "sev_snp"].contains(&flag.as_str()));
    let end = memory_end();
    match known {
        Some(known) if cfg!(target_arch = "x86_64") && !is_confidential && end > 0 => AllMemory {
            inverted: !known.value(),
            physical: known.physical(),
            most: end / ALIGNMENT + 1,
            address_bits: (end.next_power_of_two() - 1) & PHYSICAL,
            ..AllMemory::default()
        },
        _ => AllMemory::default(),
    }
}

/// Whether huge pages are told from small ones here, on the architecture that tells them at all.
#[must_use]
pub fn tells_huge_pages() -> bool {
    all_memory(&cpu_flags(), KnownPage::new().as_ref()).physical != 0
}

/// Memory that is touched.
#[derive(Debug)]
pub struct MemoryCollector {
    program: &'static str,
    links: CpuLinks,
    /// What the kernel half looks for; it has to lie where it does.
    _known: Option<KnownPage>,
}

impl MemoryCollector {
    /// Sets globals and map sizes, before the object is loaded.
    pub(super) fn configure<'globals>(
        loader: &mut EbpfLoader<'globals>,
        globals: &'globals Globals,
        cpus: usize,
        options: &SessionOptions,
    ) {
        if !options.records(EventKind::Memory) {
            return;
        }
        tell(loader, &globals.offsets);
        loader.override_global("PAGE_BYTES", &globals.page_bytes, true);
        loader.override_global("FIRST_TABLE", &globals.first_table, true);
        let entries = ENTRIES.saturating_mul(cpus as u32);
        size(loader, [("TOUCHED_0", entries), ("TOUCHED_1", entries)]);
    }

    /// Loads its program; `python` says that it reads Python frames too.
    pub(super) fn load(bpf: &mut Ebpf, unwind: Unwind, python: bool) -> Result<Self, AttachError> {
        let program = if unwind.walks(python) { WALKING } else { PROGRAM };
        load_perf(bpf, program)?;
        // Without the kernel's types, page tables are not found.
        let known =
            if block_offsets().is_ok_and(|offsets| !offsets.memory.is_empty()) { KnownPage::new() } else { None };
        let words: [u64; 7] = zerocopy::transmute!(all_memory(&cpu_flags(), known.as_ref()));
        fill(bpf, "ALL_MEMORY", [(0, words)].into_iter())?;
        Ok(Self { program, links: CpuLinks::default(), _known: known })
    }

    /// Attaches it.
    pub(super) fn attach(&mut self, bpf: &mut Ebpf, cpus: &[u32]) -> Result<(), AttachError> {
        self.links.attach(cpus, |links, cpu| links.add(bpf, self.program, cpu, event()))
    }

    /// Attaches to the CPUs that are online, except those that `stayed` so; which are new.
    pub(super) fn follow_cpus(
        &mut self,
        bpf: &mut Ebpf,
        stayed: &[u32],
        online: &[u32],
    ) -> Result<Vec<u32>, AttachError> {
        self.links.follow(stayed, online, |links, cpu| links.add(bpf, self.program, cpu, event()))
    }

    /// Detaches it.
    pub(super) fn detach(&mut self) {
        self.links.detach();
    }
}

fn event() -> (PerfEventConfig, SamplePolicy) {
    (PerfEventConfig::Software(SoftwareEvent::PageFaultsMin), SamplePolicy::Period(TOLD))
}
