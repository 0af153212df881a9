//! Waits beside CPU samples: one time for both, and the choice of some reasons.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{Accounting, FrameKind, IDLE_POOL, Moment, Profile, Sample, Series, StackId};
use crate::collect::EventKind;

/// The event that is made of CPU samples and waits.
pub const WALL: &str = "wall";

/// Reasons for which threads without work wait.
pub const IDLE: [&str; 5] = ["accept", IDLE_POOL, "poll", "signal", "sleep"];

/// Waits for one reason that were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hidden {
    /// Their time.
    pub ns: u64,
    /// How many threads waited.
    pub threads: usize,
}

impl Profile {
    /// CPU samples, as the time they stand for, and waits in one series, in nanoseconds: all that threads did. `None` unless both
    /// were recorded, and CPU samples stand for a time.
    #[must_use]
    pub fn wall(&self) -> Option<Series> {
        let (cpu, off) = (self.series(EventKind::Cpu.name())?, self.series(EventKind::OffCpu.name())?);
        if cpu.period_ns == 0 {
            return None;
        }
        let time = |samples: u64| samples.saturating_mul(cpu.period_ns);
        let ran = cpu.samples.iter().map(|sample| Sample { value: time(sample.value), ..*sample });
        let mut samples: Vec<Sample> = ran.chain(off.samples.iter().copied()).collect();
        samples.sort_by_key(|sample| sample.window_ns);
        let lost = cpu.accounting.lost.iter().map(|(cause, samples)| (cause.clone(), time(*samples)));
        let mut accounting = Accounting {
            taken: time(cpu.accounting.taken).saturating_add(off.accounting.taken),
            reported: time(cpu.accounting.reported).saturating_add(off.accounting.reported),
            lost: lost.collect(),
        };
        for (cause, ns) in &off.accounting.lost {
            *accounting.lost.entry(cause.clone()).or_default() += ns;
        }
        // A sample stands for the time before it.
        let ran = cpu.moments.iter().map(|moment| Moment {
            start_ns: moment.start_ns.saturating_sub(cpu.period_ns),
            length_ns: cpu.period_ns,
            ..*moment
        });
        let mut moments: Vec<Moment> = ran.chain(off.moments.iter().copied()).collect();
        moments.sort_by_key(|moment| moment.start_ns);
        let (event, unit, source) = (WALL.into(), off.unit.clone(), format!("{}, {}", cpu.source, off.source));
        Some(Series { event, unit, period_ns: 1, source, samples, accounting, moments, ..Series::default() })
    }

    /// Drops waits for reasons that are not `wanted`, and takes note of what that hides.
    pub fn keep_waits(&mut self, wanted: impl Fn(&str) -> bool) {
        let mut all = std::mem::take(&mut self.series);
        let waits = [EventKind::OffCpu.name(), EventKind::OffWake.name()];
        let mut hidden: BTreeMap<&str, (u64, BTreeSet<u32>)> = BTreeMap::new();
        for series in all.iter_mut().filter(|series| waits.contains(&series.event.as_str())) {
            let is_off = series.event == EventKind::OffCpu.name();
            series.samples.retain(|sample| {
                let Some(reason) = self.reason(sample.stack).filter(|reason| !wanted(reason)) else { return true };
                if is_off {
                    let (ns, tids) = hidden.entry(reason).or_default();
                    *ns = ns.saturating_add(sample.value);
                    tids.extend(self.threads.get(sample.thread.0 as usize).map(|thread| thread.tid));
                }
                false
            });
            series.moments.retain(|moment| self.reason(moment.stack).is_none_or(&wanted));
            series.unsymbolized = self.reasons_without_name(&series.samples);
        }
        let told = |(why, (ns, tids)): (&str, (u64, BTreeSet<u32>))| (why.into(), Hidden { ns, threads: tids.len() });
        self.hidden = hidden.into_iter().map(told).collect();
        self.series = all;
    }

    /// Why the thread waited whose stack this is; where somebody ended that, not why the waker did.
    #[must_use]
    pub fn reason(&self, stack: StackId) -> Option<&str> {
        let frames = self.stacks.leaf_to_root(stack).filter_map(|id| self.frames.get(id.0 as usize));
        frames.filter(|frame| frame.kind == FrameKind::Wait).last().map(|frame| self.strings.get(frame.function))
    }

    /// Why frames of these samples have no name, weighted by value.
    fn reasons_without_name(&self, samples: &[Sample]) -> BTreeMap<String, u64> {
        let mut stacks: HashMap<StackId, u64> = HashMap::new();
        samples.iter().for_each(|sample| *stacks.entry(sample.stack).or_default() += sample.value);
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        for (stack, value) in stacks {
            for reason in self.stacks.leaf_to_root(stack).filter_map(|frame| self.unnamed.get(&frame)) {
                let count = reasons.entry(self.strings.get(*reason).to_owned()).or_default();
                *count = count.saturating_add(value);
            }
        }
        reasons
    }

