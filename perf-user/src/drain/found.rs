//! What was found of waits in a window, and the samples that come of it.

use std::collections::HashMap;

use perf_ebpf::{
    counters::Counter,
    sample::Key,
    sched::{Thread, WaitFilter, WaitKey, Waker, place},
};

use super::{
    RawKind, Tally,
    locks::{HeldUp, LockPlace},
};
use crate::collect::{Did, EventKind, RawSample, session::SessionOptions};

/// The fact that tells how much of the time is of waits whose stacks were not taken.
pub const SHARED_NS: &str = "stacks_shared_ns";

/// An interval off the CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    /// How long the thread was blocked and runnable in it, as far as windows have told.
    told: [u64; 2],
    pub(super) stacks: [u64; 3],
}

/// Waits of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) wait: WaitKey,
    /// Nanoseconds blocked and runnable in the window.
    pub(super) off: [u64; 2],
    /// Of waits that ended in the window, the nanoseconds blocked in them, also in windows before: while the waker was off the
    /// CPU itself, and else.
    pub(super) ended: [u64; 2],
    /// Of waits that have not ended when the recording does, the nanoseconds blocked in them.
    pub(super) open_ns: u64,
    pub(super) first_ns: u64,
}

impl Interval {
    /// For how long the thread was blocked and runnable in it, until `until_ns`, beyond what was told.
    pub(super) fn rest(&self, thread: &Thread, until_ns: u64) -> [u64; 2] {
        let whole = thread.off(until_ns);
        [whole[0].saturating_sub(self.told[0]), whole[1].saturating_sub(self.told[1])]
    }
}

/// What was found of a window.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) waits: Vec<Wait>,
    /// Who ended waits, by the ids that waits name.
    pub(super) wakers: HashMap<u64, Waker>,
    /// Time, by what threads did.
    pub(super) did: Vec<RawSample>,
    /// Nanoseconds in `waits` that the kernel half did not count.
    taken_ns: u64,
    /// Of the time in `waits`, that of waits in storms whose stacks were not taken.
    shared_ns: u64,
    pub(super) undecodable: u64,
    /// Intervals that have not ended and are wanted: who and where, since when, and how long blocked and runnable.
    pub(super) open: Vec<(Key, u64, [u64; 2])>,
    /// Threads that have waited for a lock for a while.
    pub(super) at_lock: Vec<HeldUp>,
    /// Which waits are wanted.
    filter: WaitFilter,
    /// The time of others that ended, or that have lasted until the recording ended.
    left_out_ns: u64,
    /// Whether no window follows.
    is_last: bool,
}

impl Found {
    /// Nothing yet, of waits that `filter` keeps, and of a window that may be the last one.
    pub(super) fn new(filter: WaitFilter, is_last: bool) -> Self {
        Self {
            waits: Vec::new(),
            wakers: HashMap::new(),
            did: Vec::new(),
            taken_ns: 0,
            shared_ns: 0,
            undecodable: 0,
            open: Vec::new(),
            at_lock: Vec::new(),
            filter,
            left_out_ns: 0,
            is_last,
        }
    }

    /// Adds what was not told `before` of an interval until `until_ns`, when it has `ended` or not, and gives what is told now.
    pub(super) fn interval(&mut self, thread: &Thread, until_ns: u64, before: Interval, ended: bool) -> Interval {
        let whole = thread.off(until_ns);
        let stacks = stacks_of(&thread.wait.key);
        let whole_ns = whole[0] + whole[1];
        if !self.filter.keeps(thread.wait.key.why, whole_ns) {
            // What is too short yet is told as a whole once it is not.
            self.left_out_ns += if ended || self.is_last { whole_ns } else { 0 };
            return Interval { told: [0; 2], stacks };
        }
        let off = before.rest(thread, until_ns);
        self.taken_ns += off.iter().sum::<u64>();
        if !ended {
            self.open.push((thread.wait.key, thread.off_ns, whole));
        }
        let waker_off_ns = thread.waker_off_ns.min(whole[0]);
        let open_ns = if !ended && self.is_last { whole[0] } else { 0 };
        let ended = if ended { [waker_off_ns, whole[0] - waker_off_ns] } else { [0; 2] };
        self.waits.push(Wait { wait: thread.wait, off, ended, open_ns, first_ns: thread.off_ns });
        Interval { told: [before.told[0] + off[0], before.told[1] + off[1]], stacks }
    }

