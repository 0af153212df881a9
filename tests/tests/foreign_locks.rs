//! Locks that are no futexes themselves: those who want them wait at something of their own, and what waits tells.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::fs;

use tests::{Doctor, Lab, Lock, Program, Recording, in_guest};

/// The time that threads waited for locks of a kind, by what the program says within 5 %: who waits for its own parker is woken when the
/// lock is free, and takes it then.
fn assert_waited(recording: &Recording, locks: &[&Lock]) {
    let (count, known_ns) = (recording.logged_sum("waits"), recording.logged_sum("waited_ns"));
    let ns: u64 = locks.iter().map(|lock| lock.wait_ns).sum();
    let slack_ns = known_ns / 20 + count * if in_guest() { 2_000_000 } else { 100_000 };
    assert!(ns.abs_diff(known_ns) <= slack_ns, "{ns} ns, and the program says {known_ns}: {locks:#?}");
}

fn of_kind<'a>(recording: &'a Recording, kind: &str) -> Vec<&'a Lock> {
    recording.report.locks.iter().filter(|lock| lock.kind == kind).collect()
}

#[test]
fn a_mutex_of_parking_lot_is_told_by_who_waits_for_it() {
    let Some(lab) = Lab::open() else { return };
    if !Doctor::walks_by_tables(&lab) {
        Lab::leave_out("this kernel cannot walk stacks by tables");
        return;
    }
    let recorder = lab.record().frequency(99).option("--event", "+locks");
    let recording = recorder.command(&Program::example("parking"), &["2"]).run();
    let mutexes = of_kind(&recording, "mutex");
    assert_waited(&recording, &mutexes);
    let there: u64 = mutexes.iter().map(|lock| lock.waited_in("parking::want_the_cache")).sum();
    assert!(there * 100 >= recording.logged_sum("waited_ns") * 90, "{mutexes:#?}");
    let asleep: u64 = mutexes.iter().map(|lock| lock.blamed(|holder| holder.waited.as_deref() == Some("sleep"))).sum();
    // Each waits at a futex of its own, through the turns of three others, of whom the last one wakes it.
    assert!(in_guest() || asleep * 10 >= recording.logged_sum("waited_ns") * 2, "{mutexes:#?}");
}

#[test]
fn locks_of_musl_are_named_with_who_has_them() {
    let Some(lab) = Lab::open() else { return };
    if !Doctor::walks_by_tables(&lab) {
        Lab::leave_out("this kernel cannot walk stacks by tables");
        return;
    }
    let program = Program::musl("locks.c");
    let record = |kind: &str| {
        let recorder = lab.record().frequency(99).option("--event", "+locks");
        recorder.command(&program, &["2", kind]).run()
    };
    let recording = record("hot");
    let mutex = recording.report.locks.first().unwrap();
    assert!(mutex.kind == "mutex" && mutex.name.starts_with("hot_lock"), "{mutex:?}");
    assert_waited(&recording, &[mutex]);
    // The word that is waited at has who has it.
    assert!(mutex.blamed(|holder| !holder.inferred) * 100 >= mutex.wait_ns * 95, "{mutex:#?}");
    assert!(mutex.waited_in("want_it") * 100 >= mutex.wait_ns * 95, "{mutex:#?}");
    for (kind, name) in [("rwlock", "book"), ("semaphore", "hot_semaphore")] {
        let recording = record(kind);
        let lock = recording.report.locks.first().unwrap();
        assert!(lock.kind == kind && lock.name.starts_with(name), "{lock:?}");
        assert_waited(&recording, &[lock]);
    }
    // Who waits for work in a condition variable waits for no lock.
    let queue = record("queue");
    let waited: u64 = queue.report.locks.iter().map(|lock| lock.wait_ns).sum();
    assert!(waited < 100_000_000, "{:#?}", queue.report.locks);
}

const MONITOR: &str = "
public class Monitor {
    static final Object monitor = new Object();
    static long waits, waited;
    static void wantTheMonitor() throws Exception {
        long before = System.nanoTime();
        synchronized (monitor) {
            long ns = System.nanoTime() - before;
            if (ns > 100000) { waits++; waited += ns; }
            Thread.sleep(2);
        }
        Thread.sleep(0, 200000);
    }
    public static void main(String[] arguments) throws Exception {
        try (var log = new java.io.FileWriter(System.getenv(\"WORKLOAD_LOG\"), true)) { log.write(\"ready 1\\n\"); }
        long end = System.nanoTime() + 3000000000L;
        Thread[] threads = new Thread[4];
        for (int at = 0; at < 4; at++) {
            threads[at] = new Thread(() -> {
                try { while (System.nanoTime() < end) wantTheMonitor(); } catch (Exception error) { throw new Error(error); }
            });
            threads[at].start();
        }
        for (Thread thread : threads) thread.join();
        try (var log = new java.io.FileWriter(System.getenv(\"WORKLOAD_LOG\"), true)) {
            log.write(\"waits \" + waits + \"\\nwaited_ns \" + waited + \"\\n\");
        }
    }
}
";

#[test]
fn a_monitor_of_java_is_told_by_who_waits_for_it() {
    let Some(lab) = Lab::open_with(&["javac"]) else { return };
    if !Doctor::walks_by_tables(&lab) {
        Lab::leave_out("this kernel cannot walk stacks by tables");
        return;
    }
    let source = lab.file("Monitor.java");
    fs::write(&source, MONITOR).unwrap();
    let recorder = lab.record().frequency(99).option("--event", "+locks");
    let recording = recorder.shell(&format!("exec java {}", source.display())).run();
    let monitors = of_kind(&recording, "monitor");
    assert_waited(&recording, &monitors);
}