    /// The reasons for which threads waited, each once.
    #[must_use]
    pub fn reasons(&self) -> BTreeSet<&str> {
        let leaf = |sample: &Sample| self.frames.get(self.stacks.leaf_to_root(sample.stack).next()?.0 as usize);
        let waits =
            self.series(EventKind::OffCpu.name()).map_or(&[][..], |series| &series.samples).iter().filter_map(leaf);
        waits.filter(|leaf| leaf.kind == FrameKind::Wait).map(|leaf| self.strings.get(leaf.function)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::{Frame, FrameId, Thread, ThreadIndex};
    use super::*;

    fn profile() -> Profile {
        let mut profile = Profile::default();
        let name = profile.strings.intern("main");
        profile.threads.push(Thread { tgid: 1, tid: 1, comm: name, process: name });
        let stacks: Vec<StackId> = ["work", "futex", "poll"]
            .into_iter()
            .map(|function| {
                let kind = if function == "work" { FrameKind::User } else { FrameKind::Wait };
                let (function, empty) = (profile.strings.intern(function), profile.strings.intern(""));
                let id = FrameId(profile.frames.len() as u32);
                profile.frames.push(Frame {
                    function,
                    module: empty,
                    file: empty,
                    line: 0,
                    kind,
                    symbolized: true,
                    address: 0,
                });
                profile.stacks.push(StackId::EMPTY, id)
            })
            .collect();
        let sample =
            |window_ns, stack: usize, value| Sample { window_ns, thread: ThreadIndex(0), stack: stacks[stack], value };
        let balance = |taken, reported, lost| Accounting {
            taken,
            reported,
            lost: [("map_busy".to_owned(), lost)].into_iter().collect(),
        };
        let cpu = Series {
            event: "cpu".into(),
            unit: "samples".into(),
            period_ns: 10,
            samples: vec![sample(0, 0, 3), sample(7, 0, 2)],
            accounting: balance(6, 5, 1),
            ..Series::default()
        };
        let offcpu = Series {
            event: "offcpu".into(),
            unit: "nanoseconds".into(),
            period_ns: 1,
            samples: vec![sample(0, 1, 40), sample(7, 2, 60)],
            accounting: balance(105, 100, 5),
            ..Series::default()
        };
        profile.series = vec![cpu, offcpu];
        profile
    }

    #[test]
    fn samples_and_waits_are_one_time() {
        let wall = profile().wall().unwrap();
        assert_eq!(wall.total(), 150);
        assert!(wall.accounting.balances() && wall.accounting.taken == 165, "{:?}", wall.accounting);
        assert!(wall.samples.is_sorted_by_key(|sample| sample.window_ns));
        let cycles = Profile { series: profile().series.into_iter().skip(1).collect(), ..profile() };
        assert!(cycles.wall().is_none());
    }

    #[test]
    fn waits_are_chosen_by_reason_and_samples_stay() {
        let mut profile = profile();
        assert_eq!(profile.reasons(), BTreeSet::from(["futex", "poll"]));
        profile.keep_waits(|reason| !IDLE.contains(&reason));
        let totals: Vec<u64> = profile.series.iter().map(Series::total).collect();
        assert_eq!(totals, [5, 40]);
        assert_eq!(profile.hidden, BTreeMap::from([("poll".to_owned(), Hidden { ns: 60, threads: 1 })]));
    }

    #[test]
    fn reasons_for_missing_names_are_those_of_the_waits_that_are_kept() {
        let mut profile = profile();
        for (at, reason) in ["file is stripped", "process hidden"].into_iter().enumerate() {
            let (leaf, caller) = (profile.series[1].samples[at].stack, FrameId(profile.frames.len() as u32));
            profile.frames.push(Frame { symbolized: false, kind: FrameKind::User, ..profile.frames[0] });
            let leaf = profile.stacks.root_to_leaf(leaf)[0];
            let stack = profile.stacks.push(StackId::EMPTY, caller);
            profile.series[1].samples[at].stack = profile.stacks.push(stack, leaf);
            let reason = profile.strings.intern(reason);
            profile.unnamed.insert(caller, reason);
        }
        profile.series[1].unsymbolized =
            BTreeMap::from([("file is stripped".to_owned(), 40), ("process hidden".to_owned(), 60)]);
        profile.keep_waits(|reason| reason == "futex");
        assert_eq!(profile.series[1].unsymbolized, BTreeMap::from([("file is stripped".to_owned(), 40)]));
    }
}
