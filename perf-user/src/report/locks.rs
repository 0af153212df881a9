//! Locks: which, who waits for them, who has them, and what that thread does meanwhile.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use perf_ebpf::counters::Counter;
use serde::Serialize;

use super::{ReportOptions, ThreadTimes, WaitReport, places::label_of};
use crate::{
    collect::EventKind,
    profile::{FrameId, Lock, LockKind, Profile, StringId},
};

mod deadlocks;
mod known;
#[cfg(test)]
mod tests;
mod text;

use known::{KnownWaits, known_waits};

pub use deadlocks::{DeadlockReport, DeadlockedReport};

/// What is known of locks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LocksReport {
    /// Locks, that first for which threads waited longest.
    pub locks: Vec<LockReport>,
    /// How many more there are.
    #[serde(rename = "locks_omitted")]
    pub omitted: usize,
    /// Waits at futexes that are for no lock: for signs, for all others to come, for a thread's end.
    pub no_locks: Vec<WaitReport>,
    /// Threads that wait for one another for ever.
    pub deadlocks: Vec<DeadlockReport>,
    /// How long threads waited for locks, how many did, and how long these lived.
    #[serde(skip)]
    pub waited: (u64, usize, u64),
    /// Times that something happened at a lock that there was no room for.
    #[serde(rename = "locks_full")]
    pub full: u64,
}

/// A lock.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LockReport {
    /// The process and the address, or the function that waits where the address is not the lock's own.
    pub id: String,
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// What lies there, or the function.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// How often threads waited for it, of waits that ended, and how long these were; absent where the address is not its own.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedWaits>,
    /// How long threads waited for it, also those that still do.
    pub wait_ns: u64,
    /// Of that, the time of waits that ended because they had lasted long enough.
    pub timeout_ns: u64,
    /// Where they waited, the longest first.
    pub waiters: Vec<WaiterReport>,
    /// How many more such stacks there are.
    pub waiters_omitted: usize,
    /// Who had it, the longest first.
    pub holders: Vec<HolderReport>,
    /// How many more there are.
    pub holders_omitted: usize,
    /// How many times as fast those who waited for it had been at most, had they never: an upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speedup_at_most: Option<f64>,
}

impl LockReport {
    /// What it is, and what lies there: `mutex cache_lock in server`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// Waits for a lock, counted one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CountedWaits {
    /// How many ended.
    pub waits: u64,
    /// What half of them did not exceed, within 12 %.
    pub p50_ns: u64,
    /// And 90 of 100.
    pub p90_ns: u64,
    /// And 99 of 100.
    pub p99_ns: u64,
    /// The longest.
    pub max_wait_ns: u64,
    /// How many threads waited at once, at most.
    pub most_waiting: u64,
    /// For how long at least one waited, as far as that ended.
    pub contended_ns: u64,
    /// Wake-ups after which others still waited.
    pub handed_on: u64,
    /// Times of which it is known for how long a thread had it: from when it ran after a wait for it until it woke another.
    pub holds: u64,
    /// In all.
    pub hold_ns: u64,
    /// The longest.
    pub hold_max_ns: u64,
    /// Whether it was handed on again and again, and somebody always waited.
    pub convoy: bool,
}

/// A stack that waits for a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WaiterReport {
    /// The function of the program in which that is, and what it called for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its functions, outermost first.
    pub stack: Vec<String>,
    /// How long threads waited there.
    pub wait_ns: u64,
}

/// A thread that had a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HolderReport {
    /// The thread.
    pub tid: u32,
    /// `name (tid)`.
    pub thread: String,
    /// Whether that is concluded from its having ended waits for a lock that does not say who has it.
    pub inferred: bool,
    /// Why it waited itself; absent if it ran, or could have, or that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited: Option<String>,
    /// The function of the program in which it did that; else in which it let go of the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The functions there, outermost first; none if that is not known.
    pub stack: Vec<String>,
    /// How long others waited for it.
    pub blamed_ns: u64,
}

