//! What holds programs at their tracepoints.

use aya::{Ebpf, programs::raw_trace_point::RawTracePointLink};

use super::{AttachError, session::attach_raw};

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
