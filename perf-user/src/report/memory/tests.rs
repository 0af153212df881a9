//! What is said of memory.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::super::{ReportOptions, fixture::Builder, report};
use crate::{
    collect::{BYTES, EventKind},
    host::memory_use::{MappingUse, MemoryUse},
    profile::{Accounting, GaugePoints, Memory, ProcessMemory, Profile},
};

const SECOND: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

/// A server that keeps 1 MiB more each second, of which a cgroup allows 164 MiB, and one that does not.
fn profile() -> Profile {
    let main = (7, 7, "server");
    let mut profile = Builder::new()
        .sample(main, &["main", "remember", "__libc_malloc", "_int_malloc", "heap_[w]"], 48 * MIB)
        .sample(main, &["main", "serve", "__memcpy_avx", "anonymous memory, in huge pages_[w]"], 16 * MIB)
        .build();
    let series = &mut profile.series[0];
    (series.event, series.unit, series.period_ns) = (EventKind::Memory.name().into(), BYTES.into(), 0);
    series.accounting = Accounting { taken: 64 * MIB, reported: 64 * MIB, ..Accounting::default() };
    // 48 samples of 256 pages, and one that stands for 8 huge ones.
    let counters = [
        ("faults", 12_288 + 8),
        ("faults_sampled", 49),
        ("faults_squared", 48 * 256 * 256),
        ("huge_faults_squared", 64),
    ];
    series.counters = counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut memory = Memory::default();
    let told = |anonymous| MemoryUse { anonymous, file: 4 * MIB, ..MemoryUse::default() };
    let mut grows = ProcessMemory { process: "server".into(), ..ProcessMemory::default() };
    grows.points = (0..61).map(|at| (at * SECOND, told((40 + at) * MIB))).collect();
    let mapped = |resident| MappingUse { resident, anonymous: resident, ..MappingUse::default() };
    grows.add_mapping(0, "[heap]".into(), mapped(40 * MIB));
    grows.add_mapping(SECOND, "[heap]".into(), mapped(50 * MIB));
    grows.add_mapping(60 * SECOND, "[heap]".into(), mapped(99 * MIB));
    grows.add_mapping(60 * SECOND, "/usr/lib/libc.so.6".into(), mapped(MIB));
    memory.processes.insert(7, grows);
    let points = (0..61).map(|at| (at * SECOND, told(10 * MIB))).collect();
    memory.processes.insert(8, ProcessMemory { process: "helper".into(), points, ..ProcessMemory::default() });
    memory.members.insert("cgroup /web".into(), [7].into());
    let mut gauge = |subject: &str, name: &str, [first, last]: [u64; 2]| {
        let points = GaugePoints { first: (0, first), last: (60 * SECOND, last), most: first.max(last) };
        memory.gauges.insert((subject.to_owned(), name.to_owned()), points);
    };
    gauge("cgroup /other", "limit_bytes", [64 * MIB; 2]);
    gauge("cgroup /web", "limit_bytes", [164 * MIB, 164 * MIB]);
    gauge("cgroup /web", "used_bytes", [50 * MIB, 124 * MIB]);
    gauge("cgroup /web", "reclaimable_bytes", [10 * MIB, 20 * MIB]);
    gauge("cgroup /web", "oom_kills", [3, 4]);
    gauge("machine", "available_bytes", [9_000 * MIB, 8_000 * MIB]);
    gauge("machine", "pressure_some_us", [1_000, 601_000]);
    gauge("machine", "pressure_full_us", [0, 0]);
    profile.memory = Some(memory);
    profile
}

#[test]
fn what_grows_is_told_with_its_rate_and_for_how_long_it_may() {
    let mut profile = profile();
    profile.recording.duration_ns = 60 * SECOND;
    let report = report(&profile, &ReportOptions { top: Some(5) });
    let memory = report.memory.as_ref().unwrap();
    let json = serde_json::to_value(memory).unwrap();
    assert_eq!(
        (json["mode"].as_str(), json["processes"][0]["class"].as_str()),
        (Some("growing").map(|_| "growth"), Some("growing"))
    );
    assert_eq!(json["processes"][0]["bytes_per_second"], MIB as f64);
    assert_eq!(json["processes"][1]["class"], "steady");
    assert_eq!(json["processes"][0]["change_bytes"], 60 * MIB);
    let limit = &memory.limits[0];
    assert_eq!(
        (limit.subject.as_str(), limit.left_bytes),
        ("cgroup /web", 60 * MIB),
        "what is taken back is not in use"
    );
    assert_eq!(limit.full_in_ns, Some([60 * SECOND; 3]));
    let other = memory.limits.iter().find(|limit| limit.subject == "cgroup /other").unwrap();
    assert_eq!(other.full_in_ns, None, "it is not in that");
    let machine = memory.pressure.iter().find(|pressure| pressure.subject == "machine").unwrap();
    assert_eq!((machine.some, machine.full), (Some(0.01), Some(0.0)));
    assert!(report.warnings.contains(&"1 process was killed for want of memory (OOM), cgroup /web".to_owned()));
    let text = report.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(
        text.contains("Grows      server (7) by 1.0 MiB/s; 60.0 MiB left, full in 1 min 00 s: cgroup /web"),
        "{text}"
    );
    assert!(text.contains("growing +1.0 MiB/s (1.0 to 1.0 MiB)"), "{text}");
    assert!(text.contains("40.0 MiB  99.0 MiB  [heap] of server (7)"), "first and last look: {text}");
    assert!(text.contains("60.0 MiB of 164.0 MiB left, full in 1 min 00 s"), "{text}");
    assert!(text.contains("some thread waited for memory in 1.0% of the time"), "{text}");
}

#[test]
fn who_touched_memory_is_told_by_the_programs_function_with_bounds() {
    let profile = profile();
    let report = report(&profile, &ReportOptions { top: Some(5) });
    let memory = report.memory.as_ref().unwrap();
    let places: Vec<_> = memory.places.iter().map(|touch| (touch.place.label(), touch.place.value)).collect();
    assert_eq!(places[0], ("remember (malloc)".to_owned(), 48 * MIB));
    assert_eq!(places[1].0, "serve (memcpy_avx)");
    // 48 samples of a MiB each have a standard deviation of 7; of one of 16 MiB, none may have come, or five.
    let half = memory.places[0].half() as f64 / MIB as f64;
    assert!((half - 1.96 * 49_f64.sqrt()).abs() < 0.2, "{half}");
    let [low, high] = memory.places[1].interval.map(|bytes| bytes / MIB);
    assert!(low < 4 && (80..100).contains(&high), "{low} {high}");
    assert!(memory.touched_interval[0] < 64 * MIB && memory.touched_interval[1] > 64 * MIB);
    assert!(memory.huge_missed_bytes == 0 && !report.series.contains_key("memory"));
}
