//! What limits the program: where most of the time of its threads goes in which they were not idle.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::{
    BlockReport, FileCallsReport, RunQueueReport, ThreadTimes, WakeReport,
    human::{duration, percent},
    places::{Places, name, places},
};
use crate::{
    collect::{Did, EventKind},
    profile::{IDLE, Profile, Series, StackId},
    symbolize::did_name,
};

#[cfg(test)]
mod tests;

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
    pub(super) block: Option<&'a BlockReport>,
    pub(super) files: Option<&'a FileCallsReport>,
    pub(super) queue: Option<&'a RunQueueReport>,
    pub(super) wakes: &'a [WakeReport],
}

/// Threads that are idle for all but so much of their time, in percent, are not limited by anything.
const ACTIVE_PERCENT: u128 = 5;
/// Why threads wait for their children, whose own time tells what limits them.
const CHILD: &str = "child";
/// What is said of waits whose reason no event told.
const UNKNOWN: &str = "blocked";
const DISK: &str = "disk or kernel lock";
const FUTEX: &str = "futex";
const FAULT: &str = "page fault";
/// Waits that others end by what they write.
const PEERS: [&str; 2] = ["pipe/socket/terminal", "socket"];
/// A thread that runs for less of its time than one part in so many is asleep.
const ASLEEP: u64 = 10_000;
const IDLE_WORD: &str = "idle";

/// Of the times of all threads; `None` if it is not known what they did, or there are none.
pub(super) fn limit(
    profile: &Profile,
    threads: &[ThreadTimes],
    told: &Told<'_>,
    known: &mut Places,
) -> Option<LimitReport> {
    let own = for_own(threads, told.wakes);
    // Threads that sleep through all of it are no limit to others that work; where none does, they are what it hangs in.
    let awake: Vec<&ThreadTimes> = threads.iter().filter(|thread| !is_asleep(thread)).collect();
    let signs = for_signs(profile);
    let (sums, idle_ns) = match sum_up(&awake, &own, &signs) {
        (sums, idle_ns) if is_active(&sums, idle_ns) || awake.iter().any(|thread| is_busy(thread)) => (sums, idle_ns),
        _ => sum_up(&threads.iter().collect::<Vec<_>>(), &own, &HashMap::new()),
    };
    let active_ns = total(sums.values());
    let all_ns = active_ns.saturating_add(idle_ns);
    if all_ns == 0 {
        return None;
    }
    let unknown_ns: u64 = threads.iter().filter_map(|thread| thread.blocked_ns.get(UNKNOWN)).sum();
    if unknown_ns > all_ns {
        // Waits were not recorded, or only some of them.
        return None;
    }
    if !is_active(&sums, idle_ns) && !threads.iter().any(is_busy) {
        let beside = told.files.and_then(peer);
        return Some(LimitReport {
            what: IDLE_WORD.into(),
            ns: idle_ns,
            of_ns: all_ns,
            beside,
            ..LimitReport::default()
        });
    }
    let (what, ns) = sums.into_iter().max_by_key(|(_, ns)| *ns)?;
    let mut limit = LimitReport { what: what.into(), ns, of_ns: active_ns, ..LimitReport::default() };
    let (place, beside) = if what == did_name(Did::Ran) {
        (ran(profile), None)
    } else if what == did_name(Did::WaitedForCpu) {
        (None, told.queue.and_then(taker))
    } else {
        let place = waited(profile, what, known);
        let beside = beside(what, ns, place.as_ref().map_or("", |(place, _)| place), told);
        (place, beside)
    };
    if let Some((place, percent)) = place {
        (limit.place, limit.place_percent) = (Some(place), Some(percent));
    }
    limit.beside = beside;
    Some(limit)
}

fn is_asleep(thread: &ThreadTimes) -> bool {
    let ran_ns = thread.running_ns.saturating_add(thread.runnable_ns);
    ran_ns < thread.wall_ns / ASLEEP
}

/// A thread that works for so much of its time, in percent, is not idle, whatever others are.
const BUSY_PERCENT: u128 = 20;