    /// Gives the time of waits that had no stack taken to those that stand for them: of the same thread, for the same reason, at
    /// the same place, in proportion to their time. So a thread's times stay what they are, by reason and by waker.
    pub(super) fn share_out(&mut self) {
        let of = |wait: &WaitKey| (wait.key.tid, wait.key.why, place::of(wait.place));
        // By their stacks: their time, and when the first of them began, which is when its code was there.
        let mut own: HashMap<_, HashMap<Key, (u64, u64)>> = HashMap::new();
        let mut sampled = own.clone();
        for Wait { wait, off, first_ns, .. } in &self.waits {
            let standing = match place::how(wait.place) {
                place::How::Own => &mut own,
                place::How::Sampled => &mut sampled,
                place::How::Unknown | place::How::Skipped => continue,
            };
            let standing = standing.entry(of(wait)).or_default().entry(wait.key).or_insert((0, *first_ns));
            *standing = (standing.0 + off.iter().sum::<u64>(), standing.1.min(*first_ns));
        }
        let waits = std::mem::take(&mut self.waits);
        for wait in waits {
            if place::how(wait.wait.place) != place::How::Skipped {
                self.waits.push(wait);
                continue;
            }
            self.shared_ns += wait.off.iter().sum::<u64>();
            let of = of(&wait.wait);
            let standing = sampled.get(&of).or_else(|| own.get(&of));
            // One that began in an earlier window has the stacks that were taken last at its place.
            let Some(standing) = standing.filter(|_| stacks_of(&wait.wait.key) == [0; 3]) else {
                self.waits.push(wait);
                continue;
            };
            // Every one of them is worth something.
            let whole: u64 = standing.values().map(|(ns, _)| ns + 1).sum();
            let mut before = 0;
            for (key, &(ns, first_ns)) in standing {
                let part = |value: u64| scaled(value, before + ns + 1, whole) - scaled(value, before, whole);
                let (off, ended, open_ns) = (wait.off.map(part), wait.ended.map(part), part(wait.open_ns));
                self.waits.push(Wait { wait: WaitKey { key: *key, ..wait.wait }, off, ended, open_ns, first_ns });
                before += ns + 1;
            }
        }
    }

    /// As kinds of events of a window; what the kernel half counted of the first is still to be added. Samples name `wakers` and
    /// `locks`.
    pub(super) fn into_kinds(
        self,
        options: &SessionOptions,
        wakers: &mut Vec<Key>,
        locks: &mut Vec<LockPlace>,
    ) -> Vec<RawKind> {
        let Self { waits, wakers: known, did, taken_ns, shared_ns, undecodable, left_out_ns, .. } = self;
        let told: u64 = did.iter().map(|sample| sample.value).sum();
        let facts = vec![(SHARED_NS, shared_ns), (Counter::OffLeftOut.name(), left_out_ns)];
        let samples = off(&waits);
        let tally = Tally { taken: taken_ns, facts, ..Tally::default() };
        let off = RawKind { samples, undecodable, tally, ..RawKind::new(EventKind::OffCpu) };
        let all = |taken| Tally { taken, ..Tally::default() };
        let did = RawKind { samples: did, tally: all(told), ..RawKind::new(EventKind::Sched) };
        let mut wakers = NamedWakers::new(&known, wakers);
        let samples = off_wake(&waits, &mut wakers);
        let taken = samples.iter().map(|sample| sample.value).sum();
        let wake = RawKind { samples, tally: all(taken), ..RawKind::new(EventKind::OffWake) };
        let samples = if options.records(EventKind::Locks) { at_locks(&waits, &mut wakers, locks) } else { Vec::new() };
        let taken = samples.iter().map(|sample| sample.value).sum();
        let locks = RawKind { samples, tally: all(taken), ..RawKind::new(EventKind::Locks) };
        [off, did, wake, locks].into_iter().filter(|kind| options.records(kind.kind)).collect()
    }
}

