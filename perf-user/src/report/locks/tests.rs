//! What is said of locks, of recordings made up.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use perf_ebpf::{
    histogram::bucket,
    lock::{OwnerAt, how},
};

use std::fmt::{self, Formatter};

use super::*;
use crate::{
    collect::NANOSECONDS,
    profile::{Deadlocked, Frame, FrameKind, Lengths, Lock, Sample, Series, StackId, Thread, ThreadIndex},
};

/// A frame: its function, its module, its kind and its address.
type Place = (&'static str, &'static str, FrameKind, u64);

const MAIN: Place = ("main", "/bin/server", FrameKind::User, 0);
const SERVE: Place = ("serve", "/bin/server", FrameKind::User, 0);
const MUTEX: Place = ("pthread_mutex_lock", "/lib/libc.so.6", FrameKind::User, 0);
const CONDITION: Place = ("pthread_cond_wait", "/lib/libc.so.6", FrameKind::User, 0);
const RUST: Place = ("std::sys::sync::mutex::futex::Mutex::lock_contended", "/bin/server", FrameKind::User, 0);
const PARKING_LOT: Place = ("parking_lot::raw_mutex::RawMutex::lock_slow", "/bin/server", FrameKind::User, 0);
const FUTEX: Place = ("futex", "[scheduler]", FrameKind::Wait, 0);
const LOCK: Place = ("cache_lock in server", "cache_lock in server", FrameKind::Wait, 0x1000);
const WAKER: Place = ("woken by b (2)", "woken by b (2)", FrameKind::Waker, 0);
const FSYNC: Place = ("fsync", "/lib/libc.so.6", FrameKind::User, 0);
const DISK: Place = ("disk", "[scheduler]", FrameKind::Wait, 1);
const RAN: Place = ("running", "[scheduler]", FrameKind::Wait, 2);
const PROCESS: Place = ("of process 1", "of process 1", FrameKind::Wait, 1);
const OTHER: Place = ("other in server", "other in server", FrameKind::Wait, 0x2000);
const TIMER: Place = ("hrtimer_wakeup", "[kernel]", FrameKind::Kernel, 0);

fn owner(at: OwnerAt) -> Place {
    ("held by a ) (3)", "held by a ) (3)", FrameKind::Wait, u64::from(how(128, at as u32)) << 32 | 3)
}

/// A profile of waits of thread 1, with these stacks and times, and of what thread 2 did that had the locks.
fn profile(waits: &[(Vec<Place>, u64)], holds: &[(Vec<Place>, u64)]) -> Profile {
    let mut profile = Profile::default();
    let [comm, other, process] = ["a", "b", "server"].map(|name| profile.strings.intern(name));
    profile.threads.extend([(1, comm), (2, other)].map(|(tid, comm)| Thread { tgid: 1, tid, comm, process }));
    for (kind, samples, thread) in [(EventKind::Locks, waits, 0), (EventKind::Holders, holds, 1)] {
        let event = kind.name().into();
        let samples = samples.iter().map(|(places, value)| {
            let stack = places.iter().fold(StackId::EMPTY, |caller, place| push(&mut profile, caller, place));
            Sample { window_ns: 0, thread: ThreadIndex(thread), stack, value: *value }
        });
        let samples = samples.collect();
        profile.series.push(Series { event, unit: NANOSECONDS.into(), samples, ..Series::default() });
    }
    profile
}

fn push(profile: &mut Profile, caller: StackId, (function, module, kind, address): &Place) -> StackId {
    let [function, module, file] = [function, module, &""].map(|text| profile.strings.intern(text));
    let frame = Frame { function, module, file, line: 0, kind: *kind, symbolized: true, address: *address };
    profile.frames.push(frame);
    profile.stacks.push(caller, FrameId(profile.frames.len() as u32 - 1))
}

fn report_of(waits: &[(Vec<Place>, u64)], holds: &[(Vec<Place>, u64)]) -> LocksReport {
    locks(&profile(waits, holds), &[], &ReportOptions { top: None }).unwrap()
}

