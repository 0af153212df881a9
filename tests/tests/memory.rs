//! Memory: who touches it first, which processes grow, and what limits them; against programs that know.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Launcher, Memory, MemoryLimit, Program, Recording, Workload};

const MIB: f64 = 1_048_576.0;

/// What is told of memory, when nothing was lost.
fn told(recording: &Recording) -> &Memory {
    let memory = recording.report.memory.as_ref().expect("memory was recorded");
    let of = &memory.accounting;
    assert_eq!((of.lost_total(), of.taken), (0, of.reported), "{of:?}");
    assert_eq!(memory.kinds.iter().map(|kind| kind.value).sum::<u64>(), of.reported, "all is of some kind");
    assert_eq!(memory.mode, "growth");
    memory
}

#[test]
fn who_touches_memory_first_is_told_within_bounds() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().frequency(99).option("--event", "cpu,memory");
    let recording = recorder.command(&Program::c("memory.c"), &["0", "touch"]).run();
    let memory = told(&recording);
    // Others' faults stand for some of the target's, and some of the target's for others'.
    let known = recording.logged_sum("faults");
    assert!(memory.faults.abs_diff(known) < known / 8, "{} of {known} faults", memory.faults);
    assert!(memory.faults_sampled > 100 && memory.faults_sampled <= memory.faults, "{memory:#?}");
    let known_bytes = recording.logged_sum("touch_mapped")
        + recording.logged_sum("touch_shared")
        + recording.logged_sum("touch_heap");
    let bytes = memory.accounting.reported;
    assert!(bytes.abs_diff(known_bytes) < known_bytes / 8, "{bytes} of {known_bytes} bytes");
    // Where the kind is not told, stacks are followed by frame pointers only, and `malloc` has none.
    let is_told = !Doctor::ask(&lab, &Launcher::default()).check("memory").detail.contains("not what kind");
    for function in ["touch_mapped", "touch_shared", "touch_heap"].into_iter().take(if is_told { 3 } else { 2 }) {
        let (known, (bytes, half)) = (recording.logged_sum(function), memory.touched_by(function));
        // Bounds of 95 % are nearly two standard deviations; four are met by chance once in 10,000 times.
        assert!(bytes.abs_diff(known) <= 2 * half + known / 20, "{function}: {bytes} +- {half}, not {known}");
    }
    if !is_told {
        return;
    }
    let kind = |function: &str| {
        let places = memory.places.iter().filter(|place| place.function == function);
        places.max_by_key(|place| place.value).map(|place| place.why.clone()).unwrap()
    };
    let kinds = ["touch_mapped", "touch_shared", "touch_heap"].map(kind);
    assert_eq!(kinds, ["anonymous memory", "shared memory", "heap"]);
}

#[test]
fn a_leak_is_told_from_what_fills_and_from_churn() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().frequency(99).option("--event", "cpu,memory");
    let recording = recorder.command(&Program::c("memory.c"), &["24", "verdicts"]).run();
    let memory = told(&recording);
    let of = |name: &str| memory.of(recording.logged(name)[0].parse().unwrap());
    let leak = of("leak");
    assert_eq!(leak.class, "growing", "{leak:?}");
    // It sleeps for as long each time, and works beside.
    let rate = leak.bytes_per_second / MIB;
    assert!((0.75..=1.05).contains(&rate), "{leak:?}");
    assert!(leak.interval[0] <= leak.bytes_per_second && leak.bytes_per_second <= leak.interval[1], "{leak:?}");
    assert_eq!(of("start").class, "start-up", "{:?}", of("start"));
    let steady = of("steady");
    assert!(["steady", "start-up"].contains(&steady.class.as_str()), "{steady:?}");
    let text = tests::perfprobe(&lab, &["report", recording.path_text()]).succeeded().stdout;
    assert!(text.contains("growing +") && text.contains("start-up"), "{text}");
}

#[test]
fn how_near_a_limit_is_and_who_is_killed_for_it_is_told() {
    let Some(lab) = Lab::open() else { return };
    let Some(group) = MemoryLimit::create("perfprobe-test-memory") else { return };
    let program = Program::c("memory.c");
    let mut workload = Workload::start(&lab, program.path(), &["100", "grow"]);
    group.take(workload.pid());
    const LIMIT: u64 = 224 << 20;
    group.leave(LIMIT);
    let recorder = lab.record().frequency(99).option("--event", "cpu,memory").pid(workload.pid());
    let recording = recorder.duration("18s").run();
    let memory = told(&recording);
    let limit = memory.limits.iter().find(|limit| limit.subject.contains("perfprobe-test-memory")).unwrap();
    assert!(limit.limit_bytes >= LIMIT && limit.left_bytes < limit.limit_bytes / 2, "{limit:?}");
    let process = memory.of(workload.pid());
    assert_eq!(process.class, "growing", "{process:?}");
    let [about, soonest, latest] = limit.full_in_ns.expect("it grows");
    let known = limit.left_bytes as f64 / process.bytes_per_second * 1e9;
    assert!((about as f64 - known).abs() < known / 100.0 && soonest <= about && about <= latest, "{limit:?}");
    // It goes on until there is nothing left.
    let recorder = lab.record().frequency(99).option("--event", "cpu,memory").pid(workload.pid());
    let recording = recorder.duration("60s").run();
    workload.kill();
    let killed = recording.report.warnings.iter().filter(|warning| warning.contains("killed for want of memory"));
    assert!(killed.count() > 0, "{:?}", recording.report.warnings);
}