/// Where and why threads waited, whoever ended it.
fn off(waits: &[Wait]) -> Vec<RawSample> {
    let mut sums: HashMap<&Key, ([u64; 2], u64)> = HashMap::new();
    for wait in waits {
        let (sum, first_ns) = sums.entry(&wait.wait.key).or_insert(([0; 2], wait.first_ns));
        *sum = [sum[0] + wait.off[0], sum[1] + wait.off[1]];
        *first_ns = wait.first_ns.min(*first_ns);
    }
    let mut samples = Vec::with_capacity(sums.len());
    for (key, ([blocked_ns, runnable_ns], first_ns)) in sums {
        for (did, value) in [(Did::Waited(key.why), blocked_ns), (Did::WaitedForCpu, runnable_ns)] {
            if value > 0 {
                samples.push(RawSample::of(key, Some(did), value, first_ns));
            }
        }
    }
    samples
}

/// Who ended waits, each put once into what samples name by its index.
struct NamedWakers<'a> {
    known: &'a HashMap<u64, Waker>,
    named: &'a mut Vec<Key>,
    /// Of those that were put there, as they woke others or as they had waited themselves.
    indices: HashMap<(u64, bool), u32>,
}

impl<'a> NamedWakers<'a> {
    fn new(known: &'a HashMap<u64, Waker>, named: &'a mut Vec<Key>) -> Self {
        Self { known, named, indices: HashMap::new() }
    }

    /// The waker of this id, where it woke another, or where it had `waited` itself; `None` if nothing is known of it.
    fn index(&mut self, id: u64, waited: bool) -> Option<u32> {
        let Waker { key, waited_stack, waited_python } = *self.known.get(&id)?;
        let named = &mut *self.named;
        Some(*self.indices.entry((id, waited)).or_insert_with(|| {
            let there = Key { user_stack: waited_stack, kernel_stack: 0, python_stack: waited_python, ..key };
            named.push(if waited { there } else { key });
            (named.len() - 1) as u32
        }))
    }

    /// What it had waited for itself.
    fn waited(&self, id: u64) -> Option<Did> {
        self.known.get(&id).map(|found| Did::Waited(found.key.why))
    }
}

/// Waits that ended, with who ended them.
fn off_wake(waits: &[Wait], wakers: &mut NamedWakers<'_>) -> Vec<RawSample> {
    let mut samples = Vec::new();
    for Wait { wait: WaitKey { key, waker, .. }, ended, first_ns, .. } in waits {
        let index = wakers.index(*waker, false);
        for (value, waker_did) in ended.iter().zip([wakers.waited(*waker), None]) {
            if *value > 0 {
                let sample = RawSample::of(key, Some(Did::Waited(key.why)), *value, *first_ns);
                samples.push(RawSample { waker: index, waker_did, ..sample });
            }
        }
    }
    samples
}

/// Waits for locks, each whole in the window in which it ended, or the recording did: with who had the lock, and where that thread
/// was: where it woke the other, and where it had waited itself meanwhile.
fn at_locks(waits: &[Wait], wakers: &mut NamedWakers<'_>, locks: &mut Vec<LockPlace>) -> Vec<RawSample> {
    let mut places: HashMap<LockPlace, u32> = HashMap::new();
    let mut samples = Vec::new();
    for Wait { wait, ended, open_ns, first_ns, .. } in waits.iter().filter(|wait| wait.wait.lock != 0) {
        let WaitKey { key, waker, lock, owner, how, .. } = wait;
        let place = LockPlace { tgid: key.tgid, lock: *lock, owner: *owner, how: *how };
        let place = *places.entry(place).or_insert_with(|| {
            locks.push(place);
            (locks.len() - 1) as u32
        });
        let parts = [
            (ended[0], wakers.index(*waker, true), wakers.waited(*waker)),
            (ended[1], wakers.index(*waker, false), None),
            (*open_ns, None, None),
        ];
        for (value, waker, waker_did) in parts.into_iter().filter(|(value, ..)| *value > 0) {
            let sample = RawSample::of(key, Some(Did::Waited(key.why)), value, *first_ns);
            samples.push(RawSample { lock: Some(place), waker, waker_did, ..sample });
        }
    }
    samples
}

