//! As much as a machine can do: what there is room for is told exactly, and of what there is none it is said.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Lab, Program, Recording, in_guest};

const MS: u64 = 1_000_000;
const ALL: &str = "cpu,offcpu,sched,offwake";

/// How long a thread was there, by its own clock.
fn alive_ns(recording: &Recording, tid: u32) -> u64 {
    let line =
        recording.logged("alive").into_iter().find_map(|line| Some(line.strip_prefix(&format!("{tid} "))?.to_owned()));
    line.expect("each thread logs how long it was there").parse().unwrap()
}

fn assert_near(what: &str, found_ns: u64, known_ns: u64, slack_ns: u64) {
    let allowed_ns = slack_ns + known_ns / 100;
    assert!(found_ns.abs_diff(known_ns) <= allowed_ns, "{what}: {found_ns}, not {known_ns} ± {allowed_ns} ns");
}

#[test]
fn every_switch_of_a_storm_on_all_cpus_is_counted() {
    let Some(lab) = Lab::open() else { return };
    let storm = Program::c("overload.c");
    let recording = lab.record().frequency(99).option("--event", ALL).command(&storm, &["3", "switches", "1"]).run();
    let accounting = &recording.report.accounting["offcpu"];
    assert_eq!(accounting.lost_total(), 0, "maps have room: {accounting:?}");
    let accounts = recording.accounts();
    assert_eq!(accounts.len() as u64, recording.logged_sum("threads"), "each thread has told");
    let switch_ns = if in_guest() { 400_000 } else { 8_000 };
    for account in &accounts {
        account.assert_counted(&recording, 0);
        let times = recording.report.times_of(account.tid);
        // Between the last look at the clock and the end a thread waits for a CPU that all want.
        let late_ns = if in_guest() { 300 * MS } else { 100 * MS };
        assert_near("wall", times.wall_ns, alive_ns(&recording, account.tid), late_ns);
        let slack_ns = 20 * MS + account.slices * switch_ns;
        assert_near("running", times.running_ns, account.run_ns, slack_ns);
        assert_near("waiting for a CPU", times.runnable_ns, account.wait_ns, slack_ns + 100 * MS);
    }
    let switches: u64 = accounts.iter().map(|account| account.slices).sum();
    assert!(switches > 5_000, "{switches} switches are no storm");
    let counters = &recording.report.run_queue.as_ref().unwrap().counters;
    assert!(["run_queues_full", "takers_full"].iter().all(|full| counters[*full] == 0), "{counters:?}");
    recording.assert_no_warning_of("too many");
}

#[test]
fn a_crowd_has_its_times_and_what_there_is_no_room_for_is_said() {
    let Some(lab) = Lab::open() else { return };
    let wanted = if in_guest() { "1500" } else { "20000" };
    let recorder = lab.record().option("--event", ALL).output("out.txt");
    let recording = recorder.command(&Program::c("overload.c"), &["2", "crowd", wanted]).run();
    let (crowd, came) = (recording.logged_sum("threads"), recording.logged_sum("came"));
    assert!(crowd >= 1000 && came > 10, "{crowd} threads could be started, and {came} came and went");
    // Where there are more than ids, which come again, those of one id are one.
    let ids: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    let (told, were) = (recording.report.threads.len() as u64, crowd + came + 1);
    assert!(
        told == were || (told > crowd && told < were && were > ids * 9 / 10),
        "{told} of {were} threads have times"
    );
    // All of them end in one window, which has places for fewer waits.
    let offcpu = &recording.report.accounting["offcpu"];
    assert!(offcpu.lost_total() * 100 <= offcpu.taken, "{offcpu:?}");
    // A third of them waits for each, from when all are there until the process ends.
    for why in ["futex", "pipe/socket/terminal", "sleep"] {
        let waited = |thread: &&tests::ThreadTimes| thread.blocked_ns.get(why).is_some_and(|ns| *ns > 1_500 * MS);
        let waiting = recording.report.threads.iter().filter(waited).count() as u64;
        assert!(waiting.abs_diff(crowd / 3) <= 2, "{waiting} of {crowd} threads wait for {why}");
    }
    // Waits for a CPU are all in the table, or the report says how many are not.
    let queue = recording.report.run_queue.as_ref().unwrap();
    let in_table_ns: u64 = queue.threads.iter().map(|thread| thread.total_ns).sum();
    let runnable_ns: u64 = recording.report.threads.iter().map(|thread| thread.runnable_ns).sum();
    assert!(in_table_ns <= runnable_ns + runnable_ns / 100, "{in_table_ns} of {runnable_ns} ns");
    let missing = queue.counters["run_queues_full"];
    let known: u64 = queue.threads.iter().map(|thread| thread.count).sum();
    let warned = recording.report.warnings.iter().any(|warning| warning.contains("waits for a CPU"));
    assert_eq!(warned, missing * 99 > known, "{missing} are missing beside {known}: {:?}", recording.report.warnings);
    assert!(
        missing > 0 || in_table_ns > runnable_ns * 9 / 10,
        "{in_table_ns} of {runnable_ns} ns, and nothing is missing"
    );
    let peak_bytes = recording.report.overhead.recorder_peak_rss_bytes;
    assert!(peak_bytes < 512 << 20, "{peak_bytes} bytes of memory");
    let text = std::fs::read_to_string(recording.finished.directory.join("out.txt")).unwrap();
    assert!(text.lines().count() < 250 && text.contains("more threads"), "tables are cut short:\n{text}");
}

#[test]
fn tiny_maps_in_a_storm_lose_what_they_say_and_nothing_else() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().environment("PERFPROBE_TEST_MAP_ENTRIES", "4").output("out.txt");
    let events = format!("{ALL},syscalls");
    let recorder =
        recorder.frequency(99).option("--event", events).command(&Program::c("overload.c"), &["2", "switches", "2"]);
    let recording = recorder.run();
    let report = &recording.report;
    let calls = &report.calls.as_ref().unwrap().accounting;
    for (event, accounting) in report.accounting.iter().chain([(&"calls".to_owned(), calls)]) {
        assert!(accounting.lost_total() > 0, "four places are not enough for {event}: {accounting:?}");
    }
    let text = std::fs::read_to_string(recording.finished.directory.join("out.txt")).unwrap();
    let causes = report.accounting.values().chain([calls]).flat_map(|accounting| &accounting.lost);
    for (cause, _) in causes.filter(|(_, count)| **count > 0) {
        assert!(text.contains(&cause.replace('_', " ")), "the report names the cause {cause}:\n{text}");
    }
    let told = report.warnings.join("\n");
    assert!(told.contains("some threads are missing"), "no word of that in:\n{told}");
    assert!(text.contains("wakers full"), "{text}");
    // What there was room for is no more than what was.
    let accounts = recording.accounts();
    for times in &report.threads {
        let Some(account) = accounts.iter().find(|account| account.tid == times.tid) else { continue };
        let (alive_ns, switch_ns) = (alive_ns(&recording, account.tid), if in_guest() { 400_000 } else { 8_000 });
        assert!(times.wall_ns < alive_ns + 100 * MS, "{times:?} in {alive_ns} ns");
        let most_ns = account.run_ns + account.run_ns / 100 + 20 * MS + account.slices * switch_ns;
        assert!(times.running_ns <= most_ns, "{times:?}, of {account:?}");
    }
}
