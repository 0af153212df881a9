//! Where threads wait, and that what they do adds up: against workloads whose answer is known, and the kernel's own account.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Account, Doctor, Lab, Program, Recording, in_guest};

const MS: u64 = 1_000_000;

/// How long a switch may take, for which the two accounts can differ.
fn switch_ns() -> u64 {
    if in_guest() { 400_000 } else { 8_000 }
}

/// How long a thread that is woken can be on the list of another CPU that has not heard the interrupt yet, on a busy machine: it is
/// neither blocked any more nor queued there.
const QUEUED_NS: u64 = 30_000;

fn record(lab: &Lab, kind: &str, seconds: &str) -> Recording {
    let waits = Program::c("waits.c");
    // Not often: the time of sampling interrupts is no thread's in the kernel's account.
    let recorder = lab.record().frequency(99).option("--event", "cpu,offcpu,sched");
    let recording = recorder.command(&waits, &[seconds, kind]).run();
    let accounting = &recording.report.accounting["offcpu"];
    assert_eq!(accounting.lost_total(), 0, "maps have room, and stacks are kept: {accounting:?}");
    recording
}

/// Asserts that two times are the same within 1 %, or `slack_ns`.
fn assert_same(what: &str, found_ns: u64, known_ns: u64, slack_ns: u64) {
    let allowed_ns = slack_ns.max(known_ns / 100);
    assert!(
        found_ns.abs_diff(known_ns) <= allowed_ns,
        "{what}: {:.3} ms, not {:.3} ± {:.3} ms",
        found_ns as f64 / 1e6,
        known_ns as f64 / 1e6,
        allowed_ns as f64 / 1e6
    );
}

/// Asserts that running and waiting for a CPU are what the kernel's scheduler says itself.
///
/// The kernel's account changes when it looks at its clock, at the beginning of a switch and when a thread is queued, and not
/// in between: some microseconds for each slice before or after the switch itself. Interrupts, and what a hypervisor took, are
/// left out. A thread that is woken waits, for the kernel, only from when it was queued, which is after the interrupt that tells an
/// idle CPU; and if the CPU is taken from another for it, the clock is not read again before the switch (wakeup_preempt in
/// kernel/sched/core.c), so that it runs, for the kernel, from then on. To perfprobe it waits for the CPU: of threads that are woken
/// more than now and then, the two times are only known together.
fn assert_accounts(recording: &Recording, threads: usize) {
    let accounts = recording.accounts();
    assert_eq!(accounts.len(), threads, "threads that told what they did");
    for account in accounts {
        // Where threads wake one another from CPU to CPU, some waits end without being seen to.
        account.assert_counted(recording, 5);
        let Account { tid, run_ns, wait_ns, slices, .. } = account;
        let times = recording.report.times_of(tid);
        // And what the thread does after it has told, and before it ends.
        let slack_ns = (2 * MS + slices * switch_ns() + run_ns / 25).max(times.wall_ns / 100);
        let (found_ns, known_ns) = (times.running_ns + times.runnable_ns, run_ns + wait_ns);
        let either = format!("thread {tid} running or waiting for a CPU");
        assert_same(&either, found_ns, known_ns, slack_ns + slices * switch_ns() + account.voluntary * QUEUED_NS);
        let running = format!("thread {tid} running");
        if account.voluntary * 10 > slices {
            assert!(times.running_ns <= run_ns + slack_ns, "{running}: {times:?}, {account:?}");
        } else {
            assert_same(&running, times.running_ns, run_ns, slack_ns);
        }
    }
}