/// So many `parts` of a whole that is `value`.
fn scaled(value: u64, parts: u64, whole: u64) -> u64 {
    (u128::from(value) * u128::from(parts) / u128::from(whole)) as u64
}

pub(super) fn stacks_of(key: &Key) -> [u64; 3] {
    [key.user_stack, key.kernel_stack, key.python_stack]
}

/// The stacks of who ended a wait.
pub(super) fn stacks_of_waker(waker: &Waker) -> [u64; 5] {
    let [user, kernel, python] = stacks_of(&waker.key);
    [user, kernel, python, waker.waited_stack, waker.waited_python]
}

#[cfg(test)]
mod tests {
    use perf_ebpf::sched::{State, place::How};

    use super::*;

    fn wait(user_stack: u64, how: How, waker: u64, blocked_ns: u64) -> Wait {
        let key = Key { tid: 7, why: 1, user_stack, ..Key::default() };
        let wait = WaitKey { key, place: place::with(0x1000, how), waker, ..WaitKey::default() };
        Wait { wait, off: [blocked_ns, blocked_ns / 10], ended: [0, blocked_ns], open_ns: 0, first_ns: 5 }
    }

    fn blocked_in(found: &Found, user_stack: u64) -> u64 {
        let there = found.waits.iter().filter(|wait| wait.wait.key.user_stack == user_stack);
        there.map(|wait| wait.off[0]).sum()
    }

    #[test]
    fn skipped_waits_go_to_the_sampled_ones_in_proportion() {
        let waits = vec![
            wait(1, How::Own, 9, 5_000),
            wait(2, How::Sampled, 9, 300),
            wait(3, How::Sampled, 8, 100),
            Wait { first_ns: 1, ..wait(0, How::Skipped, 9, 40_001) },
        ];
        let mut found = Found { waits, ..Found::new(WaitFilter::ALL, false) };
        found.share_out();
        let [own, longer, shorter] = [1, 2, 3].map(|stack| blocked_in(&found, stack));
        assert_eq!(own + longer + shorter, 45_401, "nothing is lost to rounding");
        assert_eq!(own, 5_000, "what was taken for itself stands for itself");
        assert!(longer.abs_diff(30_300) < 200 && shorter.abs_diff(10_100) < 200, "{longer} {shorter}");
        assert_eq!(found.shared_ns, 44_001);
        assert!(found.waits.iter().all(|wait| wait.first_ns == 5), "code that was there then may not have been before");
        // Who ended them is known of each.
        let ended_by_9: u64 =
            found.waits.iter().filter(|wait| wait.wait.waker == 9).map(|wait| wait.ended.iter().sum::<u64>()).sum();
        assert_eq!(ended_by_9, 5_000 + 300 + 40_001);
    }

    #[test]
    fn without_a_sampled_one_they_go_to_those_at_the_same_place() {
        let mut found = Found {
            waits: vec![wait(1, How::Own, 0, 10), wait(0, How::Skipped, 0, 90)],
            ..Found::new(WaitFilter::ALL, false)
        };
        found.share_out();
        assert_eq!((blocked_in(&found, 1), blocked_in(&found, 0)), (100, 0));
        let elsewhere = Wait {
            wait: WaitKey { place: place::with(0x2000, How::Own), ..wait(1, How::Own, 0, 10).wait },
            ..wait(1, How::Own, 0, 10)
        };
        let mut found =
            Found { waits: vec![elsewhere, wait(0, How::Skipped, 0, 90)], ..Found::new(WaitFilter::ALL, false) };
        found.share_out();
        assert_eq!((blocked_in(&found, 1), blocked_in(&found, 0)), (10, 90), "of another place nothing is known");
    }

