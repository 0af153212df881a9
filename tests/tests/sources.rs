//! What perfprobe says of waits and system calls is what sources say that it does not use: other accounts of the kernel's, and
//! the clocks of those who wait.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Program, in_guest};

const MS: u64 = 1_000_000;

#[test]
fn who_reads_a_mapped_file_waits_for_its_pages() {
    let Some(lab) = Lab::open() else { return };
    // To the kernel's account, what a halted virtual CPU takes to wake is time that the thread ran: ten microseconds and more.
    let _awake = (!in_guest()).then(|| lab.start(&Program::c("waits.c"), &["0", "awake"]));
    let file = lab.file("pages");
    let recorder = lab.record().frequency(99).option("--event", "cpu,offcpu,sched");
    let recording = recorder.command(&Program::c("faults.c"), &["2", file.to_str().unwrap(), "32"]).run();
    if !recording.logged("unsupported").is_empty() {
        Lab::leave_out("this file system has no way past the page cache");
        return;
    }
    let account = recording.accounts()[0];
    if account.major_faults < 100 {
        // Pages of a file system in memory are there whatever is dropped: the kernel says so, too.
        Lab::leave_out("pages of this file system are not waited for");
        return;
    }
    // Of waits for a disk whose interrupts another CPU takes, one or two in a hundred end without being seen to: that thread then
    // counts as blocked until it runs.
    account.assert_counted(&recording, 5);
    let times = recording.report.times_of(account.tid);
    let (page_ns, blocked_ns) = (times.blocked_ns["page fault"], times.blocked_total());
    assert!(page_ns * 100 >= blocked_ns * 98, "a reader waits for pages alone: {times:?}");
    // By the reader's own clocks. A CPU that is taken from another for who was woken reads its clock at the wake-up and not again
    // (wakeup_preempt in kernel/sched/core.c): to the kernel, that thread runs from then on. To perfprobe it waits for the CPU.
    let off_ns = recording.logged_sum("touch_ns") - recording.logged_sum("touch_cpu_ns");
    let spare_ns = MS + off_ns / 100 + account.slices * 2_000;
    let known_ns = blocked_ns.saturating_sub(spare_ns)..=blocked_ns + times.runnable_ns + spare_ns;
    assert!(known_ns.contains(&off_ns), "{off_ns} ns off the CPU are not in {known_ns:?}");
    let known_ns = off_ns - account.wait_ns;
    let allowed_ns = MS + known_ns / 100 + account.slices * 8_000;
    assert!(page_ns.abs_diff(known_ns) <= allowed_ns, "{page_ns}, not {known_ns} ± {allowed_ns} ns for pages");
    // Few pages come so soon that nobody has to wait for them.
    let waits = account.queue(&recording).count;
    assert!(waits * 10 > account.major_faults * 8, "{waits} waits, {} major faults", account.major_faults);
    if Doctor::walks_by_tables(&lab) {
        let touch_ns = recording.report.waited_in("touch_page");
        assert!(touch_ns > page_ns * 95 / 100, "{touch_ns} of {page_ns} ns with `touch_page` on the stack");
    }
}

#[test]
fn as_many_reads_and_writes_are_told_as_the_kernel_counts() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().frequency(99).option("--event", "cpu,syscalls");
    let recording = recorder.command(&Program::c("overload.c"), &["2", "pipes", "1"]).run();
    let calls = recording.report.calls.as_ref().expect("system calls were recorded");
    let untold = calls.untold();
    assert_eq!(calls.accounting.lost_total(), untold, "maps have room: {:?}", calls.accounting);
    if recording.logged_sum("reads") == 0 {
        Lab::leave_out("this kernel does not count what processes read");
        return;
    }
    for (call, key) in [("read", "reads"), ("write", "writes")] {
        let (told, known) = (calls.of(call).count, recording.logged_sum(key));
        assert!(known > 2_000, "{known} times {call} is no storm");
        // The kernel's own of a program that begins, the harness' log, and what comes after the process has looked.
        assert!(told.abs_diff(known) <= 64 + untold, "{call} {told} times, not {known}, {untold} returns untold");
    }
}
