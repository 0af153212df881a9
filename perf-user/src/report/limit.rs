//! What limits the program: where most of the time of its threads goes in which they were not idle.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::{
    BlockReport, FileCallsReport, FunctionReport, PlaceReport, RunQueueReport, ThreadTimes, WakeReport,
    human::{duration, percent},
    places::{Places, places},
};
use crate::{
    collect::{Did, EventKind},
    profile::{IDLE, Profile, StackId},
    symbolize::did_name,
};

/// Where most of the time goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LimitReport {
    /// `running`, `waiting for a CPU`, the reason of waits, or `idle`, if threads hardly did anything else.
    pub what: String,
    /// How long threads did that.
    pub ns: u64,
    /// How long they were not idle; of `idle`, all of their time.
    pub of_ns: u64,
    /// The function of the program's own where most of that was; absent where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The share of that function, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_percent: Option<u64>,
    /// What is known of that for which they waited: how fast the disk or the peer was, or who ran meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

/// What else the report says that tells more.
pub(super) struct Told<'a> {
    pub(super) functions: &'a [FunctionReport],
    pub(super) samples: u64,
    pub(super) block: Option<&'a BlockReport>,
    pub(super) files: Option<&'a FileCallsReport>,
    pub(super) queue: Option<&'a RunQueueReport>,
    pub(super) wakes: &'a [WakeReport],
}

/// Threads that are idle for all but so much of their time, in percent, are not limited by anything.
const ACTIVE_PERCENT: u128 = 5;
/// Why threads wait for their children, whose own time tells what limits them.
const CHILD: &str = "child";
const DISK: &str = "disk or kernel lock";
const FAULT: &str = "page fault";
const PEER: &str = "pipe/socket/terminal";
const IDLE_WORD: &str = "idle";

/// Of the times of all threads; `None` if it is not known what they did, or there are none.
pub(super) fn limit(
    profile: &Profile,
    threads: &[ThreadTimes],
    told: &Told<'_>,
    known: &mut Places,
) -> Option<LimitReport> {
    let (mut sums, mut idle_ns) = (BTreeMap::<&str, u64>::new(), 0_u64);
    let own = for_own(threads, told.wakes);
    for thread in threads {
        let ran = [(did_name(Did::Ran), thread.running_ns), (did_name(Did::WaitedForCpu), thread.runnable_ns)];
        let waited = thread.blocked_ns.iter().map(|(why, ns)| (why.as_str(), *ns));
        for (what, ns) in ran.into_iter().chain(waited) {
            match what {
                CHILD => {}
                PEER => {
                    let own_ns = own.get(&(thread.tgid, thread.tid)).copied().unwrap_or(0);
                    *sums.entry(PEER).or_default() += ns.saturating_sub(own_ns);
                }
                what if IDLE.contains(&what) => idle_ns = idle_ns.saturating_add(ns),
                what => {
                    let sum = sums.entry(what).or_default();
                    *sum = sum.saturating_add(ns);
                }
            }
        }
    }
    let active_ns = sums.values().fold(0_u64, |sum, ns| sum.saturating_add(*ns));
    let all_ns = active_ns.saturating_add(idle_ns);
    if all_ns == 0 {
        return None;
    }
    if u128::from(active_ns) * 100 < u128::from(all_ns) * ACTIVE_PERCENT {
        return Some(LimitReport { what: IDLE_WORD.into(), ns: idle_ns, of_ns: all_ns, ..LimitReport::default() });
    }
    let (what, ns) = sums.into_iter().max_by_key(|(_, ns)| *ns)?;
    let mut limit = LimitReport { what: what.into(), ns, of_ns: active_ns, ..LimitReport::default() };
    let (place, beside) = if what == did_name(Did::Ran) {
        (ran(told), None)
    } else if what == did_name(Did::WaitedForCpu) {
        (None, told.queue.and_then(taker))
    } else {
        (waited(profile, what, known), beside(what, told))
    };
    if let Some((place, percent)) = place {
        (limit.place, limit.place_percent) = (Some(place), Some(percent));
    }
    limit.beside = beside;
    Some(limit)
}