fn is_busy(thread: &ThreadTimes) -> bool {
    let waited =
        thread.blocked_ns.iter().filter(|(why, _)| !IDLE.contains(&why.as_str()) && !NEUTRAL.contains(&why.as_str()));
    let active = u128::from(thread.running_ns)
        + u128::from(thread.runnable_ns)
        + waited.map(|(_, ns)| u128::from(*ns)).sum::<u128>();
    active * 100 >= u128::from(thread.wall_ns) * BUSY_PERCENT
}

/// Neither work nor a want of it.
const NEUTRAL: [&str; 3] = [CHILD, UNKNOWN, FUTEX];

fn is_active(sums: &BTreeMap<&str, u64>, idle_ns: u64) -> bool {
    let active: u128 = sums.values().map(|ns| u128::from(*ns)).sum();
    active > 0 && active * 100 >= (active + u128::from(idle_ns)) * ACTIVE_PERCENT
}

/// What threads did, by what, and for how long they were idle.
fn sum_up<'a>(
    threads: &[&'a ThreadTimes],
    own: &HashMap<(u32, u32, &str), u64>,
    signs: &HashMap<(u32, u32), u64>,
) -> (BTreeMap<&'a str, u64>, u64) {
    let (mut sums, mut idle_ns) = (BTreeMap::<&str, u64>::new(), 0_u64);
    for thread in threads {
        let ran = [(did_name(Did::Ran), thread.running_ns), (did_name(Did::WaitedForCpu), thread.runnable_ns)];
        let waited = thread.blocked_ns.iter().map(|(why, ns)| (why.as_str(), *ns));
        for (what, ns) in ran.into_iter().chain(waited) {
            match what {
                CHILD | UNKNOWN => {}
                FUTEX => {
                    let signs_ns = signs.get(&(thread.tgid, thread.tid)).copied().unwrap_or(0).min(ns);
                    add(&mut idle_ns, signs_ns);
                    add(sums.entry(FUTEX).or_default(), ns - signs_ns);
                }
                what if PEERS.contains(&what) => {
                    let own_ns = own.get(&(thread.tgid, thread.tid, what)).copied().unwrap_or(0);
                    add(sums.entry(what).or_default(), ns.saturating_sub(own_ns));
                }
                what if IDLE.contains(&what) => add(&mut idle_ns, ns),
                what => add(sums.entry(what).or_default(), ns),
            }
        }
    }
    (sums, idle_ns)
}

/// How long threads waited for signs of others: what those did until then tells more.
fn for_signs(profile: &Profile) -> HashMap<(u32, u32), u64> {
    let (mut signs, mut known) = (HashMap::<(u32, u32), u64>::new(), HashMap::<StackId, bool>::new());
    for sample in profile.series(EventKind::OffCpu.name()).iter().flat_map(|series| &series.samples) {
        let Some(thread) = profile.threads.get(sample.thread.0 as usize) else { continue };
        if *known.entry(sample.stack).or_insert_with(|| profile.awaits_sign(sample.stack)) {
            add(signs.entry((thread.tgid, thread.tid)).or_default(), sample.value);
        }
    }
    signs
}

/// How long threads waited for what others of these were to write, while those were at work: what they did tells more.
fn for_own<'a>(threads: &[ThreadTimes], wakes: &'a [WakeReport]) -> HashMap<(u32, u32, &'a str), u64> {
    let known: HashSet<u32> = threads.iter().map(|thread| thread.tid).collect();
    let is_own = |wake: &&WakeReport| {
        let tid = wake.waker.as_deref().and_then(|waker| waker.rsplit_once('(')?.1.strip_suffix(')'));
        PEERS.contains(&wake.why.as_str())
            && tid.and_then(|tid| tid.parse().ok()).is_some_and(|tid| known.contains(&tid))
    };
    let mut own: HashMap<_, u64> = HashMap::new();
    for wake in wakes.iter().filter(is_own) {
        let idle = wake.waker_waited_ns.iter().filter(|(why, _)| IDLE.contains(&why.as_str()));
        let idle_ns = total(idle.map(|(_, ns)| ns));
        let own = own.entry((wake.tgid, wake.tid, wake.why.as_str())).or_default();
        add(own, wake.waited_ns.saturating_sub(idle_ns));
    }
    own
}

