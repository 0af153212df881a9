//! The task history of all CPUs, merged in the order of time.

use std::{collections::BTreeMap, os::fd::BorrowedFd};

use crate::{
    collect::AttachError,
    host::{
        self, Unsupported,
        perf_ring::{TaskEvent, TaskRing},
        sys,
    },
    task::Tasks,
};

/// Size of a ring: a burst of some thousand events between two looks. Every CPU has one, and a user without `CAP_IPC_LOCK`
/// may lock 512 KiB for each (`kernel.perf_event_mlock_kb`).
const DATA_BYTES: usize = 256 * 1024;

/// Size of a ring for a user who has used that up: full sooner, and what is lost is counted.
const LEAST_BYTES: usize = 16 * 1024;

/// One ring a CPU.
#[derive(Debug)]
pub(super) struct TaskRings {
    rings: BTreeMap<u32, TaskRing>,
    wakes: bool,
    scratch: Vec<u8>,
    events: Vec<(u64, TaskEvent)>,
}

impl TaskRings {
    /// Listens on these CPUs. If it `wakes`, every event makes a descriptor of [`Self::events`] readable: for who has to
    /// know at once what was mapped. Else rings are looked at by the clock.
    pub(super) fn open(cpus: &[u32], wakes: bool) -> Result<Self, AttachError> {
        let mut rings = Self { rings: BTreeMap::new(), wakes, scratch: Vec::new(), events: Vec::new() };
        rings.open_missing(cpus)?;
        Ok(rings)
    }

    /// What to poll for new events; nothing if rings are looked at by the clock.
    pub(super) fn events(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.values().filter(|_| self.wakes).map(TaskRing::event)
    }

    /// The CPUs that were offline since this was last asked, though they may be back; takes count of lost events.
    pub(super) fn check(&mut self) -> Vec<u32> {
        let mut stood_still = Vec::new();
        for (cpu, ring) in &mut self.rings {
            if !ring.check(&mut self.events) {
                stood_still.push(*cpu);
            }
        }
        stood_still
    }

    /// Listens on all CPUs that are online, those that `stayed` so apart anew, after a last look at those that went.
    pub(super) fn follow_cpus(&mut self, stayed: &[u32], online: &[u32], tasks: &mut Tasks) -> Result<(), AttachError> {
        self.apply_until_now(tasks);
        self.rings.retain(|cpu, _| stayed.contains(cpu));
        self.open_missing(online)
    }

    fn open_missing(&mut self, online: &[u32]) -> Result<(), AttachError> {
        for cpu in online {
            if !self.rings.contains_key(cpu) {
                match open(*cpu, self.wakes) {
                    Ok(ring) => _ = self.rings.insert(*cpu, ring),
                    // It has gone offline since it was looked for.
                    Err(_) if !host::online_cpus().contains(cpu) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Applies what happened before this call, in order. What comes in while rings are read waits for the next call: on
    /// a ring read earlier something older may still appear.
    pub(super) fn apply(&mut self, tasks: &mut Tasks) {
        let now = sys::monotonic_ns();
        self.read();
        let ready = self.events.partition_point(|(time_ns, _)| *time_ns < now);
        self.events.drain(..ready).for_each(|(time_ns, event)| tasks.apply(time_ns, event));
    }

    /// Applies all that has happened up to now.
    pub(super) fn apply_until_now(&mut self, tasks: &mut Tasks) {
        self.apply(tasks);
        self.read();
        self.events.drain(..).for_each(|(time_ns, event)| tasks.apply(time_ns, event));
    }

    fn read(&mut self) {
        for ring in self.rings.values_mut() {
            ring.read(&mut self.scratch, &mut self.events);
        }
        self.events.sort_by_key(|(time_ns, _)| *time_ns);
    }
}

/// Opens a ring as large as the kernel lets this user have it.
fn open(cpu: u32, wakes: bool) -> Result<TaskRing, AttachError> {
    let mut bytes = DATA_BYTES;
    loop {
        match TaskRing::open(cpu, bytes, wakes) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && bytes > LEAST_BYTES => bytes /= 2,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                let limit = host::setting("kernel/perf_event_mlock_kb").unwrap_or(0);
                return Err(Unsupported::new(
                    format!("listening to the tasks of CPU {cpu}"),
                    format!("this user's perf buffers have reached kernel.perf_event_mlock_kb, {limit} KiB a CPU"),
                    "raise that by sysctl, end this user's other profilers, or give perfprobe CAP_IPC_LOCK too",
                )
                .into());
            }
            ring => return ring.map_err(|source| AttachError::TaskEvents { cpu, source }),
        }
    }
}
