//! Locks of the kernel: which, and who waits for them where; against programs whose own clocks tell how long they waited.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, KernelLocks, Lab, Launcher, Program, Recording, in_guest, perfprobe};

fn record(lab: &Lab, kind: &str) -> Option<Recording> {
    if Doctor::ask(lab, &Launcher::default()).check("kernel locks").state != "ok" {
        Lab::leave_out("the kernel does not tell of waits for its locks");
        return None;
    }
    // Such kernels walk stacks by tables, too.
    let recorder = lab.record().frequency(99).option("--event", "+kernel-locks");
    Some(recorder.command(&Program::c("kernellocks.c"), &["2", kind]).run())
}

/// What was found, when nothing was lost.
fn found(recording: &Recording) -> &KernelLocks {
    let found = recording.report.kernel_locks.as_ref().expect("locks of the kernel were recorded");
    let of = &found.accounting;
    assert_eq!(of.taken, of.reported + of.lost.values().sum::<u64>(), "{of:?}");
    assert_eq!(of.reported, found.locks.iter().map(|lock| lock.waits).sum::<u64>());
    found
}

/// Asserts that a time is the one that the program says, within 2 %, and 100 us for each wait, from having the lock to looking at the
/// clock, which takes longer on an emulated machine.
fn assert_waited(recording: &Recording, ns: u64) {
    let (count, known_ns) = (recording.logged_sum("waits"), recording.logged_sum("waited_ns"));
    assert!(count > 0, "the program waited");
    let slack_ns = known_ns / 50 + count * if in_guest() { 2_000_000 } else { 100_000 };
    assert!(ns.abs_diff(known_ns) <= slack_ns, "{ns} ns, and the program says {known_ns}");
}

#[test]
fn a_mutex_of_the_kernel_is_waited_for_as_long_as_another_has_it() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, "pipe") else { return };
    if !recording.logged("none").is_empty() {
        Lab::leave_out("memory cannot be filled in late here");
        return;
    }
    let locks = found(&recording);
    let (waits, ns) = locks.of("mutex");
    // The pipe's, and hardly one beside it: short ones the program does not count.
    let known = recording.logged_sum("waits");
    assert!((known..=known + 10 + known / 20).contains(&waits), "{waits} of {known}: {locks:#?}");
    assert_waited(&recording, ns);
    let place_ns = locks.waited_in("want_the_pipe", "mutex");
    assert_waited(&recording, place_ns);
    let place = locks.places.iter().find(|place| place.function == "want_the_pipe").unwrap();
    assert!(place.kernel.contains("pipe_write"), "{place:?}");
    // The same time off the CPU.
    let off = recording.report.offcpu.as_ref().unwrap();
    let slept_ns: u64 = off.waits.iter().filter(|wait| wait.why == "kernel lock").map(|wait| wait.value).sum();
    assert_waited(&recording, slept_ns);
    let text = perfprobe(&lab, &["report", recording.path_text()]).succeeded().stdout;
    assert!(text.contains("lock of the kernel") && text.contains("want_the_pipe (write)"), "{text}");
}

#[test]
fn the_lock_of_a_memorys_mappings_has_a_name() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, "fork") else { return };
    let locks = found(&recording);
    // Of what the calls took, it also waited for a CPU: the lock is what it waited for off the CPU, and at most all.
    let ns = locks.waited_in("want_to_map", "mmap_lock, writing");
    let (known_ns, off) = (recording.logged_sum("waited_ns"), recording.report.offcpu.as_ref().unwrap());
    let places = off.places.iter().filter(|place| place.function == "want_to_map" && place.why == "kernel lock");
    let off_ns: u64 = places.map(|place| place.value).sum();
    assert!(off_ns > 10_000_000 && off_ns <= ns + ns / 50, "{off_ns} of {ns} ns: {locks:#?}");
    assert!(ns <= known_ns + known_ns / 50, "{ns} ns, and the program says {known_ns}");
}

#[test]
fn who_spins_for_a_lock_is_counted_too() {
    let Some(lab) = Lab::open() else { return };
    let Some(recording) = record(&lab, "files") else { return };
    let locks = found(&recording);
    let (waits, ns) = locks.of("spinlock");
    if waits == 0 {
        // Who is next in turn tells of nothing, only who comes after that.
        Lab::leave_out("nobody had to queue for a lock: there are too few CPUs, or the machine lends them");
        return;
    }
    let longest = locks.locks.iter().filter(|lock| lock.lock.starts_with("spinlock")).map(|lock| lock.max_ns).max();
    assert!(ns / waits < 10_000_000 && longest < Some(1_000_000_000), "{locks:#?}");
    let place_ns = locks.waited_in("open_often", "spinlock");
    assert!(waits < 1_000 || place_ns > 0, "{locks:#?}");
}