/// What is summed up of a lock.
#[derive(Default)]
struct Sum<'a> {
    name: &'a str,
    tells_owner: bool,
    wait_ns: u64,
    timeout_ns: u64,
    waiters: HashMap<Vec<FrameId>, u64>,
    /// Who has it of whom waits still.
    owners: HashMap<(u32, &'a str), u64>,
    holders: HashMap<Holder<'a>, u64>,
    /// By thread: how long it waited for this lock.
    threads: HashMap<u32, u64>,
    /// Of that, while its holder waited for one.
    in_turn: HashMap<u32, u64>,
}

/// Who had a lock: the thread and its name, why it waited itself, and its stack.
type Holder<'a> = (u32, StringId, Option<&'a str>, Vec<FrameId>);

/// A lock by its process, its address, the function that waits for it where that is not its own, and what it is.
type LockId = (u32, u64, String, LockKind);

/// `None` if it was not recorded.
pub(super) fn locks(profile: &Profile, threads: &[ThreadTimes], options: &ReportOptions) -> Option<LocksReport> {
    let series = profile.series(EventKind::Locks.name())?;
    let known = known_waits(profile, series);
    let mut sums: HashMap<LockId, Sum<'_>> = HashMap::new();
    let mut no_locks: BTreeMap<&str, u64> = BTreeMap::new();
    let mut processes: HashMap<u32, &str> = HashMap::new();
    let mut waiting: BTreeSet<u32> = BTreeSet::new();
    let mut shared: HashMap<&String, u32> = HashMap::new();
    // Of each futex, the locks that it was waited at for, and what else.
    let mut futexes: HashMap<(u32, u64), HashMap<LockId, u64>> = HashMap::new();
    // Waits of threads for locks whose holders waited for one meanwhile.
    let mut in_turn: HashMap<u32, u64> = HashMap::new();
    let mut total = 0;
    for sample in &series.samples {
        let Some(thread) = profile.threads.get(sample.thread.0 as usize) else { continue };
        let Some((wait, place)) = known.get(&(thread.tgid, sample.stack)) else { continue };
        if !wait.kind.is_lock() {
            *no_locks.entry(wait.kind.name()).or_default() += sample.value;
            let other = (thread.tgid, 0, String::new(), wait.kind);
            *futexes.entry((thread.tgid, wait.address)).or_default().entry(other).or_default() += sample.value;
            continue;
        }
        processes.insert(thread.tgid, profile.strings.get(thread.process));
        waiting.insert(thread.tid);
        total += sample.value;
        let address = if wait.at_lock { wait.address } else { 0 };
        // What processes share is told once, under the first of them.
        let tgid = match wait.kind {
            LockKind::LwLock => *shared.entry(place).or_insert(thread.tgid),
            _ => thread.tgid,
        };
        let id = (tgid, address, place.clone(), wait.kind);
        *futexes.entry((thread.tgid, wait.address)).or_default().entry(id.clone()).or_default() += sample.value;
        let sum = sums.entry(id).or_default();
        sum.name = wait.name;
        sum.tells_owner |= wait.tells_owner;
        sum.wait_ns += sample.value;
        sum.timeout_ns += if wait.is_timeout { sample.value } else { 0 };
        *sum.waiters.entry(wait.stack.clone()).or_default() += sample.value;
        *sum.threads.entry(thread.tid).or_default() += sample.value;
        if let Some(owner) = wait.owner {
            *sum.owners.entry(owner).or_default() += sample.value;
        }
        if wait.waker_waited == Some("futex") {
            *in_turn.entry(thread.tid).or_default() += sample.value;
            *sum.in_turn.entry(thread.tid).or_default() += sample.value;
        }
    }
    let most_of = |of: &HashMap<LockId, u64>| of.iter().max_by_key(|(id, ns)| (**ns, *id)).map(|(id, _)| id.clone());
    for sample in profile.series(EventKind::Holders.name()).map_or(&[][..], |series| &series.samples) {
        let Some(thread) = profile.threads.get(sample.thread.0 as usize) else { continue };
        let Some(hold) = profile.lock_hold(sample) else { continue };
        let Some(id) = futexes.get(&(hold.tgid, hold.address)).and_then(most_of) else { continue };
        // Threads of parking_lot wait at one futex for whatever they wait for.
        let Some(sum) = sums.get_mut(&id) else { continue };
        let holder = (thread.tid, thread.comm, hold.waited, hold.stack);
        *sum.holders.entry(holder).or_default() += sample.value;
    }
    // A semaphore that nobody has posted is waited at for a sign, as far as can be told.
    sums.retain(|(.., kind), sum| {
        let is_sign = *kind == LockKind::Semaphore && sum.holders.is_empty();
        if is_sign {
            *no_locks.entry(kind.name()).or_default() += sum.wait_ns;
            total -= sum.wait_ns;
            sum.threads.keys().for_each(|tid| _ = waiting.remove(tid));
        }
        !is_sign
    });
    let most = options.top.unwrap_or(usize::MAX);
    let mut ranked: Vec<_> = sums.into_iter().collect();
    ranked.sort_by(|a, b| (Reverse(a.1.wait_ns), &a.0).cmp(&(Reverse(b.1.wait_ns), &b.0)));
    let omitted = ranked.len().saturating_sub(most);
    // Waits are counted by futex: of each lock those where threads wait for nothing else.
    let mut counts: HashMap<LockId, Option<Lock>> = HashMap::new();
    for (futex, of) in &futexes {
        let none = Lock::default();
        let lock = (of.len() == 1).then(|| profile.locks.sums.get(futex).unwrap_or(&none));
        for id in of.keys() {
            let sum = counts.entry(id.clone()).or_insert_with(|| Some(Lock::default()));
            *sum = sum.take().zip(lock).map(|(sum, lock)| sum.with(lock, id.1 != 0));
        }
    }
    let told = ranked.into_iter().take(most).map(|(id, sum)| {
        let counted_waits = counts.get(&id).and_then(Option::as_ref).filter(|lock| lock.waits.count > 0);
        LockReport {
            counted: counted_waits.map(|lock| counted(profile, lock)),
            process: processes.get(&id.0).copied().unwrap_or_default().to_owned(),
            // Of waits that never ended nobody knows what would be behind them.
            speedup_at_most: counted_waits
                .filter(|_| id.3 != LockKind::LwLock)
                .and_then(|_| speedup(profile, threads, id.0, &sum, &in_turn)),
            ..lock(profile, id, sum, most)
        }
    });
    let mut no_locks: Vec<WaitReport> =
        no_locks.into_iter().map(|(why, value)| WaitReport { why: why.into(), value }).collect();
    no_locks.sort_by_key(|wait| Reverse(wait.value));
    let full = series.counters.get(Counter::LocksMissed.name()).copied().unwrap_or(0);
    let locks = told.collect();
    let deadlocks = deadlocks::deadlocks(profile, &known);
    let lived_ns = threads.iter().filter(|thread| waiting.contains(&thread.tid)).map(|thread| thread.wall_ns).sum();
    Some(LocksReport { locks, omitted, no_locks, deadlocks, waited: (total, waiting.len(), lived_ns), full })
}