#[test]
fn naps_are_as_long_as_they_were() {
    let Some(lab) = Lab::open() else { return };
    // To the kernel's account, what a halted virtual CPU takes to wake is time that the thread ran: ten microseconds and more.
    let _awake = (!in_guest()).then(|| lab.start(&Program::c("waits.c"), &["0", "awake"]));
    let recording = record(&lab, "sleeps", "3");
    let slept_ns = recording.logged_sum("slept_ns");
    // A nap by the clock ends when the thread runs again.
    let late_ns: u64 = recording.accounts().iter().map(|account| account.wait_ns).sum();
    let found_ns = recording.report.waited_for("sleep") + late_ns;
    let naps: u64 = recording.accounts().iter().map(|account| account.slices).sum();
    assert_same("sleep", found_ns, slept_ns, 20 * MS + naps * switch_ns() / 4);
    let in_nap_ns = recording.report.waited_in("nap");
    assert!(
        !Doctor::walks_by_tables(&lab) || in_nap_ns >= found_ns * 95 / 100,
        "{in_nap_ns} of {found_ns} ns with `nap` on the stack"
    );
    assert_accounts(&recording, 2);
    assert_eq!(recording.report.offcpu.as_ref().unwrap().unit, "nanoseconds");
}

#[test]
fn threads_that_want_one_cpu_wait_for_it_three_quarters_of_the_time() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "crowded", "3");
    assert_accounts(&recording, 4);
    for account in recording.accounts() {
        let times = recording.report.times_of(account.tid);
        assert!(account.slices < 10_000, "long slices, so that the two accounts are the same");
        assert!(times.runnable_ns > times.wall_ns / 2, "{times:?}");
        assert!(times.blocked_total() < times.wall_ns / 50, "{times:?}");
    }
    // Who had it meanwhile.
    let queue = recording.report.run_queue.as_ref().expect("a run queue");
    let tids: Vec<u32> = recording.accounts().iter().map(|account| account.tid).collect();
    for tid in &tids {
        let waited_ns = recording.report.times_of(*tid).runnable_ns;
        let found = queue.threads.iter().find(|thread| thread.id == *tid).expect("the thread");
        // All but what it waited for at the end, and has not ended.
        assert_same("waits for a CPU", found.total_ns, waited_ns, waited_ns / 20 + 10 * MS);
        assert!(found.p50_ns <= found.p99_ns && found.p99_ns <= found.max_ns && found.max_ns < waited_ns, "{found:?}");
        let taken = queue.takers.iter().filter(|taker| taker.tid == *tid);
        let by_all_ns: u64 = taken.clone().map(|taker| taker.taken_ns).sum();
        let by_others_ns: u64 = taken.filter(|taker| tids.contains(&taker.taker_tid)).map(|taker| taker.taken_ns).sum();
        assert!(by_all_ns <= found.total_ns, "{by_all_ns} of {} ns", found.total_ns);
        // Who ran longer ago than is remembered is not known: on a busy CPU others come and go.
        assert!(by_all_ns * 2 > found.total_ns, "{by_all_ns} of {} ns", found.total_ns);
        // Other programs may have wanted this CPU, too.
        assert!(by_others_ns * 4 > by_all_ns, "{by_others_ns} of {by_all_ns} ns by the others");
    }
    let by_cpu: Vec<(u32, u64)> = queue.cpus.iter().map(|cpu| (cpu.id, cpu.total_ns)).collect();
    let all_ns: u64 = by_cpu.iter().map(|(_, ns)| ns).sum();
    assert!(by_cpu[0].0 == 0 && by_cpu[0].1 * 10 > all_ns * 9, "all of them may run on CPU 0 alone: {by_cpu:?}");
    // Where they were when the CPU was taken from them.
    let waited_ns = recording.report.waited_for("waiting for a CPU");
    let in_hustle_ns = recording.report.waited_in("hustle");
    assert!(in_hustle_ns > waited_ns * 9 / 10, "{in_hustle_ns} of {waited_ns} ns");
}

#[test]
fn a_byte_to_and_fro_is_waited_for_in_read() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "pingpong", "2");
    assert_accounts(&recording, 2);
    let blocked_ns = recording.report.waited_for("pipe/socket/terminal");
    let in_take_ns = recording.report.waited_in("take_byte");
    let in_place = !Doctor::walks_by_tables(&lab) || in_take_ns > blocked_ns * 9 / 10;
    assert!(blocked_ns > 100 * MS && in_place, "{in_take_ns} of {blocked_ns} ns");
}

