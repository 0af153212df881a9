//! Operations of io_uring: against a workload whose files, operations, bytes and lengths are known.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Launcher, Program};

const THOUGHT_NS: u64 = 20_000_000;

#[test]
fn operations_of_io_uring_are_told_by_their_files_and_their_time() {
    let Some(lab) = Lab::open() else { return };
    if Doctor::ask(&lab, &Launcher::default()).check("io_uring events").state != "ok" {
        Lab::leave_out("the kernel does not tell of io_uring");
        return;
    }
    let folder = lab.file("files");
    std::fs::create_dir(&folder).unwrap();
    let recorder = lab.record().frequency(99).option("--event", "cpu,files");
    let recording = recorder.command(&Program::c("uring.c"), &["1", folder.to_str().unwrap()]).run();
    if !recording.logged("none").is_empty() {
        Lab::leave_out("io_uring is not allowed here");
        return;
    }
    let files = recording.report.file_calls.as_ref().expect("calls on files were recorded");
    let untold = files.assert_whole();
    let ring = folder.join("ring").display().to_string();
    let pipe =
        files.calls.iter().find(|row| row.call == "io_uring read" && row.kind == "pipe").expect("reads of a pipe");
    for (name, row) in
        [("writes", files.of("io_uring write", &ring)), ("reads", files.of("io_uring read", &ring)), ("slow", pipe)]
    {
        let lines = recording.logged(name);
        let known: Vec<u64> = lines[0].split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [count, bytes, ns] = known[..] else { panic!("{lines:?}") };
        assert!((count - untold..=count).contains(&row.count) && row.errors == 0, "{name}: {row:?}");
        assert!(row.bytes <= bytes && (untold > 0 || row.bytes == bytes), "{name}: {row:?}");
        assert!(row.lengths.total_ns <= ns && row.lengths.max_ns <= row.lengths.total_ns, "{name}: {row:?} of {ns}");
        if name == "slow" {
            assert!(row.lengths.total_ns >= count * THOUGHT_NS / 2, "{row:?}");
        }
    }
    let series = recording.report.files.as_ref().expect("their time by stack");
    let of_ring = series.places.iter().find(|place| place.why == format!("io_uring read {ring}")).expect("a place");
    assert_eq!(of_ring.function, "ask", "{of_ring:?}");
}
