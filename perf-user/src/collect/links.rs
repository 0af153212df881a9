//! What holds programs at their tracepoints.

use aya::{
    Ebpf,
    programs::{RawTracePoint, raw_trace_point::RawTracePointLink},
};

use super::AttachError;

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