#[test]
fn a_deadlock_shows_all_of_its_wait_with_its_stack() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "deadlock", "3");
    let recorded_ns = recording.report.recording.duration_ns;
    let (futex_ns, stack_ns) = (recording.report.waited_for("futex"), recording.report.waited_in("want_the_other"));
    // Two threads, all but the program's first moments.
    assert_same("futex", futex_ns, 2 * (recorded_ns - 200 * MS), if in_guest() { 800 * MS } else { 150 * MS });
    if Doctor::walks_by_tables(&lab) {
        assert_same("in want_the_other", stack_ns, futex_ns, 20 * MS);
    }
}

#[test]
fn a_thread_that_waited_before_and_never_wakes_is_seen() {
    let Some(lab) = Lab::open() else { return };
    let silent = lab.start(&Program::c("waits.c"), &["0", "silent"]);
    let recording = lab.record().option("--event", "cpu,offcpu,sched").pid(silent.pid()).duration("2500ms").run();
    let recorded_ns = recording.report.recording.duration_ns;
    let quiet = recording.report.threads.iter().find(|thread| thread.tid != silent.pid()).expect("the quiet thread");
    assert_same("wall", quiet.wall_ns, recorded_ns, 50 * MS);
    assert_same("blocked in a read", quiet.blocked_ns["pipe/socket/terminal"], recorded_ns, 50 * MS);
    let main = recording.report.times_of(silent.pid());
    assert_same("the other one's sleep", main.blocked_ns["sleep"], recorded_ns, 50 * MS);
}

#[test]
fn every_part_of_a_recording_has_its_part_of_a_long_wait() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "deadlock", "5");
    let part = recording.report_with(&lab, &["--from", "2s", "--to", "4s"]);
    // Two windows of a second, each a few milliseconds longer.
    let futex_ns = part.waited_for("futex");
    assert!((3_500 * MS..4_600 * MS).contains(&futex_ns), "{futex_ns} ns in two seconds of two threads");
}

#[test]
fn threads_that_end_at_once_are_all_accounted_for() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "storm", "60");
    let main = recording.report.threads.iter().max_by_key(|thread| thread.wall_ns).unwrap().tid;
    let brief: Vec<_> = recording.report.threads.iter().filter(|thread| thread.tid != main).collect();
    assert_eq!(brief.len() as u64, recording.logged_sum("threads"), "threads with times");
    let (running_ns, wall_ns) =
        brief.iter().fold((0, 0), |(running, wall), thread| (running + thread.running_ns, wall + thread.wall_ns));
    let own_ns = recording.report.times_of(main).running_ns;
    let slack_ns = 20 * MS + brief.len() as u64 * switch_ns();
    assert_same("all that ran", running_ns + own_ns, recording.logged_sum("cpu_ns"), slack_ns);
    assert!(running_ns > wall_ns / 50, "{running_ns} of {wall_ns} ns of brief threads");
}

#[test]
fn whole_stacks_come_from_the_scheduler_too() {
    let Some(lab) = Lab::open() else { return };
    if !Doctor::walks_by_tables(&lab) {
        Lab::leave_out("this kernel cannot walk stacks by tables");
        return;
    }
    let recording = record(&lab, "chain", "2");
    let path = recording.export(&lab, "waits.folded", &["--event", "offcpu"]);
    let text = std::fs::read_to_string(path).unwrap();
    let chain = text.lines().find(|line| line.contains("wait_for_chain")).expect("the last of the chain");
    let frames: Vec<&str> = chain.rsplit_once(' ').unwrap().0.split(';').collect();
    let place = |name: &str| frames.iter().position(|frame| frame.contains(name));
    let order = [place("last_of_chain"), place("wait_for_chain"), place("libc_read"), place("_[k]"), place("_[w]")];
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?} in {chain}");
    assert!(frames.last().unwrap().ends_with("_[w]") && !chain.contains("bpf_prog_"), "{chain}");
}