/// How long threads waited for others of these to write to a pipe or socket: what those did in that time tells more.
fn for_own(threads: &[ThreadTimes], wakes: &[WakeReport]) -> HashMap<(u32, u32), u64> {
    let known: HashSet<u32> = threads.iter().map(|thread| thread.tid).collect();
    let is_own = |wake: &&WakeReport| {
        let tid = wake.waker.as_deref().and_then(|waker| waker.rsplit_once('(')?.1.strip_suffix(')'));
        wake.why == PEER && tid.and_then(|tid| tid.parse().ok()).is_some_and(|tid| known.contains(&tid))
    };
    let mut own = HashMap::new();
    for wake in wakes.iter().filter(is_own) {
        *own.entry((wake.tgid, wake.tid)).or_default() += wake.waited_ns;
    }
    own
}

/// The function that ran most, and its share in percent.
fn ran(told: &Told<'_>) -> Option<(String, u64)> {
    let function = told.functions.iter().find(|function| function.self_value > 0)?;
    Some((function.name.clone(), share(function.self_value, told.samples)))
}

/// The place where threads waited longest for this reason, and its share in percent.
fn waited(profile: &Profile, why: &str, known: &mut Places) -> Option<(String, u64)> {
    let series = profile.series(EventKind::OffCpu.name())?;
    let mut stacks: HashMap<StackId, u64> = HashMap::new();
    for sample in series.samples.iter().filter(|sample| profile.reason(sample.stack) == Some(why)) {
        let sum = stacks.entry(sample.stack).or_default();
        *sum = sum.saturating_add(sample.value);
    }
    let all = stacks.values().fold(0_u64, |sum, ns| sum.saturating_add(*ns));
    let places: Vec<PlaceReport> = places(profile, &stacks, known);
    let place = places.into_iter().next()?;
    Some((place.label(), share(place.value, all)))
}

/// What the disk or the peer did for that.
fn beside(why: &str, told: &Told<'_>) -> Option<String> {
    match why {
        DISK | FAULT => {
            let kind = told.block?.kinds.first()?;
            let queue = percent(kind.queue.total_ns, kind.whole.total_ns);
            let (p50, p99) = (duration(kind.whole.p50_ns), duration(kind.whole.p99_ns));
            Some(format!("{} takes {p50} (p50), {p99} (p99), {queue} of it in the queue", kind.label()))
        }
        PEER => {
            let peer = told.files?.peers.first().filter(|peer| peer.responses.count > 0)?;
            let of = &peer.responses.lengths;
            Some(format!("{} answers after {} (p50), {} (p99)", peer.peer, duration(of.p50_ns), duration(of.p99_ns)))
        }
        _ => None,
    }
}

/// Who ran most while threads waited for a CPU.
fn taker(queue: &RunQueueReport) -> Option<String> {
    let mut takers: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for taker in &queue.takers {
        *takers.entry((taker.taker_tgid, &taker.taker_comm)).or_default() += taker.taken_ns;
    }
    let ((tgid, comm), ns) = takers.into_iter().max_by_key(|(_, ns)| *ns)?;
    Some(format!("meanwhile most ran {comm} (of {tgid}), for {}", duration(ns)))
}

fn share(part: u64, of: u64) -> u64 {
    (u128::from(part) * 100).checked_div(u128::from(of)).unwrap_or(0) as u64
}

