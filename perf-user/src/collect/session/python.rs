//! The part of a session by which the kernel half reads Python frames: which processes run an interpreter, and what it
//! tells of their code.

use aya::maps::{HashMap, MapData, RingBuf};
use perf_ebpf::python::Process;

use super::{Session, SessionOptions};
use crate::{
    collect::{
        AttachError, Collector as _, EventKind,
        cpu::{Clock, CpuCollector},
        object::load,
        target::Target,
    },
    host::{Host, TaskOffsets, Unsupported, task_offsets},
};

/// Processes that can run an interpreter at once.
pub(in crate::collect) const PROCESSES: u32 = 1 << 13;

/// Code objects that the kernel half remembers having told of.
pub(in crate::collect) const KNOWN: u32 = 1 << 15;

/// Bytes of the ring in which it tells: some thousand code objects between two looks.
pub(in crate::collect) const RING_BYTES: u32 = 1 << 20;

/// Where the kernel keeps the base of a thread's segment FS, if this kernel half and this kernel can read Python frames.
///
/// # Errors
/// What is missing.
pub(in crate::collect) fn fs_base(host: &Host, offsets: &TaskOffsets) -> Result<u32, Unsupported> {
    let lacks = |why: &str| {
        Unsupported::new("reading Python frames", why, "none needed: the interpreter's own functions are shown instead")
    };
    if !cfg!(target_arch = "x86_64") {
        return Err(lacks("it is for x86-64 only so far"));
    }
    if host.is_before(5, 17) {
        return Err(lacks("it needs Linux 5.17 (bpf_loop)"));
    }
    offsets.fs_base.ok_or_else(|| lacks("the kernel's BTF does not describe thread_struct.fsbase"))
}

/// Loads the program that reads Python frames into the kernel and lets go of it again.
///
/// # Errors
/// What the kernel lacks, or refused.
pub fn try_python(host: &Host) -> Result<(), AttachError> {
    fs_base(host, &task_offsets()?)?;
    let trial = SessionOptions::of_trial(vec![EventKind::Cpu]);
    let options = SessionOptions { target: Target::All, python: true, ..trial };
    let mut collector = CpuCollector::new(1, Clock::CpuClock, 1);
    let (mut bpf, reads_python) = load(host, &options, &collector)?;
    collector.load(&mut bpf, host, options.unwind, reads_python)
}

const MAP: &str = "PYTHON";

impl Session {
    /// The ring of code objects; `None` if no Python frames are read.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_python_ring(&mut self) -> Result<Option<RingBuf<MapData>>, AttachError> {
        const RING: &str = "PYTHON_CODE";
        if !self.reads_python {
            return Ok(None);
        }
        let map = self.bpf.take_map(RING).ok_or(AttachError::Missing(RING))?;
        map.try_into().map(Some).map_err(|source| AttachError::Map { map: RING, source })
    }

    /// Says that a process runs an interpreter. That more do than there is room for is no failure: they have none then.
    pub fn set_python(&mut self, tgid: u32, process: Process) {
        let told: [u8; size_of::<Process>()] = zerocopy::transmute!(process);
        if let Ok(mut processes) = self.python() {
            let _ = processes.insert(tgid, told, 0);
        }
    }

    /// A process runs no interpreter any more.
    pub fn remove_python(&mut self, tgid: u32) {
        if let Ok(mut processes) = self.python() {
            let _ = processes.remove(&tgid);
        }
    }

    fn python(&mut self) -> Result<HashMap<&mut MapData, u32, [u8; size_of::<Process>()]>, AttachError> {
        let map = self.bpf.map_mut(MAP).ok_or(AttachError::Missing(MAP))?;
        map.try_into().map_err(|source| AttachError::Map { map: MAP, source })
    }
}