#[test]
fn closures_and_semaphores_that_nobody_posts_are_no_locks() {
    const CLOSURE: Place = ("core::ops::function::FnOnce::call_once", "/bin/server", FrameKind::User, 0);
    const ONCE: Place = ("call_once", "/lib/libc.so.6", FrameKind::User, 0);
    const CHANNEL: Place = ("<std::sync::mpmc::list::Channel<T>>::recv", "/bin/server", FrameKind::User, 0);
    const SEMAPHORE: Place = ("sem_wait", "/lib/libc.so.6", FrameKind::User, 0);
    let kind = |places: &[Place]| {
        let stack = [&[MAIN], places, &[FUTEX, LOCK]].concat();
        report_of(&[(stack, 100)], &[]).locks.first().map(|lock| lock.kind)
    };
    assert_eq!(kind(&[CLOSURE, ONCE]), Some("once"));
    assert_ne!(kind(&[CLOSURE]), Some("once"), "it is a call, not a wait");
    assert_eq!(kind(&[CLOSURE, CHANNEL]), None, "who waits for a message wants no lock");
    let waits = [(vec![MAIN, SEMAPHORE, FUTEX, LOCK], 100)];
    let (nobody, holds) = (report_of(&waits, &[]), [(vec![MAIN, RAN, LOCK, PROCESS], 100)]);
    assert_eq!((nobody.locks.len(), nobody.no_locks[0].value, nobody.waited.0), (0, 100, 0));
    assert_eq!(report_of(&waits, &holds).locks[0].kind, "semaphore", "somebody posts it");
}

#[test]
fn who_has_a_lock_is_believed_where_such_a_lock_says_so() {
    let of = |lock, at| {
        let report = report_of(&[(vec![MAIN, SERVE, lock, FUTEX, LOCK, owner(at)], 100)], &[]);
        report.locks[0].holders.first().map(|holder| (holder.tid, holder.inferred, holder.blamed_ns))
    };
    assert_eq!(of(MUTEX, OwnerAt::Mutex), Some((3, false, 100)));
    assert_eq!(of(MUTEX, OwnerAt::Word), Some((3, false, 100)));
    assert_eq!(of(MUTEX, OwnerAt::Readers), None, "no mutex has it there");
    assert_eq!(of(RUST, OwnerAt::Mutex), None, "what lies there is anything");
}

#[test]
fn holders_are_told_with_what_they_did() {
    let held = [(vec![MAIN, FSYNC, DISK, LOCK, PROCESS], 700), (vec![MAIN, SERVE, RAN, LOCK, PROCESS], 300)];
    for (made, inferred) in [(MUTEX, false), (RUST, true)] {
        let report = report_of(&[(vec![MAIN, SERVE, made, FUTEX, LOCK, WAKER], 1_000)], &held);
        let told: Vec<_> = report.locks[0].holders.iter().collect();
        assert_eq!((told[0].tid, told[0].thread.as_str(), told[0].inferred), (2, "b (2)", inferred));
        assert_eq!((told[0].waited.as_deref(), told[0].blamed_ns), (Some("disk"), 700));
        assert_eq!((told[1].waited.as_deref(), told[1].stack.as_slice()), (None, &["main".into(), "serve".into()][..]));
    }
}

#[test]
fn a_stack_that_does_not_tell_is_of_what_others_wait_for_there() {
    let waits = [(vec![MUTEX, FUTEX, LOCK], 10), (vec![SERVE, FUTEX, LOCK], 90), (vec![SERVE, FUTEX, OTHER], 5)];
    let report = report_of(&waits, &[]);
    let told: Vec<_> = report.locks.iter().map(|lock| (lock.kind, lock.wait_ns)).collect();
    assert_eq!(told, [("mutex", 100), ("futex", 5)]);
    let signs = [(vec![CONDITION, FUTEX, LOCK], 10), (vec![SERVE, FUTEX, LOCK], 90)];
    assert!(report_of(&signs, &[]).locks.is_empty());
}