fn lock(profile: &Profile, (tgid, address, place, kind): LockId, sum: Sum<'_>, most: usize) -> LockReport {
    let is_own = address != 0;
    let (id, name) = match is_own {
        true => (format!("{tgid}:{address:#x}"), sum.name.to_owned()),
        false => (format!("{tgid}:{place}"), place),
    };
    let names = |stack: &[FrameId]| stack.iter().map(|id| profile.frame_label(*id)).collect::<Vec<_>>();
    let mut waiters: BTreeMap<Vec<String>, WaiterReport> = BTreeMap::new();
    for (stack, wait_ns) in sum.waiters {
        let label = || WaiterReport { place: label_of(profile, &stack), stack: names(&stack), wait_ns: 0 };
        waiters.entry(names(&stack)).or_insert_with(label).wait_ns += wait_ns;
    }
    let mut waiters: Vec<WaiterReport> = waiters.into_values().collect();
    waiters.sort_by(|a, b| (Reverse(a.wait_ns), &a.stack).cmp(&(Reverse(b.wait_ns), &b.stack)));
    let mut holders: BTreeMap<(u32, Option<&str>, Vec<String>), HolderReport> = BTreeMap::new();
    for ((tid, comm, waited, stack), blamed_ns) in sum.holders {
        let told = holders.entry((tid, waited, names(&stack))).or_insert_with(|| HolderReport {
            tid,
            thread: format!("{} ({tid})", profile.strings.get(comm)),
            inferred: !sum.tells_owner,
            waited: waited.map(str::to_owned),
            place: label_of(profile, &stack),
            stack: names(&stack),
            blamed_ns: 0,
        });
        told.blamed_ns += blamed_ns;
    }
    let mut holders: Vec<HolderReport> = holders.into_values().collect();
    for ((tid, owner), blamed_ns) in sum.owners {
        holders.push(HolderReport { tid, thread: owner.to_owned(), blamed_ns, ..HolderReport::default() });
    }
    holders.sort_by(|a, b| (Reverse(a.blamed_ns), a.tid, &a.stack).cmp(&(Reverse(b.blamed_ns), b.tid, &b.stack)));
    let (waiters_omitted, holders_omitted) = (waiters.len().saturating_sub(most), holders.len().saturating_sub(most));
    waiters.truncate(most);
    holders.truncate(most);
    LockReport {
        id,
        tgid,
        name,
        kind: kind.name(),
        wait_ns: sum.wait_ns,
        timeout_ns: sum.timeout_ns,
        waiters,
        waiters_omitted,
        holders,
        holders_omitted,
        ..LockReport::default()
    }
}

