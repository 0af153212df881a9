//! Which events to record.

use std::str::FromStr;

use crate::{
    collect::{EventKind, kernel_locks},
    host::{Host, block::block_offsets, task_offsets},
};

/// What is recorded unless somebody says what: where time goes, whether threads run or wait. System calls are not among it: what
/// listening to them costs, every program on the machine pays.
const DEFAULT: [EventKind; 7] = [
    EventKind::Cpu,
    EventKind::OffCpu,
    EventKind::Sched,
    EventKind::OffWake,
    EventKind::Io,
    EventKind::Locks,
    EventKind::Memory,
];

/// An event as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    kind: EventKind,
    /// Beside what is recorded by default.
    beside: bool,
}

impl Wanted {
    /// Beside what is recorded by default.
    pub(super) const fn beside(kind: EventKind) -> Self {
        Self { kind, beside: true }
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let beside = text.starts_with('+');
        Ok(Self { kind: text.trim_start_matches('+').parse()?, beside })
    }
}

/// What to record: once each, in the order of the recording.
pub(super) fn kinds(wanted: &[Wanted]) -> Vec<EventKind> {
    // Without its types, the kernel does not tell what threads do that are not running, nor what it knows of requests.
    let is_told = |kind: &EventKind| match kind {
        EventKind::Cpu => true,
        EventKind::Io => task_offsets().is_ok() && block_offsets().is_ok(),
        _ => task_offsets().is_ok(),
    };
    let mut asked: Vec<EventKind> = wanted.iter().map(|wanted| wanted.kind).collect();
    if wanted.iter().all(|wanted| wanted.beside) {
        asked.extend(DEFAULT.into_iter().filter(is_told));
    }
    // What is done to files is done by calls, which ask disks for it.
    let files = asked.contains(&EventKind::Files);
    // The same requests by their time and by their bytes: one is not had without the other.
    let is_io = |kind: &EventKind| matches!(kind, EventKind::Io | EventKind::IoBytes);
    // Faults need what requests tell of the names of files.
    let io = files || asked.contains(&EventKind::Faults) || asked.iter().any(is_io);
    // As are waits for locks, and who had these; of the kernel's own, what it tells.
    let is_lock = |kind: &EventKind| matches!(kind, EventKind::Locks | EventKind::Holders);
    let locks = asked.iter().any(is_lock);
    let brings = |kind: &EventKind| match kind {
        EventKind::Syscalls => files,
        EventKind::KernelLocks => locks && kernel_locks::are_told(&Host::read()),
        kind => (io && is_io(kind)) || (locks && is_lock(kind)),
    };
    EventKind::ALL.into_iter().filter(|kind| asked.contains(kind) || brings(kind)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn chosen(list: &str) -> Vec<EventKind> {
        kinds(&list.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn a_plus_adds_to_what_is_recorded_by_default() {
        use EventKind::{Cpu, Faults, Files, Io, IoBytes, OffCpu, Syscalls};
        assert_eq!(chosen("cpu"), [Cpu]);
        assert_eq!(chosen("files"), [Syscalls, Io, IoBytes, Files]);
        assert_eq!(chosen("faults"), [Io, IoBytes, Faults]);
        assert_eq!(chosen("cpu,+files"), [Cpu, Syscalls, Io, IoBytes, Files], "who says what leaves out the rest");
        let (all, more) = (chosen(""), chosen("+files"));
        assert!(all.contains(&Cpu) && !all.contains(&Files) && !all.contains(&Syscalls));
        assert!(all.iter().all(|kind| more.contains(kind)) && more.contains(&Files) && more.contains(&Syscalls));
        assert_eq!(all.contains(&OffCpu), more.contains(&OffCpu));
        assert!("+file".parse::<Wanted>().unwrap_err().contains("there is no event kind"));
    }
}
