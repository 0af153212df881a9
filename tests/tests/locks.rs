//! Locks: which, who waits, who has them; against programs whose own clocks tell how long they waited.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Lock, Program, Python, Recording, in_guest, perfprobe};

/// A recording of a program with its locks, where stacks can be followed through the libraries that make these.
fn record_program(lab: &Lab, program: &Program, arguments: &[&str]) -> Option<Recording> {
    if !Doctor::walks_by_tables(lab) {
        Lab::leave_out("this kernel cannot walk stacks by tables");
        return None;
    }
    Some(lab.record().frequency(99).option("--event", "+locks").command(program, arguments).run())
}

fn record(lab: &Lab, kind: &[&str]) -> Option<Recording> {
    record_program(lab, &Program::c("locks.c"), &[&["2"], kind].concat())
}

/// How long threads waited for something that is no lock.
fn waited_for(recording: &Recording, why: &str) -> u64 {
    recording.report.no_locks.iter().find(|wait| wait.why == why).map_or(0, |wait| wait.value)
}

/// The lock for which threads waited longest.
fn first(recording: &Recording) -> &Lock {
    recording.report.locks.first().expect("threads waited for a lock")
}

/// Whether a part is almost all of a time; on an emulated machine, where all that is to be done takes longer, most of it.
fn is_most(part_ns: u64, whole_ns: u64) -> bool {
    part_ns * 10 >= whole_ns * if in_guest() { 5 } else { 9 }
}

/// Asserts that the waits are those that the program counted, by its own clock: within 2 %, and 100 us for each wait, from being woken
/// to looking at the clock, which takes longer on an emulated machine.
fn assert_waited(recording: &Recording, lock: &Lock) {
    let (count, known_ns) = (recording.logged_sum("waits"), recording.logged_sum("waited_ns"));
    let missing = count.abs_diff(lock.waits);
    assert!(missing * 50 <= count + 50, "{} waits, and the program says {count}", lock.waits);
    let slack_ns = known_ns / 50 + count * if in_guest() { 2_000_000 } else { 100_000 };
    assert!(lock.wait_ns.abs_diff(known_ns) <= slack_ns, "{} ns, and the program says {known_ns}", lock.wait_ns);
    let waited: u64 = lock.waiters.iter().map(|waiter| waiter.wait_ns).sum();
    assert_eq!(waited, lock.wait_ns, "who waited adds up");
}

/// Asserts that almost all of the time is blamed on threads that are known by the lock, not by who woke whom.
fn assert_owned(lock: &Lock) {
    let known_ns = lock.blamed(|holder| !holder.inferred);
    assert!(known_ns * 100 >= lock.wait_ns * 99, "{known_ns} ns of {}: {:#?}", lock.wait_ns, lock.holders);
}

fn in_text(lab: &Lab, recording: &Recording) -> String {
    let text = perfprobe(lab, &["report", recording.path_text()]).succeeded().stdout;
    assert!(text.lines().all(|line| line.starts_with("WARNING") || line.chars().count() <= 100), "{text}");
    text
}

#[test]
fn a_hot_mutex_is_named_with_who_has_it() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, &["hot"]) else { return };
    let lock = first(&recording);
    assert!(lock.name.starts_with("hot_lock in locks") && lock.kind == "mutex", "{lock:?}");
    assert_waited(&recording, lock);
    assert_owned(lock);
    assert!(lock.waited_in("want_it") * 100 >= lock.wait_ns * 99, "{:#?}", lock.waiters);
    // It is had for two milliseconds, asleep in a function of its own.
    let asleep = lock.blamed(|holder| {
        holder.waited.as_deref() == Some("sleep") && holder.stack.iter().any(|frame| frame == "work_with_it")
    });
    assert!(is_most(asleep, lock.wait_ns), "{asleep} of {}: {:#?}", lock.wait_ns, lock.holders);
    assert!(lock.most_waiting == 3, "three wait for the fourth: {lock:?}");
    assert!(lock.holds > 50 && lock.hold_ns / lock.holds >= 2_000_000, "{lock:?}");
    if !in_guest() {
        assert!((lock.hold_ns / lock.holds) < 2_500_000 && lock.convoy, "{lock:?}");
        assert!(lock.speedup_at_most.is_some_and(|times| times > 2.0), "{lock:?}");
    }
    let text = in_text(&lab, &recording);
    assert!(text.contains("mutex hot_lock in locks") && text.contains("want_it (pthread_mutex_lock)"), "{text}");
    assert!(recording.report.deadlocks.is_empty(), "nobody waits for ever");
}

