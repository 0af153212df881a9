//! What is written down of each kind of events.

use super::RecordOptions;
use crate::collect::{BYTES, Collector as _, EventKind, NANOSECONDS};

/// What is written down of a kind of events.
pub(super) struct Event {
    pub(super) kind: EventKind,
    pub(super) unit: &'static str,
    pub(super) period_ns: u64,
    pub(super) source: &'static str,
}

pub(super) fn events(options: &RecordOptions) -> Vec<Event> {
    let event = |kind: &EventKind| match kind {
        EventKind::Cpu => {
            let (unit, source) = (options.collector.value().unit, options.collector.clock().name());
            Event { kind: *kind, unit, period_ns: options.collector.period_ns(), source }
        }
        EventKind::Syscalls => Event { kind: *kind, unit: NANOSECONDS, period_ns: 1, source: "system calls" },
        EventKind::Io => Event { kind: *kind, unit: NANOSECONDS, period_ns: 1, source: "block devices" },
        EventKind::Files => Event { kind: *kind, unit: NANOSECONDS, period_ns: 1, source: "files and sockets" },
        EventKind::Faults => Event { kind: *kind, unit: NANOSECONDS, period_ns: 1, source: "page faults" },
        EventKind::KernelLocks => Event { kind: *kind, unit: NANOSECONDS, period_ns: 1, source: "locks of the kernel" },
        EventKind::Memory => Event { kind: *kind, unit: BYTES, period_ns: 0, source: "page faults" },
        EventKind::IoBytes => Event { kind: *kind, unit: BYTES, period_ns: 0, source: "block devices" },
        EventKind::OffCpu | EventKind::Sched | EventKind::OffWake | EventKind::Locks | EventKind::Holders => {
            Event { kind: *kind, unit: NANOSECONDS, period_ns: 1, source: "scheduler" }
        }
    };
    options.session.kinds.iter().map(event).collect()
}
