//! What is the limit, and how it is told.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::profile::Profile;

fn thread(running_ns: u64, runnable_ns: u64, blocked: &[(&str, u64)]) -> ThreadTimes {
    let blocked_ns = blocked.iter().map(|(why, ns)| ((*why).to_owned(), *ns)).collect();
    let wall_ns = running_ns + runnable_ns + blocked.iter().map(|(_, ns)| ns).sum::<u64>();
    ThreadTimes { wall_ns, running_ns, runnable_ns, blocked_ns, ..ThreadTimes::default() }
}

fn of(threads: &[ThreadTimes]) -> Option<LimitReport> {
    limited(threads, &[])
}

fn limited(threads: &[ThreadTimes], wakes: &[WakeReport]) -> Option<LimitReport> {
    let told = Told { block: None, files: None, queue: None, wakes };
    limit(&Profile::default(), threads, &told, &mut Places::new())
}

#[test]
fn waiting_for_another_of_the_program_is_no_limit() {
    const PIPE: &str = PEERS[0];
    let of = |tid, thread: ThreadTimes| ThreadTimes { tgid: 7, tid, ..thread };
    let threads = [of(1, thread(10, 0, &[(PIPE, 900)])), of(2, thread(600, 0, &[]))];
    let wake = |waker: &str| WakeReport {
        tgid: 7,
        tid: 1,
        why: PIPE.into(),
        waker: Some(waker.into()),
        waited_ns: 880,
        ..WakeReport::default()
    };
    let helped = limited(&threads, &[wake("worker (2)")]).unwrap();
    assert_eq!((helped.what.as_str(), helped.ns, helped.of_ns), ("running", 610, 630));
    let asked = limited(&threads, &[wake("other (3)")]).unwrap();
    assert_eq!((asked.what.as_str(), asked.ns), (PIPE, 900));
    let waker_waited_ns = BTreeMap::from([("sleep".to_owned(), 870)]);
    let slept = limited(&threads, &[WakeReport { waker_waited_ns, ..wake("worker (2)") }]).unwrap();
    assert_eq!((slept.what.as_str(), slept.ns), (PIPE, 890), "what sleeps does nothing that would tell more");
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
    assert!(found.told()[0].starts_with("nothing that shows: for 99.5% of their time"), "{:?}", found.told());
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[thread(0, 0, &[])]), None);
}

#[test]
fn threads_that_sleep_through_it_are_what_it_hangs_in_only_if_none_works() {
    let asleep = thread(0, 0, &[("futex", 1_000_000)]);
    let works = of(&[thread(90_000, 5_000, &[("poll", 905_000)]), asleep.clone(), asleep.clone()]).unwrap();
    assert_eq!((works.what.as_str(), works.of_ns), ("running", 95_000));
    let one = of(&[thread(900_000, 0, &[]), thread(1_000, 0, &[("poll", 40_000_000)])]).unwrap();
    assert_eq!(one.what, "running", "of forty threads one may be busy");
    let hangs = of(&[asleep.clone(), asleep, thread(100, 0, &[("poll", 999_900)])]).unwrap();
    assert_eq!((hangs.what.as_str(), hangs.ns), ("futex", 2_000_000));
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