#[test]
fn waits_are_for_locks_by_kind_and_signs_are_none() {
    let waits = [
        (vec![MAIN, SERVE, MUTEX, FUTEX, LOCK, SERVE, MAIN, WAKER], 700),
        (vec![MAIN, MUTEX, FUTEX, LOCK, TIMER, WAKER], 100),
        (vec![MAIN, SERVE, CONDITION, FUTEX, LOCK, WAKER], 5_000),
        // Threads wait there at something of their own.
        (vec![MAIN, SERVE, PARKING_LOT, FUTEX, ("0x1", "0x1", FrameKind::Wait, 1), WAKER], 20),
        (vec![MAIN, SERVE, PARKING_LOT, FUTEX, ("0x2", "0x2", FrameKind::Wait, 2), WAKER], 30),
    ];
    let report = report_of(&waits, &[]);
    let told: Vec<_> = report.locks.iter().map(|lock| (lock.kind, lock.name.as_str(), lock.wait_ns)).collect();
    assert_eq!(
        told,
        [("mutex", "cache_lock in server", 800), ("mutex", "serve (parking_lot::raw_mutex::RawMutex::lock_slow)", 50)]
    );
    let first = &report.locks[0];
    assert_eq!((first.timeout_ns, first.waiters.len()), (100, 2));
    assert_eq!((report.no_locks[0].why.as_str(), report.no_locks[0].value), ("condition variable", 5_000));
    assert_eq!(report.waited, (850, 1, 0));
}

#[test]
fn the_text_fits_and_tells_deadlocks_first() {
    let mut profile = profile(&[(vec![MAIN, SERVE, MUTEX, FUTEX, LOCK, owner(OwnerAt::Mutex)], 3_000_000_000)], &[]);
    let mut waits = Lengths { count: 1_000, total_ns: 3_000_000_000, max_ns: 4_000_000, ..Lengths::default() };
    waits.buckets[bucket(3_000_000)] = 1_000;
    let sum = Lock { waits, handed_on: 990, contended_ns: 2_900_000_000, holds: 7, hold_ns: 70_000, ..Lock::default() };
    profile.locks.sums.insert((1, 0x1000), sum);
    profile.recording.duration_ns = 3_000_000_000;
    let thread = |tid| Deadlocked {
        tgid: 1,
        tid,
        comm: "a".into(),
        address: 0x1000,
        lock: "b".repeat(60),
        how: how(0, OwnerAt::Mutex as u32),
        since_ns: 5,
        owner: tid,
    };
    let lost = Deadlocked { owner: 77, ..thread(1) };
    profile.locks.deadlocks = vec![vec![thread(1), thread(1)], vec![thread(1), thread(9)], vec![thread(1)], vec![lost]];
    let report = locks(&profile, &[], &ReportOptions { top: None }).unwrap();
    assert_eq!(report.deadlocks.len(), 3, "of the second nothing is known: it may be no lock");
    struct Text<'a>(&'a LocksReport);
    impl fmt::Display for Text<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            self.0.write_deadlocks(f)?;
            self.0.write(f, 3_000_000_000)
        }
    }
    let text = Text(&report).to_string();
    assert!(
        text.starts_with("DEADLOCK   a (1) waits for b") && text.contains("in serve (pthread_mutex_lock)"),
        "{text}"
    );
    assert!(
        text.contains("which it has itself") && text.contains("which thread 77 has, none of this process"),
        "{text}"
    );
    assert!(text.contains("    1,000     3.0 s") && text.contains("mutex cache_lock in server"), "{text}");
    assert!(text.contains("convoy   never empty for 96.7%") && text.contains("held by  100.0%  a ) (3)"), "{text}");
    assert!(text.contains("holds    7 after a wait for it, 10.0 us on average"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn what_a_free_lock_would_gain_has_a_bound() {
    let mut profile = profile(&[(vec![MAIN, MUTEX, FUTEX, LOCK, WAKER], 800)], &[]);
    profile.recording.cpus = 2;
    let waits = Lengths { count: 1, ..Lengths::default() };
    profile.locks.sums.insert((1, 0x1000), Lock { waits, ..Lock::default() });
    let thread = |tid, running_ns| ThreadTimes { tgid: 1, tid, wall_ns: 1_000, running_ns, ..ThreadTimes::default() };
    let of = |threads: &[ThreadTimes]| {
        locks(&profile, threads, &ReportOptions { top: None }).unwrap().locks[0].speedup_at_most
    };
    assert_eq!(of(&[thread(1, 100)]), Some(5.0));
    assert_eq!(of(&[thread(1, 100), thread(2, 900)]), Some(2.0), "the CPUs have 1,000 of work");
    assert_eq!(of(&[]), None);
}