#[test]
fn a_storm_of_waits_is_told_in_the_right_proportion() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "hurry", "3");
    let accounts = recording.accounts();
    // The one that the other keeps waiting.
    let hurried = accounts.iter().max_by_key(|account| account.voluntary).expect("two threads");
    let counters = &recording.report.offcpu.as_ref().unwrap().counters;
    let times = recording.report.times_of(hurried.tid);
    let (long_ns, short_ns) = (recording.logged_sum("long_ns"), recording.logged_sum("short_ns"));
    let slack_ns = 20 * MS + hurried.slices * switch_ns();
    assert_same("off the CPU", times.wall_ns - times.running_ns, long_ns + short_ns, slack_ns);
    let waits = recording.logged_sum("waits");
    let skipped = counters["stacks_skipped"];
    // On a slow machine it is no storm.
    assert!(in_guest() || skipped > waits / 4, "{skipped} of {waits} waits had no stack taken");
    if Doctor::walks_by_tables(&lab) {
        let (long, short) = (recording.report.waited_in("take_long"), recording.report.waited_in("take_short"));
        let share = long as f64 / (long + short) as f64;
        let known = long_ns as f64 / (long_ns + short_ns) as f64;
        assert!((share - known).abs() < 0.08, "{share:.3} of it in the one, not {known:.3}");
        // By its own clock the thread is also in there while it turns away from the CPU, and back: some microseconds each time.
        let (found_ns, off_ns) = (long + short, times.wall_ns - times.running_ns);
        assert!(found_ns > off_ns * 9 / 10 && found_ns <= off_ns, "{found_ns} of {off_ns} ns off the CPU");
    }
}

#[test]
fn who_ends_waits_is_known_through_a_chain() {
    let Some(lab) = Lab::open() else { return };
    let chain = Program::c("waits.c");
    let recording = lab.record().option("--event", "cpu,offcpu,sched,offwake").command(&chain, &["3", "chain"]).run();
    let longest = recording.report.chains.first().expect("a chain");
    assert_eq!(longest.links.len(), 3, "{longest:?}");
    let whys: Vec<&str> = longest.links.iter().map(|link| link.why.as_str()).collect();
    assert_eq!(whys, ["pipe/socket/terminal", "pipe/socket/terminal", "sleep"]);
    let tids: Vec<u32> = longest.links.iter().map(|link| link.tid).collect();
    for (link, next) in longest.links.iter().zip(tids.iter().skip(1)) {
        // All that it was blocked, but for what had not ended, was ended by the next one.
        let blocked_ns = recording.report.times_of(link.tid).blocked_ns[&link.why];
        let by_next = |wake: &&tests::Wake| {
            wake.tid == link.tid && wake.waker.as_ref().is_some_and(|waker| waker.ends_with(&format!("({next})")))
        };
        let by_next: Vec<_> = recording.report.wakes.iter().filter(by_next).collect();
        let waited_ns: u64 = by_next.iter().map(|wake| wake.waited_ns).sum();
        assert_same("waited for the next", waited_ns, blocked_ns, blocked_ns / 20);
        let meanwhile_ns: u64 = by_next.iter().flat_map(|wake| wake.waker_waited_ns.values()).sum();
        assert!(meanwhile_ns * 10 > waited_ns * 9, "{meanwhile_ns} of {waited_ns} ns the next one waited itself");
    }
    let path = recording.export(&lab, "wakes.folded", &["--event", "offwake"]);
    let text = std::fs::read_to_string(path).unwrap();
    let value = |line: &&str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    // By frame pointers, who called a function of a library that keeps none is missing.
    let waiter = if Doctor::walks_by_tables(&lab) { "wait_for_chain" } else { "woken by " };
    let line = text.lines().filter(|line| line.contains(waiter)).max_by_key(value);
    let line = line.expect("the last of the chain");
    let frames: Vec<&str> = line.rsplit_once(' ').unwrap().0.split(';').collect();
    let place = |name: &str| frames.iter().position(|frame| frame.contains(name));
    let last = frames.iter().rposition(|frame| frame.starts_with("woken by ")).expect("a waker");
    // The waiter's stack, why it waited, and the waker's stack upside down.
    if Doctor::walks_by_tables(&lab) {
        let order = ["wait_for_chain", "pipe/socket", "try_to_wake_up", "libc_write", "middle_of_chain"].map(place);
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?} in {line}");
        assert!(order[4] < Some(last), "{line}");
    }
}

