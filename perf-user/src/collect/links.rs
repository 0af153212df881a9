//! What holds programs at their tracepoints.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    programs::{
        PerfEvent, RawTracePoint,
        perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy},
        raw_trace_point::RawTracePointLink,
    },
};

use super::AttachError;
use crate::host::online_cpus;

/// Programs at work, in the order in which they were attached.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: Vec<RawTracePointLink>,
}

impl Links {
    /// Attaches programs to tracepoints, in this order.
    pub(super) fn attach(
        &mut self,
        bpf: &mut Ebpf,
        programs: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Result<(), AttachError> {
        for (program, tracepoint) in programs {
            self.links.push(attach_raw(bpf, program, tracepoint)?);
        }
        Ok(())
    }

    /// Detaches them, in the other order.
    pub(super) fn detach(&mut self) {
        while let Some(link) = self.links.pop() {
            drop(link);
        }
    }
}

/// Programs at events of each CPU.
#[derive(Debug, Default)]
pub(super) struct CpuLinks {
    links: BTreeMap<u32, Vec<PerfEventLink>>,
}

impl CpuLinks {
    /// Attaches a program to an event of a CPU, which counts whatever runs there.
    pub(super) fn add(
        &mut self,
        bpf: &mut Ebpf,
        name: &'static str,
        cpu: u32,
        (config, policy): (PerfEventConfig, SamplePolicy),
    ) -> Result<(), AttachError> {
        let refused = |source| AttachError::PerfEvent { cpu, source };
        let program = perf(bpf, name)?;
        let link = program.attach(config, PerfEventScope::AllProcessesOneCpu { cpu }, policy, false);
        let link = program.take_link(link.map_err(refused)?).map_err(refused)?;
        self.links.entry(cpu).or_default().push(link);
        Ok(())
    }

    /// Attaches to these CPUs by what adds the events of one. One that has gone offline since it was looked for has none.
    pub(super) fn attach(
        &mut self,
        cpus: &[u32],
        mut add: impl FnMut(&mut Self, u32) -> Result<(), AttachError>,
    ) -> Result<(), AttachError> {
        cpus.iter().try_for_each(|cpu| match add(self, *cpu) {
            Err(_) if !online_cpus().contains(cpu) => Ok(()),
            attached => attached,
        })
    }

    /// The same with CPUs that are online, except those that `stayed` so; which are new. A CPU that went offline took its events with
    /// it; if it comes back, it needs new ones.
    pub(super) fn follow(
        &mut self,
        stayed: &[u32],
        online: &[u32],
        add: impl FnMut(&mut Self, u32) -> Result<(), AttachError>,
    ) -> Result<Vec<u32>, AttachError> {
        self.links.retain(|cpu, _| stayed.contains(cpu));
        let new: Vec<u32> = online.iter().copied().filter(|cpu| !self.links.contains_key(cpu)).collect();
        self.attach(&new, add)?;
        Ok(new)
    }

    /// Detaches them.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }
}

fn perf<'bpf>(bpf: &'bpf mut Ebpf, name: &'static str) -> Result<&'bpf mut PerfEvent, AttachError> {
    let program = bpf.program_mut(name).ok_or(AttachError::Missing(name))?;
    program.try_into().map_err(AttachError::program(name))
}

pub(super) fn load_perf(bpf: &mut Ebpf, name: &'static str) -> Result<(), AttachError> {
    perf(bpf, name)?.load().map_err(AttachError::program(name))
}

fn raw<'bpf>(bpf: &'bpf mut Ebpf, name: &'static str) -> Result<&'bpf mut RawTracePoint, AttachError> {
    bpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(AttachError::program(name))
}

pub(super) fn load_raw(bpf: &mut Ebpf, name: &'static str) -> Result<(), AttachError> {
    raw(bpf, name)?.load().map_err(AttachError::program(name))
}

pub(super) fn attach_raw(
    bpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
) -> Result<RawTracePointLink, AttachError> {
    let refused = AttachError::program(name);
    let program = raw(bpf, name)?;
    let link = program.attach(tracepoint).map_err(refused)?;
    program.take_link(link).map_err(refused)
}