#[test]
fn mutexes_with_priority_inheritance_and_semaphores_are_locks_too() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, &["pi"]) else { return };
    let lock = first(&recording);
    assert!(lock.name.starts_with("hot_lock in locks") && lock.kind == "mutex", "{lock:?}");
    assert_waited(&recording, lock);
    assert_owned(lock);
    let recording = record(&lab, &["semaphore"]).expect("as before");
    let lock = first(&recording);
    assert!(lock.name.starts_with("hot_semaphore in locks") && lock.kind == "semaphore", "{lock:?}");
    assert_waited(&recording, lock);
    // It does not say who has it; who hands it on does.
    let known_ns = lock.blamed(|holder| holder.inferred);
    assert!(known_ns * 100 >= lock.wait_ns * 97, "{known_ns} of {}: {:#?}", lock.wait_ns, lock.holders);
}

#[test]
fn a_writer_that_readers_keep_out_waits_for_a_lock() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, &["rwlock"]) else { return };
    let lock = first(&recording);
    assert!(lock.name.starts_with("book") && lock.kind == "rwlock", "{lock:?}");
    let known_ns = recording.logged_sum("waited_ns");
    let found_ns = lock.waited_in("write_the_book");
    assert!(found_ns.abs_diff(known_ns) <= known_ns / 50 + 1_000_000, "{found_ns} ns, not {known_ns}: {lock:?}");
}

#[test]
fn who_waits_for_signs_waits_for_no_lock() {
    let Some(lab) = Lab::open() else { return };
    for (kind, whys) in [("queue", &["condition variable"][..]), ("signs", &["barrier", "end of a thread"])] {
        let Some(recording) = record(&lab, &[kind]) else { return };
        let locked_ns: u64 = recording.report.locks.iter().map(|lock| lock.wait_ns).sum();
        assert!(locked_ns < 50_000_000, "{:#?}", recording.report.locks);
        for why in whys {
            assert!(waited_for(&recording, why) > 200_000_000, "{why}: {:?}", recording.report.no_locks);
        }
    }
}

#[test]
fn what_the_holder_waits_for_is_told() {
    let Some(lab) = Lab::open() else { return };
    if in_guest() {
        return Lab::leave_out("files in memory are synced in no time");
    }
    let Some(recording) = record(&lab, &["synced"]) else { return };
    let lock = first(&recording);
    assert!(lock.name.starts_with("journal_lock in locks"), "{lock:?}");
    assert_owned(lock);
    let there = |holder: &tests::LockHolder| holder.stack.iter().any(|frame| frame == "sync_the_journal");
    let in_sync = lock.blamed(|holder| holder.waited.is_some() && there(holder));
    assert!(in_sync * 2 >= lock.wait_ns, "{in_sync} of {}: {:#?}", lock.wait_ns, lock.holders);
}

#[test]
fn a_lock_that_processes_share_is_called_by_its_file() {
    let Some(lab) = Lab::open() else { return };
    let path = lab.file("shared");
    let Some(recording) = record(&lab, &["shared", path.to_str().unwrap()]) else { return };
    let here = format!("{}+0x0", path.display());
    let locks: Vec<&Lock> = recording.report.locks.iter().filter(|lock| lock.name == here).collect();
    assert_eq!(locks.len(), 2, "each process waits for it: {:#?}", recording.report.locks);
    locks.iter().for_each(|lock| assert_owned(lock));
}

#[test]
fn deadlocks_are_named_also_when_they_are_older_than_the_recording() {
    let Some(lab) = Lab::open() else { return };
    for (count, kind) in [(2, "cycle2"), (3, "cycle3")] {
        let Some(recording) = record(&lab, &[kind]) else { return };
        assert_deadlock(&lab, &recording, count);
    }
    let stuck = lab.start(&Program::c("locks.c"), &["30", "cycle2"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let recording = lab.record().frequency(99).pid(stuck.pid()).duration("1s").run();
    assert_deadlock(&lab, &recording, 2);
    assert_eq!(recording.report.deadlocks[0].since_ns / 1_000_000_000, 0);
}

#[test]
fn who_gives_up_is_in_no_deadlock_and_blames_who_has_it() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, &["timed"]) else { return };
    assert!(recording.report.deadlocks.is_empty(), "they go on: {:?}", recording.report.deadlocks);
    let lock = recording.report.locks.iter().find(|lock| lock.name.starts_with("hot_lock")).expect("it is waited for");
    assert!(lock.timeout_ns * 10 >= lock.wait_ns * 9 && lock.waits > 20, "{lock:?}");
    let owner = lock.holders.first().expect("somebody has it");
    assert!(!owner.inferred && owner.blamed_ns * 10 >= lock.wait_ns * 9, "{:#?}", lock.holders);
    let blamed_ns = lock.blamed(|_| true);
    assert!(blamed_ns <= lock.wait_ns + lock.wait_ns / 50, "{blamed_ns} of {}: {:#?}", lock.wait_ns, lock.holders);
}