#[test]
fn the_way_to_the_recorder_is_no_part_of_a_stack_however_short_the_recording() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "sleeps", "0.3");
    let path = recording.export(&lab, "short.folded", &["--event", "offcpu"]);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("_[k]"), "{text}");
    let odd = text.lines().find(|line| ["bpf_prog_", "[kernel+"].iter().any(|name| line.contains(name)));
    assert!(odd.is_none(), "{odd:?}");
}

#[test]
fn tiny_maps_lose_time_and_say_how_much() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().environment("PERFPROBE_TEST_MAP_ENTRIES", "2");
    let storm = Program::c("waits.c");
    let recording = recorder.option("--event", "cpu,offcpu,sched").command(&storm, &["2", "storm"]).run();
    let offcpu = &recording.report.accounting["offcpu"];
    assert!(offcpu.lost["waits_full"] > 0, "two places hold 500 threads: {offcpu:?}");
    assert!(offcpu.reported > 0, "what found a place is kept: {offcpu:?}");
    let missed = recording.report.offcpu.as_ref().unwrap().counters["threads_not_followed"];
    assert!(missed > 0, "two places for all threads");
    let warned = recording.report.warnings.iter().any(|warning| warning.contains("offcpu") && warning.contains("lost"));
    assert!(warned, "no warning of the loss in {:?}", recording.report.warnings);
}

#[test]
fn short_waits_and_states_are_left_out_if_asked() {
    let Some(lab) = Lab::open() else { return };
    let waits = Program::c("waits.c");
    let record = |options: &[&str]| {
        let recorder = lab.record().option("--event", "cpu,offcpu,sched,offwake");
        let recorder = options.chunks(2).fold(recorder, |recorder, pair| recorder.option(pair[0], pair[1]));
        recorder.command(&waits, &["2", "sleeps"]).run()
    };
    let long = record(&["--min-wait", "10ms"]);
    let left_out_ns = |recording: &Recording| recording.report.offcpu.as_ref().unwrap().counters["left_out_ns"];
    // Two threads nap all the time, of which one takes naps that are too short.
    let (slept_ns, left_ns) = (long.report.waited_for("sleep"), left_out_ns(&long));
    assert!((1_600 * MS..2_300 * MS).contains(&slept_ns), "{slept_ns} ns of long naps");
    assert!((1_500 * MS..2_500 * MS).contains(&left_ns), "{left_ns} ns left out");
    let blocked_ns: u64 = long.report.threads.iter().map(tests::ThreadTimes::blocked_total).sum();
    assert!(blocked_ns > slept_ns + 1_500 * MS, "threads' times are whole: {blocked_ns} ns");
    let woken_ns: u64 = long.report.wakes.iter().filter(|wake| wake.why == "sleep").map(|wake| wake.waited_ns).sum();
    assert!(woken_ns <= slept_ns && woken_ns > slept_ns / 2, "{woken_ns} of {slept_ns} ns have a waker");
    let disk = record(&["--state", "D,T"]);
    assert_eq!(disk.report.waited_for("sleep"), 0);
    assert!(left_out_ns(&disk) > 3_000 * MS, "both threads' naps");
    let refused = |options: &[&str], needles: &[&str]| {
        let arguments: Vec<&str> = ["record"].iter().chain(options).chain(&["--pid", "1"]).copied().collect();
        tests::perfprobe(&lab, &arguments).refused(2, needles);
    };
    refused(&["-e", "offcpu", "--state", "Q"], &["no state `Q`", "S (asleep"]);
    refused(&["-e", "cpu", "--min-wait", "1ms"], &["record with -e offcpu"]);
    refused(&["-e", "offcpu", "--min-wait", "1parsec"], &["no unit of time"]);
}

