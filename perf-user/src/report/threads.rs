//! What every thread did with its time: running, waiting for a CPU, and blocked, by reason.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use super::{
    ThreadTimes,
    places::{Places, places},
};
use crate::{
    collect::{Did, EventKind},
    profile::{FrameKind, Profile, Sample, StackId},
    symbolize::did_name,
};

/// Of all threads, those first that ran or waited for a CPU longest; of one time, in the order of their ids.
pub(super) fn times(profile: &Profile, known: &mut Places) -> Vec<ThreadTimes> {
    let Some(sched) = profile.series(EventKind::Sched.name()) else { return Vec::new() };
    let mut threads: BTreeMap<(u32, u32), ThreadTimes> = BTreeMap::new();
    for sample in &sched.samples {
        let Some((times, did)) = entry(profile, &mut threads, sample) else { continue };
        times.wall_ns += sample.value;
        if did == did_name(Did::Ran) {
            times.running_ns += sample.value;
        } else if did == did_name(Did::WaitedForCpu) {
            times.runnable_ns += sample.value;
        } else {
            *times.blocked_ns.entry(did.to_owned()).or_default() += sample.value;
        }
    }
    let offcpu = profile.series(EventKind::OffCpu.name()).map_or(&[][..], |series| &series.samples);
    let mut why: HashMap<(u32, u32), BTreeMap<String, u64>> = HashMap::new();
    let mut stacks: HashMap<(u32, u32), HashMap<StackId, u64>> = HashMap::new();
    for sample in offcpu {
        let Some(thread) = profile.threads.get(sample.thread.0 as usize) else { continue };
        let Some(did) = did(profile, sample).filter(|did| *did != did_name(Did::WaitedForCpu)) else { continue };
        let id = (thread.tgid, thread.tid);
        *why.entry(id).or_default().entry(did.to_owned()).or_default() += sample.value;
        *stacks.entry(id).or_default().entry(sample.stack).or_default() += sample.value;
    }
    for (id, stacks) in stacks {
        let Some(times) = threads.get_mut(&id) else { continue };
        times.longest = places(profile, &stacks, known).into_iter().next();
    }
    for (id, reasons) in why {
        let Some(times) = threads.get_mut(&id) else { continue };
        let blocked_ns: u64 = times.blocked_ns.values().sum();
        // The two are told by the same events, but for those that were lost: of a thread whose end was, waits are all that is known.
        let known_ns: u64 = reasons.values().sum();
        let rest = blocked_ns.saturating_sub(known_ns);
        times.wall_ns += known_ns.saturating_sub(blocked_ns);
        times.blocked_ns = reasons;
        if rest > 0 {
            *times.blocked_ns.entry(did_name(Did::Blocked).to_owned()).or_default() += rest;
        }
    }
    let mut threads: Vec<ThreadTimes> = threads.into_values().collect();
    // Of most programs most threads do nothing all the time.
    let busy = |thread: &ThreadTimes| Reverse(thread.running_ns.saturating_add(thread.runnable_ns));
    threads.sort_by_key(|thread| (busy(thread), Reverse(thread.wall_ns), thread.tgid, thread.tid));
    threads
}

fn entry<'a>(
    profile: &'a Profile,
    threads: &'a mut BTreeMap<(u32, u32), ThreadTimes>,
    sample: &Sample,
) -> Option<(&'a mut ThreadTimes, &'a str)> {
    let thread = profile.threads.get(sample.thread.0 as usize)?;
    let times = threads.entry((thread.tgid, thread.tid)).or_default();
    (times.tgid, times.tid) = (thread.tgid, thread.tid);
    times.comm = profile.strings.get(thread.comm).to_owned();
    times.process = profile.strings.get(thread.process).to_owned();
    Some((times, did(profile, sample)?))
}

/// What the thread did, by the innermost frame.
fn did<'a>(profile: &'a Profile, sample: &Sample) -> Option<&'a str> {
    let leaf = profile.stacks.leaf_to_root(sample.stack).next()?;
    let frame = profile.frames.get(leaf.0 as usize).filter(|frame| frame.kind == FrameKind::Wait)?;
    Some(profile.strings.get(frame.function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{profile::Series, report::fixture::Builder};

    #[test]
    fn times_add_up_also_where_either_side_was_lost() {
        let (one, two) = ((7, 7, "one"), (7, 8, "two"));
        let mut profile = Builder::new()
            .sample(one, &["running_[w]"], 5)
            .sample(one, &["blocked_[w]"], 20)
            .sample(two, &["blocked_[w]"], 20)
            .sample(one, &["futex_[w]"], 700)
            .sample(two, &["futex_[w]"], 15)
            .build();
        let samples = std::mem::take(&mut profile.series[0].samples);
        let series = |event: EventKind, samples: &[Sample]| Series {
            event: event.name().into(),
            samples: samples.to_vec(),
            ..Series::default()
        };
        profile.series = vec![series(EventKind::Sched, &samples[..3]), series(EventKind::OffCpu, &samples[3..])];
        let times = times(&profile, &mut Places::new());
        for thread in &times {
            let sum = thread.running_ns + thread.runnable_ns + thread.blocked_ns.values().sum::<u64>();
            assert_eq!(sum, thread.wall_ns, "{thread:?}");
        }
        assert_eq!((times[0].wall_ns, times[0].blocked_ns["futex"]), (705, 700), "its end was lost");
        assert_eq!((times[1].blocked_ns["futex"], times[1].blocked_ns["blocked"]), (15, 5), "a wait was lost");
    }
}
