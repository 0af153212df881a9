//! From the ring of single events to those of a window.

use std::collections::HashMap;

use aya::maps::{MapData, RingBuf};
use perf_ebpf::{
    counters::{COUNTER_SLOTS, TIMELINE},
    sample::Key,
    timeline::{Event, SAMPLE, WAIT},
};
use zerocopy::FromBytes as _;

use crate::collect::{Did, EventKind, RawSample};

/// Events of a window that are kept: 12 MB.
const MOST_EVENTS: usize = if cfg!(test) { 4 } else { 1 << 19 };

/// Single events of a window.
#[derive(Debug, Default)]
pub struct RawTimeline {
    /// What happened, each once: who, where, and what it was. Their values mean nothing.
    pub places: Vec<(EventKind, RawSample)>,
    /// When it happened.
    pub events: Vec<Moment>,
    /// Records that the kernel half took, or user space made of waits that had not ended.
    pub taken: u64,
    /// Of those, what was lost, by cause.
    pub lost: Vec<(&'static str, u64)>,
    known: HashMap<(Key, Option<Did>), u32>,
    full: u64,
    undecodable: u64,
    /// Records that the kernel half took of what is not told.
    left_out: u64,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Index of what happened.
    pub place: u32,
    /// When it began, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// How long it took; 0 for samples.
    pub length_ns: u64,
    /// Whether it is a record of its own: that a thread has waited is one of two events, blocked and then for a CPU.
    pub is_record: bool,
}

impl RawTimeline {
    fn add(&mut self, event: &Event) {
        if self.events.len() >= MOST_EVENTS {
            self.full += 1;
            return;
        }
        if event.kind == SAMPLE {
            self.push(EventKind::Cpu, &event.key, None, event.start_ns, 0, true);
            return;
        }
        let (blocked_ns, runnable_ns) = (event.blocked_ns, event.runnable_ns);
        if blocked_ns > 0 {
            self.push(
                EventKind::OffCpu,
                &event.key,
                Some(Did::Waited(event.key.why)),
                event.start_ns,
                blocked_ns,
                true,
            );
        }
        if runnable_ns > 0 || blocked_ns == 0 {
            let woken_ns = event.start_ns.saturating_add(blocked_ns);
            self.push(EventKind::OffCpu, &event.key, Some(Did::WaitedForCpu), woken_ns, runnable_ns, blocked_ns == 0);
        }
    }

    fn push(&mut self, kind: EventKind, key: &Key, did: Option<Did>, start_ns: u64, length_ns: u64, is_record: bool) {
        let next = self.places.len() as u32;
        let place = *self.known.entry((*key, did)).or_insert(next);
        if place == next {
            self.places.push((kind, RawSample::of(key, did, 0, start_ns)));
        }
        self.events.push(Moment { place, start_ns, length_ns, is_record });
    }

    /// Adds a wait that has not ended.
    pub(super) fn add_open(&mut self, key: &Key, start_ns: u64, [blocked_ns, runnable_ns]: [u64; 2]) {
        self.taken += 1;
        self.add(&Event { start_ns, blocked_ns, runnable_ns, key: *key, kind: WAIT, ..Event::default() });
    }

    /// Adds what the kernel half counted, and what found no place; when no event comes any more.
    pub(super) fn count(&mut self, counted: &[u64; COUNTER_SLOTS]) {
        for balance in TIMELINE {
            self.taken += counted[balance.taken as usize].saturating_sub(std::mem::take(&mut self.left_out));
            self.lost.extend(balance.lost.iter().map(|lost| (lost.name(), counted[*lost as usize])));
        }
        self.lost.extend([("window_full", self.full), ("undecodable", self.undecodable)]);
    }
}

/// The ring, and what was read of it.
pub(super) struct Timeline {
    ring: RingBuf<MapData>,
    /// How long a wait is at least.
    pub(super) min_ns: u64,
    /// The wait of a command for perfprobe, by thread and beginning, which is not told.
    pub(super) held_back: Option<(u32, u64)>,
    /// By generation: the ring already holds events of the next window when one is read.
    windows: [RawTimeline; 2],
}

impl Timeline {
    pub(super) fn new(ring: RingBuf<MapData>, min_ns: u64) -> Self {
        Self { ring, min_ns, held_back: None, windows: Default::default() }
    }

    /// Takes what is there, so that the ring has room.
    pub(super) fn look(&mut self) {
        while let Some(record) = self.ring.next() {
            match Event::read_from_bytes(&record) {
                Ok(Event { generation, kind: WAIT, start_ns, key, .. })
                    if self.held_back == Some((key.tid, start_ns)) =>
                {
                    self.windows[generation as usize & 1].left_out += 1;
                }
                Ok(event) => self.windows[event.generation as usize & 1].add(&event),
                Err(_) => self.windows[0].undecodable += 1,
            }
        }
    }

    /// All of a generation that no program writes to any more.
    pub(super) fn take(&mut self, generation: u32) -> RawTimeline {
        self.look();
        std::mem::take(&mut self.windows[generation as usize & 1])
    }
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeline").field("min_ns", &self.min_ns).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use perf_ebpf::counters::Counter;

    use super::*;

    fn wait(tid: u32, start_ns: u64, blocked_ns: u64, runnable_ns: u64) -> Event {
        let key = Key { tid, why: 1, ..Key::default() };
        Event { start_ns, blocked_ns, runnable_ns, key, kind: WAIT, ..Event::default() }
    }

    #[test]
    fn a_wait_is_what_it_was_for_and_then_for_a_cpu() {
        let mut window = RawTimeline::default();
        window.add(&wait(7, 100, 30, 5));
        window.add(&wait(7, 200, 0, 6));
        window.add(&Event { kind: SAMPLE, ..wait(7, 300, 0, 0) });
        let moments: Vec<_> =
            window.events.iter().map(|event| (event.place, event.start_ns, event.length_ns)).collect();
        assert_eq!(moments, [(0, 100, 30), (1, 130, 5), (1, 200, 6), (2, 300, 0)]);
        let dids: Vec<_> = window.places.iter().map(|(kind, place)| (*kind, place.did)).collect();
        let (blocked, late) = (Some(Did::Waited(1)), Some(Did::WaitedForCpu));
        assert_eq!(dids, [(EventKind::OffCpu, blocked), (EventKind::OffCpu, late), (EventKind::Cpu, None)]);
        assert_eq!(window.events.iter().filter(|event| event.is_record).count(), 3);
    }

    #[test]
    fn what_finds_no_place_is_counted_open_waits_too() {
        let mut window = RawTimeline::default();
        for at in 0..3 {
            window.add(&wait(at, 100, 30, 5));
        }
        window.add_open(&Key { tid: 9, ..Key::default() }, 100, [40, 0]);
        let mut counted = [0; COUNTER_SLOTS];
        (counted[Counter::TimelineWaits as usize], counted[Counter::TimelineWaitsLost as usize]) = (8, 5);
        window.count(&counted);
        let reported = window.events.iter().filter(|event| event.is_record).count() as u64;
        assert_eq!((reported, window.taken), (2, 9));
        assert_eq!(window.taken, reported + window.lost.iter().map(|(_, count)| count).sum::<u64>(), "{window:?}");
    }
}