impl LimitReport {
    /// In words: what, where, and what is known beside it.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let (share, of) = (percent(self.ns, self.of_ns), duration(self.of_ns));
        if self.what == IDLE_WORD {
            return vec![format!("nothing: {share} of their time ({of}) its threads had nothing to do")];
        }
        let what = match self.what.as_str() {
            what if what == did_name(Did::Ran) => "the CPU".into(),
            what if what == did_name(Did::WaitedForCpu) => "too few CPUs".to_owned(),
            DISK if self.beside.is_some() => "the disk".into(),
            what => format!("waits ({what})"),
        };
        let place = self.place.as_ref().zip(self.place_percent);
        let place = place.map(|(place, percent)| format!("{percent}% of that in {place}"));
        let first = format!("{what}, {share} of the {of} that threads were not idle");
        [Some(first), place, self.beside.clone()].into_iter().flatten().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn thread(running_ns: u64, runnable_ns: u64, blocked: &[(&str, u64)]) -> ThreadTimes {
        let blocked_ns = blocked.iter().map(|(why, ns)| ((*why).to_owned(), *ns)).collect();
        ThreadTimes { running_ns, runnable_ns, blocked_ns, ..ThreadTimes::default() }
    }

    fn of(threads: &[ThreadTimes]) -> Option<LimitReport> {
        limited(threads, &[])
    }

    fn limited(threads: &[ThreadTimes], wakes: &[WakeReport]) -> Option<LimitReport> {
        let told = Told { functions: &[], samples: 0, block: None, files: None, queue: None, wakes };
        limit(&Profile::default(), threads, &told, &mut Places::new())
    }

    #[test]
    fn waiting_for_another_of_the_program_is_no_limit() {
        let of = |tid, thread: ThreadTimes| ThreadTimes { tgid: 7, tid, ..thread };
        let threads = [of(1, thread(10, 0, &[(PEER, 900)])), of(2, thread(600, 0, &[]))];
        let wake = |waker: &str| WakeReport {
            tgid: 7,
            tid: 1,
            why: PEER.into(),
            waker: Some(waker.into()),
            waited_ns: 880,
            ..WakeReport::default()
        };
        let helped = limited(&threads, &[wake("worker (2)")]).unwrap();
        assert_eq!((helped.what.as_str(), helped.ns, helped.of_ns), ("running", 610, 630));
        let asked = limited(&threads, &[wake("other (3)")]).unwrap();
        assert_eq!((asked.what.as_str(), asked.ns), (PEER, 900));
    }

    #[test]
    fn what_takes_most_of_the_time_that_is_not_idle_is_the_limit() {
        let busy = of(&[thread(600, 10, &[("poll", 900)]), thread(100, 20, &[("futex", 650)])]).unwrap();
        assert_eq!((busy.what.as_str(), busy.ns, busy.of_ns), ("running", 700, 1_380));
        let late = of(&[thread(600, 900, &[])]).unwrap();
        assert_eq!((late.what.as_str(), late.ns), ("waiting for a CPU", 900));
        let locked = of(&[thread(600, 0, &[("futex", 700), ("child", 5_000)])]).unwrap();
        assert_eq!((locked.what.as_str(), locked.of_ns), ("futex", 1_300), "a shell waits for what it runs");
    }

    #[test]
    fn threads_that_hardly_do_anything_are_limited_by_nothing() {
        let found = of(&[thread(10, 1, &[("poll", 2_000)])]).unwrap();
        assert_eq!((found.what.as_str(), found.ns, found.of_ns), ("idle", 2_000, 2_011));
        assert!(found.told()[0].starts_with("nothing: 99.5% of their time"), "{:?}", found.told());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[thread(0, 0, &[])]), None);
    }

    #[test]
    fn the_line_tells_the_place_and_the_disk() {
        let limit = LimitReport {
            what: DISK.into(),
            ns: 750_000_000,
            of_ns: 1_000_000_000,
            place: Some("sync_storm (fsync)".into()),
            place_percent: Some(93),
            beside: Some("flush vda takes 1.2 ms (p50), 3.0 ms (p99), 0.0% of it in the queue".into()),
        };
        assert_eq!(
            limit.told(),
            [
                "the disk, 75.0% of the 1.0 s that threads were not idle",
                "93% of that in sync_storm (fsync)",
                "flush vda takes 1.2 ms (p50), 3.0 ms (p99), 0.0% of it in the queue"
            ]
        );
        let other = LimitReport { beside: None, place: None, ..limit };
        assert_eq!(other.told(), ["waits (disk or kernel lock), 75.0% of the 1.0 s that threads were not idle"]);
    }
}