/// The function of the program's own below which it ran most, and its share in percent.
fn ran(profile: &Profile) -> Option<(String, u64)> {
    let stacks = by_stack(profile.series(EventKind::Cpu.name())?, |_| true);
    let mut functions: BTreeMap<String, u64> = BTreeMap::new();
    for (stack, value) in &stacks {
        if let Some(place) = profile.place(*stack) {
            add(functions.entry(name(profile, place.own)).or_default(), *value);
        }
    }
    let (name, value) = functions.into_iter().max_by_key(|(_, value)| *value)?;
    Some((name, share(value, total(stacks.values()))))
}

/// The place where threads waited longest for this reason, and its share in percent.
fn waited(profile: &Profile, why: &str, known: &mut Places) -> Option<(String, u64)> {
    let series = profile.series(EventKind::OffCpu.name())?;
    let stacks = by_stack(series, |stack| profile.reason(stack) == Some(why));
    let place = places(profile, &stacks, known).into_iter().next()?;
    Some((place.label(), share(place.value, total(stacks.values()))))
}

/// The values of samples of these stacks.
fn by_stack(series: &Series, wanted: impl Fn(StackId) -> bool) -> HashMap<StackId, u64> {
    let mut stacks = HashMap::new();
    for sample in series.samples.iter().filter(|sample| wanted(sample.stack)) {
        add(stacks.entry(sample.stack).or_default(), sample.value);
    }
    stacks
}

fn add(sum: &mut u64, value: u64) {
    *sum = sum.saturating_add(value);
}

fn total<'a>(values: impl Iterator<Item = &'a u64>) -> u64 {
    values.fold(0, |sum, value| sum.saturating_add(*value))
}

/// What the disk or the peer did for waits of so long, most of them at this place.
fn beside(why: &str, ns: u64, place: &str, told: &Told<'_>) -> Option<String> {
    match why {
        DISK | FAULT => {
            let kinds = &told.block?.kinds;
            // Else it was a lock.
            if total(kinds.iter().map(|kind| &kind.whole.total_ns)) < ns / 2 {
                return None;
            }
            let wanted: &[&str] = match place {
                place if place.contains("sync") => &["flush", "write", "writeback"],
                place if place.contains("write") => &["write", "flush", "writeback"],
                _ => &["read"],
            };
            let kind = kinds.iter().find(|kind| wanted.contains(&kind.operation.as_str())).or(kinds.first())?;
            let queue = percent(kind.queue.total_ns, kind.whole.total_ns);
            let (p50, p99) = (duration(kind.whole.p50_ns), duration(kind.whole.p99_ns));
            Some(format!("{} takes {p50} (p50), {p99} (p99), {queue} of it in the queue", kind.label()))
        }
        why if PEERS.contains(&why) => told.files.and_then(peer),
        _ => None,
    }
}

/// The peer that takes longest, and how long.
fn peer(files: &FileCallsReport) -> Option<String> {
    let peer = files.peers.first().filter(|peer| peer.responses.count > 0)?;
    let of = &peer.responses.lengths;
    let (all, p50, p99) = (duration(of.total_ns), duration(of.p50_ns), duration(of.p99_ns));
    Some(format!("{} took {all} to answer: {p50} (p50), {p99} (p99)", peer.peer))
}

/// Who ran most while threads waited for a CPU.
fn taker(queue: &RunQueueReport) -> Option<String> {
    let mut takers: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for taker in &queue.takers {
        add(takers.entry((taker.taker_tgid, &taker.taker_comm)).or_default(), taker.taken_ns);
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
            let first =
                format!("nothing that shows: for {share} of their time ({of}) threads slept or waited for events");
            return [Some(first), self.beside.clone()].into_iter().flatten().collect();
        }
        let what = match self.what.as_str() {
            what if what == did_name(Did::Ran) => "the CPU".into(),
            what if what == did_name(Did::WaitedForCpu) => "waits for a CPU".to_owned(),
            DISK if self.beside.is_some() => "the disk".into(),
            what => format!("waits ({what})"),
        };
        let place = self.place.as_ref().zip(self.place_percent);
        let place = place.map(|(place, percent)| format!("{percent}% of that in {place}"));
        let first = format!("{what}, {share} of the {of} that threads were not idle");
        [Some(first), place, self.beside.clone()].into_iter().flatten().collect()
    }
}
