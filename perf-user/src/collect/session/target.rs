//! The part of a session by which the kernel half is told whom to look at.

use std::fs::File;

use aya::{
    Ebpf,
    maps::{Array, CgroupArray, HashMap, MapData},
    programs::raw_trace_point::RawTracePointLink,
};
use perf_ebpf::target::MARK_SLOTS;

use super::SessionOptions;
use crate::{
    collect::{
        AttachError,
        links::{attach_raw, load_raw},
        object::follows,
        target::Target,
    },
    host::{Unsupported, cgroup::Cgroup},
};

const PROCESSES: &str = "PROCESSES";

pub(super) fn processes(bpf: &mut Ebpf) -> Result<HashMap<&mut MapData, u32, u32>, AttachError> {
    let map = bpf.map_mut(PROCESSES).ok_or(AttachError::Missing(PROCESSES))?;
    map.try_into().map_err(|source| AttachError::Map { map: PROCESSES, source })
}

/// Marks ids of the target, before they are put into the maps that are only asked for marked ones.
pub(in crate::collect) fn mark(bpf: &mut Ebpf, ids: &[u32]) -> Result<(), AttachError> {
    const MAP: &str = "MARKS";
    let wrong = |source| AttachError::Map { map: MAP, source };
    let map = bpf.map_mut(MAP).ok_or(AttachError::Missing(MAP))?;
    let mut marks: Array<&mut MapData, u8> = map.try_into().map_err(wrong)?;
    ids.iter().try_for_each(|id| marks.set(id % MARK_SLOTS, 1, 0)).map_err(wrong)
}

pub(super) fn fill_processes(bpf: &mut Ebpf, target: &Target) -> Result<(), AttachError> {
    // Twice: a process whose parent was not a member yet when it forked shows at the second look.
    for _ in 0..2 {
        let found = target.processes();
        mark(bpf, &found)?;
        let mut processes = processes(bpf)?;
        let mut insert = |tgid: &u32| processes.insert(tgid, 1, 0);
        found.iter().try_for_each(&mut insert).map_err(|source| AttachError::Map { map: PROCESSES, source })?;
    }
    Ok(())
}

pub(super) fn fill_cgroup(bpf: &mut Ebpf, cgroup: &Cgroup) -> Result<(), AttachError> {
    const MAP: &str = "CGROUPS";
    let refused = |source| AttachError::Map { map: MAP, source };
    let folder = File::open(&cgroup.path).map_err(|error| {
        let what = format!("the cgroup {}", cgroup.path.display());
        Unsupported::new(what, error.to_string(), "name one that still exists")
    })?;
    let map = bpf.map_mut(MAP).ok_or(AttachError::Missing(MAP))?;
    let mut cgroups: CgroupArray<&mut MapData> = map.try_into().map_err(refused)?;
    cgroups.set(0, folder, 0).map_err(refused)
}

pub(super) fn attach_follow(bpf: &mut Ebpf, options: &SessionOptions) -> Result<Vec<RawTracePointLink>, AttachError> {
    let mut wanted = Vec::new();
    if follows(options) {
        wanted.push(("follow_fork", "sched_process_fork"));
    }
    if let Target::Comm(_) = options.target {
        wanted.push(("follow_rename", "task_rename"));
    }
    let mut attach = |(program, tracepoint)| {
        load_raw(bpf, program)?;
        attach_raw(bpf, program, tracepoint)
    };
    wanted.into_iter().map(&mut attach).collect()
}
