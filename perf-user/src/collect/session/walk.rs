//! The part of a session by which the kernel half walks user stacks: room for tables, and where processes have theirs.

use std::{os::fd::AsFd as _, path::Path};

use aya::{
    EbpfLoader,
    maps::{HashMap, Map, MapData},
};
use perf_ebpf::{target::TargetKind, unwind::Space};

use super::Session;
use crate::{
    collect::{
        AttachError, Collector as _,
        cpu::{Clock, CpuCollector},
        object::OBJECT,
        target::Target,
    },
    host::{Host, Unsupported, btf, sys::SharedMap},
};

/// How user stacks are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwind {
    /// By frame pointers, by the kernel itself.
    FramePointers,
    /// By tables made of each file's call frame information; by frame pointers where there are none.
    Tables {
        /// Whether frame pointers alone will do, if the kernel refuses what tables take.
        or_frame_pointers: bool,
    },
}

impl Unwind {
    /// Whether programs are taken that walk by tables: those read Python frames, too, if `python` says so.
    #[must_use]
    pub(in crate::collect) fn walks(self, python: bool) -> bool {
        python || self != Self::FramePointers
    }
}

/// Room for unwind tables, in elements of the maps.
#[derive(Clone, Copy, Debug)]
pub struct WalkRoom {
    /// Rows of all files.
    pub rows: u32,
    /// Pages of all files.
    pub pages: u32,
    /// Mappings of all processes.
    pub code: u32,
    /// Processes.
    pub spaces: u32,
}

impl WalkRoom {
    /// For a target: 16 MB of rows for some processes, 64 MB for all.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        match target.kind() {
            TargetKind::Processes => Self { rows: 2 << 20, pages: 1 << 17, code: 1 << 16, spaces: 1 << 13 },
            _ => Self { rows: 8 << 20, pages: 1 << 19, code: 1 << 18, spaces: 1 << 15 },
        }
    }
}

impl Session {
    /// The values of an array map, to be written without system calls.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn shared(&self, name: &'static str, bytes: usize) -> Result<SharedMap, AttachError> {
        let Some(Map::Array(data)) = self.bpf.map(name) else { return Err(AttachError::Missing(name)) };
        SharedMap::new(data.fd().as_fd(), bytes).map_err(|source| AttachError::Shared { map: name, source })
    }

    /// Says where a process's mappings are.
    ///
    /// # Errors
    /// What the kernel refused: that the map is full.
    pub fn set_space(&mut self, tgid: u32, space: Space) -> Result<(), AttachError> {
        const MAP: &str = "UNWIND_SPACES";
        let wrong = |source| AttachError::Map { map: MAP, source };
        let map = self.bpf.map_mut(MAP).ok_or(AttachError::Missing(MAP))?;
        let mut spaces: HashMap<&mut MapData, u32, u64> = map.try_into().map_err(wrong)?;
        spaces.insert(tgid, u64::from(space.first) | u64::from(space.count) << 32, 0).map_err(wrong)
    }

    /// Has no mappings for a process any more.
    pub fn remove_space(&mut self, tgid: u32) {
        let Some(map) = self.bpf.map_mut("UNWIND_SPACES") else { return };
        if let Ok(mut spaces) = HashMap::<&mut MapData, u32, u64>::try_from(map) {
            // It may never have had any.
            let _ = spaces.remove(&tgid);
        }
    }
}

/// Whether stacks can be walked by tables on this machine.
///
/// # Errors
/// What it lacks.
pub fn can_walk(host: &Host) -> Result<(), Unsupported> {
    let lacks = |why: &str| {
        let remedy = "use --unwind fp: stacks are then followed by frame pointers";
        Err(Unsupported::new("walking stacks by unwind tables", why, remedy))
    };
    if !cfg!(target_arch = "x86_64") {
        return lacks("it is for x86-64 only so far");
    }
    if host.is_before(5, 17) {
        return lacks("it needs Linux 5.17 (bpf_loop)");
    }
    if !Path::new(btf::VMLINUX).exists() {
        return lacks("the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)");
    }
    Ok(())
}

/// Loads the program that walks stacks by tables into the kernel and lets go of it again.
///
/// # Errors
/// What the kernel refused.
pub fn try_walk(host: &Host) -> Result<(), AttachError> {
    let mut bpf = EbpfLoader::new().btf(None).load(OBJECT)?;
    CpuCollector::new(1, Clock::CpuClock, 1).load(&mut bpf, host, Unwind::Tables { or_frame_pointers: false }, false)
}