    #[test]
    fn a_long_one_keeps_the_stacks_it_knows() {
        let waits = vec![wait(2, How::Sampled, 0, 300), wait(3, How::Skipped, 0, 1_000)];
        let mut found = Found { waits, ..Found::new(WaitFilter::ALL, false) };
        found.share_out();
        assert_eq!((blocked_in(&found, 2), blocked_in(&found, 3)), (300, 1_000));
    }

    #[test]
    fn waits_have_their_wakers_and_what_those_waited_for() {
        let waker = Waker { key: Key { tid: 9, why: 4, ..Key::default() }, ..Waker::default() };
        let known = HashMap::from([(9, waker)]);
        let mut wakers = Vec::new();
        let waits = [Wait { ended: [70, 30], ..wait(1, How::Own, 9, 100) }, wait(1, How::Own, 5, 40)];
        let samples = off_wake(&waits, &mut NamedWakers::new(&known, &mut wakers));
        let told: Vec<_> = samples.iter().map(|sample| (sample.value, sample.waker, sample.waker_did)).collect();
        assert_eq!(told, [(70, Some(0), Some(Did::Waited(4))), (30, Some(0), None), (40, None, None)]);
        assert_eq!(wakers, [waker.key]);
        let off = off(&waits);
        assert_eq!(off.iter().map(|sample| sample.value).sum::<u64>(), 100 + 10 + 40 + 4);
    }

    #[test]
    fn waits_for_locks_have_who_had_it_and_where_that_was() {
        let key = Key { tid: 9, why: 4, user_stack: 70, kernel_stack: 71, ..Key::default() };
        let known = HashMap::from([(9, Waker { key, waited_stack: 80, waited_python: 0 })]);
        let at = |wait: Wait, owner| Wait { wait: WaitKey { lock: 0x1000, owner, ..wait.wait }, ..wait };
        let waits = [
            at(Wait { ended: [70, 30], ..wait(1, How::Own, 9, 100) }, 9),
            at(Wait { ended: [0; 2], open_ns: 500, ..wait(1, How::Own, 0, 100) }, 8),
            wait(1, How::Own, 9, 100),
        ];
        let (mut wakers, mut locks) = (Vec::new(), Vec::new());
        let samples = at_locks(&waits, &mut NamedWakers::new(&known, &mut wakers), &mut locks);
        let told: Vec<_> = samples.iter().map(|sample| (sample.value, sample.lock, sample.waker)).collect();
        assert_eq!(told, [(70, Some(0), Some(0)), (30, Some(0), Some(1)), (500, Some(1), None)]);
        assert_eq!(locks.iter().map(|place| place.owner).collect::<Vec<_>>(), [9, 8]);
        assert_eq!(wakers.iter().map(|key| key.user_stack).collect::<Vec<_>>(), [80, 70]);
        assert_eq!(samples[0].waker_did, Some(Did::Waited(4)));
    }

    #[test]
    fn what_is_not_wanted_is_told_once_when_it_ends_or_the_recording_does() {
        let thread = Thread { off_ns: 100, since_ns: 100, state: State::Blocked as u32, ..Thread::default() };
        let left_out_ns = |is_last, ended| {
            let mut found = Found::new(WaitFilter { min_ns: 5_000, ..WaitFilter::ALL }, is_last);
            found.interval(&thread, 1_100, Interval::default(), ended);
            assert!(found.waits.is_empty());
            found.left_out_ns
        };
        assert_eq!([left_out_ns(false, false), left_out_ns(false, true), left_out_ns(true, false)], [0, 1_000, 1_000]);
    }
}