fn assert_deadlock(lab: &Lab, recording: &Recording, threads: usize) {
    let deadlocks = &recording.report.deadlocks;
    assert_eq!(deadlocks.len(), 1, "{deadlocks:?} {:#?}", recording.report.locks);
    let stuck = &deadlocks[0].threads;
    assert_eq!(stuck.len(), threads, "{stuck:?}");
    assert!(stuck.iter().all(|thread| thread.waits_for.starts_with("cycle_locks")), "{stuck:?}");
    let text = in_text(lab, recording);
    assert!(text.contains("DEADLOCK") && text.contains("want_the_next (pthread_mutex_lock)"), "{text}");
}

#[test]
fn who_waits_for_what_nobody_lets_go_of_is_told() {
    let Some(lab) = Lab::open() else { return };
    for kind in ["itself", "left", "forked"] {
        let Some(recording) = record(&lab, &[kind]) else { return };
        let [deadlock] = &recording.report.deadlocks[..] else {
            panic!("{kind}: {:#?}", recording.report.deadlocks);
        };
        let [thread] = &deadlock.threads[..] else { panic!("{kind}: {deadlock:#?}") };
        assert!(thread.waits_for.starts_with("lost_lock in locks"), "{kind}: {thread:?}");
        assert_eq!(thread.place, "want_what_is_lost (pthread_mutex_lock)", "{kind}");
        assert_eq!(thread.owner == thread.tid, kind == "itself", "{thread:?}");
        let text = in_text(&lab, &recording);
        let told = if kind == "itself" { "which it has itself" } else { "none of this process" };
        assert!(text.contains("DEADLOCK") && text.contains(told), "{kind}: {text}");
    }
}

#[test]
fn locks_of_rusts_standard_library_are_told() {
    let Some(lab) = Lab::open() else { return };
    let program = Program::rust("stdlocks.rs", "stdlocks", &[]);
    let Some(recording) = record_program(&lab, &program, &["2"]) else { return };
    let lock = first(&recording);
    assert!(lock.name.contains("CACHE") && lock.kind == "mutex", "{lock:?}");
    assert_waited(&recording, lock);
    // Such a lock does not say who has it; who lets go of it does.
    let asleep = lock.blamed(|holder| holder.inferred && holder.waited.as_deref() == Some("sleep"));
    assert!(is_most(asleep, lock.wait_ns), "{asleep} of {}: {:#?}", lock.wait_ns, lock.holders);
    let book = recording.report.locks.iter().find(|lock| lock.name.contains("BOOK"));
    assert!(
        book.is_some_and(|lock| lock.kind == "rwlock" && lock.waited_in("stdlocks::write_the_book") > 0),
        "{book:?}"
    );
    for why in ["condition variable", "parked"] {
        assert!(waited_for(&recording, why) > 1_000_000_000, "{why}: {:?}", recording.report.no_locks);
    }
}

#[test]
fn threads_of_go_without_work_wait_for_no_lock() {
    let Some(lab) = Lab::open_with(&["go"]) else { return };
    let program = Program::go("gosplit.go", "gosplit_locks", &[]);
    // Its two long waits begin in its first milliseconds, when a stack cannot always be followed to where it tells what for.
    for _ in 0..5 {
        let Some(recording) = record_program(&lab, &program, &["2"]) else { return };
        let locked_ns: u64 = recording.report.locks.iter().map(|lock| lock.wait_ns).sum();
        assert!(locked_ns < 50_000_000, "{:#?}", recording.report.locks);
        if waited_for(&recording, "idle: no work") > 1_000_000_000 {
            return;
        }
        let unknown_ns = waited_for(&recording, "not known, as their callers are not");
        assert!(unknown_ns > 1_000_000_000, "{:?}", recording.report.no_locks);
    }
    panic!("no wait of Go's was known in five recordings");
}

#[test]
fn pythons_global_lock_has_its_name() {
    let Some(lab) = Lab::open() else { return };
    for Python { version, program } in Python::all() {
        let arguments = Python::arguments("gil", "2");
        let Some(recording) = record_program(&lab, &program, &arguments) else { return };
        let lock = first(&recording);
        assert_eq!(lock.kind, "GIL", "{version}: {:#?}", recording.report.locks);
        // Three threads run in turn, each for a third of two seconds; on a busy machine they wait for a CPU, too.
        assert!(lock.wait_ns > 1_000_000_000 && lock.wait_ns < 4_500_000_000, "{version}: {} ns", lock.wait_ns);
        let joined_ns = waited_for(&recording, "end of a thread");
        assert!(joined_ns > 1_000_000_000, "{version}: {:?}", recording.report.no_locks);
        // Who gives up, as Python's threads do every 5 ms, comes back to another futex of it at times, of which nobody lets go.
        let known_ns = lock.blamed(|holder| holder.inferred);
        assert!(known_ns * 2 >= lock.wait_ns, "{version}: {known_ns} of {}", lock.wait_ns);
    }
}