fn counted(profile: &Profile, lock: &Lock) -> CountedWaits {
    let of = |share| lock.waits.quantile_ns(share);
    let is_most = |part: u64, whole: u64| u128::from(part) * 100 >= u128::from(whole) * u128::from(CONVOY_PERCENT);
    let convoy = lock.waits.count >= CONVOY_WAITS
        && is_most(lock.handed_on, lock.waits.count)
        && is_most(lock.contended_ns, profile.covered_ns());
    CountedWaits {
        waits: lock.waits.count,
        p50_ns: of(0.5),
        p90_ns: of(0.9),
        p99_ns: of(0.99),
        max_wait_ns: lock.waits.max_ns,
        most_waiting: lock.most_waiting,
        contended_ns: lock.contended_ns,
        handed_on: lock.handed_on,
        holds: lock.holds,
        hold_ns: lock.hold_ns,
        hold_max_ns: lock.hold_max_ns,
        convoy,
    }
}

/// Of a lock at which fewer waited nothing is concluded.
const CONVOY_WAITS: u64 = 100;

/// A lock that is handed on to one of several who wait, in so many of a hundred wake-ups and of the time, is a convoy.
const CONVOY_PERCENT: u64 = 80;

/// How many times as fast threads that waited for a lock had been at most, had they not: each had done in that time what it did
/// else, and all of the process what they did on the CPUs that there are. What they waited for others who waited for a lock themselves is
/// left out, too. `None` where it is not known what threads did.
fn speedup(
    profile: &Profile,
    threads: &[ThreadTimes],
    tgid: u32,
    sum: &Sum<'_>,
    in_turn: &HashMap<u32, u64>,
) -> Option<f64> {
    let of_process = || threads.iter().filter(|thread| thread.tgid == tgid);
    let waited = |thread: &&ThreadTimes| sum.threads.contains_key(&thread.tid);
    let before_ns = of_process().filter(waited).map(|thread| thread.wall_ns).max()?;
    let rest = |thread: &ThreadTimes| {
        let of = |sums: &HashMap<u32, u64>| sums.get(&thread.tid).copied().unwrap_or(0);
        let (own, other) = (of(&sum.threads), of(in_turn).saturating_sub(of(&sum.in_turn)));
        thread.wall_ns.saturating_sub(own.saturating_add(other))
    };
    let rest_ns = of_process().filter(waited).map(rest).max()?;
    let ran_ns: u64 = of_process().map(|thread| thread.running_ns).sum();
    let after_ns = rest_ns.max(ran_ns / u64::from(profile.recording.cpus.max(1))).max(1);
    Some((before_ns as f64 / after_ns as f64).max(1.0))
}