/// A control group that may use a fifth of a CPU, in either version's hierarchy; `None` where none can be had.
struct Fifth(std::path::PathBuf);

impl Fifth {
    fn make() -> Option<Self> {
        let first = std::path::Path::new("/sys/fs/cgroup/cpu/perfprobe-test-fifth");
        if first.parent()?.join("cpu.shares").exists() {
            let _ = std::fs::create_dir(first);
            std::fs::write(first.join("cpu.cfs_quota_us"), "20000").ok()?;
            return Some(Self(first.into()));
        }
        let root = std::path::Path::new("/sys/fs/cgroup");
        std::fs::write(root.join("cgroup.subtree_control"), "+cpu").ok()?;
        let second = root.join("perfprobe-test-fifth");
        let _ = std::fs::create_dir(&second);
        std::fs::write(second.join("cpu.max"), "20000 100000").ok()?;
        Some(Self(second))
    }
}

impl Drop for Fifth {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_control_group_that_is_held_back_is_named() {
    let Some(lab) = Lab::open() else { return };
    let Some(group) = Fifth::make() else {
        Lab::leave_out("no control group can be limited here");
        return;
    };
    let hog = lab.start(&Program::c("waits.c"), &["60", "crowded"]);
    std::fs::write(group.0.join("cgroup.procs"), hog.pid().to_string()).unwrap();
    let recording = lab.record().option("--event", "cpu,offcpu,sched").pid(hog.pid()).duration("2s").run();
    drop(hog);
    let told = recording.report.warnings.iter().find(|warning| warning.contains("/perfprobe-test-fifth"));
    let told = told.unwrap_or_else(|| panic!("{:?}", recording.report.warnings));
    assert!(told.contains("held back for"), "{told}");
    let [running_ns, wall_ns] = recording
        .report
        .threads
        .iter()
        .fold([0, 0], |[running, wall], thread| [running + thread.running_ns, wall.max(thread.wall_ns)]);
    assert!(running_ns < wall_ns / 3, "a fifth of a CPU: {running_ns} of {wall_ns} ns");
}

#[test]
fn reasons_are_chosen_and_unknown_ones_named() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "sleeps", "1");
    let of = |options: &[&str]| recording.report_with(&lab, options);
    let sleeps = of(&["--reason", "sleep"]);
    assert_eq!(sleeps.waited_for("sleep"), recording.report.waited_for("sleep"));
    assert_eq!(sleeps.offcpu.unwrap().waits.len(), 1);
    assert_eq!(of(&["--reason", "SLE"]).waited_for("sleep"), recording.report.waited_for("sleep"));
    let busy = of(&["--hide-idle"]);
    assert!(busy.waited_for("sleep") == 0 && busy.waited_for("futex") == recording.report.waited_for("futex"));
    let refused = tests::perfprobe(&lab, &["report", recording.path_text(), "--reason", "boredom"]);
    refused.refused(2, &["no thread waited for `boredom`"]);
    let only_cpu = lab.record().option("--event", "cpu").command(&Program::c("waits.c"), &["0.5", "sleeps"]).run();
    let wall = lab.file("wall.svg");
    let export =
        tests::perfprobe(&lab, &["export", only_cpu.path_text(), "--event", "wall", "-o", wall.to_str().unwrap()]);
    export.refused(2, &["record with -e cpu,offcpu"]);
}
