//! Requests to block devices: against a workload whose requests are known, and the kernel's own account of the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::path::Path;

use tests::{Block, BlockKind, Doctor, Lab, Launcher, LoopDevice, Program, Recording, SlowDisk};

fn record(lab: &Lab, program: &str, path: &Path) -> Recording {
    let recorder = lab.record().frequency(99).option("--event", "cpu,io");
    recorder.command(&Program::c(program), &["1", path.to_str().unwrap()]).run()
}

fn block(recording: &Recording) -> &Block {
    recording.report.block.as_ref().expect("requests were recorded")
}

/// A number below a million as reports have it.
fn thousands(number: u64) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
}

/// What the workload says of its requests: how many, how much, and for how long.
fn known(recording: &Recording, name: &str) -> [u64; 3] {
    let lines = recording.logged(name);
    let numbers: Vec<u64> = lines[0].split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// Asserts that nothing was lost, but for requests whose completion the kernel did not tell: there are some that run no programs in
/// the context of some threads, which may be interrupted by a completion; how many these are. And that what is reported is told.
fn assert_whole(recording: &Recording) -> u64 {
    let accounting = &block(recording).accounting;
    let untold = accounting.lost.get("completion_missed").copied().unwrap_or(0);
    assert_eq!(accounting.lost_total(), untold, "maps have room: {accounting:?}");
    assert!(untold * 100 <= accounting.taken, "{accounting:?}");
    let counted: u64 = block(recording).kinds.iter().map(|kind| kind.count).sum();
    assert_eq!(counted, accounting.reported);
    let counters = &block(recording).counters;
    let ended = accounting.taken + counters["merged"] + counters["open_at_end"];
    assert_eq!(counters["io_started"], ended, "what was asked for is complete, merged, or under way: {counters:?}");
    untold
}

/// Asserts that requests took as long as the workload waited for them, but for its way into the kernel and back, and for CPUs that
/// others have: on a busy machine that can be most of it.
fn assert_lengths(kind: &BlockKind, waited_ns: u64) {
    let told_ns = kind.whole.total_ns;
    assert!((waited_ns / 4..=waited_ns).contains(&told_ns), "{told_ns} of {waited_ns} ns: {kind:?}");
    let parts = kind.queue.total_ns + kind.device.total_ns;
    assert_eq!(parts, kind.whole.total_ns, "what does not wait in the queue is at the device");
    for of in [&kind.whole, &kind.queue, &kind.device] {
        assert!(of.p50_ns <= of.p99_ns && of.p99_ns <= of.max_ns && of.max_ns <= of.total_ns, "{of:?}");
    }
}

#[test]
fn every_request_is_counted_with_its_bytes_and_its_time() {
    let Some(lab) = Lab::open() else { return };
    let Some(disk) = LoopDevice::over_file(&lab, 64) else { return };
    let before = disk.account();
    let recording = record(&lab, "disk.c", disk.path().as_ref());
    let after = disk.account();
    let untold = assert_whole(&recording);
    let is_all = |count: u64, all: u64| (all - untold..=all).contains(&count);
    let [reads, read_bytes, reads_ns] = known(&recording, "reads");
    let [writes, written_bytes, _] = known(&recording, "writes");
    let [syncs, synced_bytes, syncs_ns] = known(&recording, "syncs");
    let (read, write) = (block(&recording).of("read", disk.name()), block(&recording).of("write", disk.name()));
    assert!(is_all(read.count, reads) && is_all(write.count, writes + syncs), "{read:?} {write:?}");
    assert!(read.bytes == read.count * (8 << 10) && read_bytes == reads * (8 << 10), "{read:?}");
    assert!((0..=untold * (16 << 10)).contains(&(written_bytes + synced_bytes - write.bytes)), "{write:?}");
    assert_eq!((read.failed, write.failed), (0, 0));
    if untold == 0 {
        assert_lengths(read, reads_ns);
    }
    let maps = std::fs::read_to_string(recording.export(&lab, "disk.latency.svg", &[])).unwrap();
    for (kind, of) in [("read", read), ("write", write)] {
        let told = format!("<tspan class=\"name\">{kind} {}</tspan>  {} times", disk.name(), thousands(of.count));
        assert!(maps.contains(&told), "no {told} in {maps}");
    }
    // The kernel's own account, of whatever process: 512 bytes a sector.
    let done: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert!(done[0] >= read.count && done[1] * 512 >= read.bytes, "{done:?}");
    assert!(done[0] < read.count + 50, "hardly anybody else reads a new disk: {done:?}");
    // Flushes are writes of nothing to it.
    assert_eq!([done[2], done[3] * 512], [writes + 2 * syncs, written_bytes + synced_bytes]);
    let files = &block(&recording).files;
    let file = |operation: &str| files.iter().find(|file| file.operation == operation).unwrap();
    let told = file("read");
    assert_eq!((told.file.as_str(), told.count, told.bytes), (disk.path(), read.count, read.bytes));
    assert_eq!(told.total_ns, read.whole.total_ns);
    if Doctor::ask(&lab, &Launcher::default()).check("block device events").state == "ok" {
        let flush = block(&recording).of("flush", disk.name());
        assert!(is_all(flush.count, syncs) && flush.bytes == 0, "{flush:?}");
        if untold == 0 {
            assert_lengths(flush, syncs_ns);
        }
    }
}

#[test]
fn requests_are_those_of_the_functions_that_asked() {
    let Some(lab) = Lab::open() else { return };
    let Some(disk) = LoopDevice::over_file(&lab, 64) else { return };
    let recording = record(&lab, "disk.c", disk.path().as_ref());
    if !Doctor::walks_by_tables(&lab) {
        return;
    }
    let io = recording.report.io.as_ref().expect("requests were recorded");
    let kinds = block(&recording);
    let place = |function: &str, why: &str| {
        let found = io.places.iter().find(|place| place.function == function && place.why == why);
        found.unwrap_or_else(|| panic!("no {function} {why} in {:#?}", io.places)).value
    };
    let read = format!("read {}", disk.name());
    assert_eq!(place("reads", &read), kinds.of("read", disk.name()).whole.total_ns);
    let write = format!("write {}", disk.name());
    let writes = place("writes", &write) + place("syncs", &write);
    assert_eq!(writes, kinds.of("write", disk.name()).whole.total_ns, "each request is one function's");
}

#[test]
fn requests_and_calls_take_as_long_as_the_device_does() {
    const DELAY_NS: u64 = 30_000_000;
    let Some(lab) = Lab::open() else { return };
    let Some(disk) = SlowDisk::of(&lab, DELAY_NS / 1_000_000) else { return };
    let recorder = lab.record().frequency(99).option("--event", "cpu,io,files");
    let recording = recorder.command(&Program::c("slow.c"), &["1", disk.device().path(), "30"]).run();
    let untold = assert_whole(&recording);
    let calls = recording.report.file_calls.as_ref().expect("calls were recorded");
    let untold_calls = calls.assert_whole();
    let [count, bytes, waited_ns] = known(&recording, "reads");
    let read = block(&recording).of("read", disk.device().name());
    assert!((count - untold..=count).contains(&read.count) && read.bytes == read.count * (bytes / count), "{read:?}");
    let call = calls.of("pread64", disk.device().path());
    assert!((count - untold_calls..=count).contains(&call.count), "{call:?}");
    assert!((call.count - untold..=call.count).contains(&call.from_disk), "{call:?}");
    assert_eq!(call.bytes, call.count * (bytes / count), "{call:?}");
    for (lengths, all, what) in [(&read.whole, read.count, "requests"), (&call.lengths, call.count, "calls")] {
        // Between these: the rest are ways into the kernel and back, and CPUs that others have.
        let [slept_ns, waited_ns] = [all * DELAY_NS, waited_ns * all / count];
        assert!(
            (slept_ns..=waited_ns + waited_ns / 20).contains(&lengths.total_ns),
            "{what}: {waited_ns}: {lengths:?}"
        );
        assert!(lengths.p50_ns * 100 >= DELAY_NS * 88, "{what}: an eighth: {lengths:?}");
    }
    // The disk is not asked for several at once.
    assert!(read.device.total_ns * 100 >= read.whole.total_ns * 95, "nothing waits in the queue: {read:?}");
}

#[test]
fn what_the_kernel_writes_later_is_for_who_left_it_in_memory() {
    let Some(lab) = Lab::open() else { return };
    let Some(mut disk) = LoopDevice::over_file(&lab, 128) else { return };
    let Some(folder) = disk.mount(&lab) else { return };
    let recording = record(&lab, "later.c", &folder);
    let untold = assert_whole(&recording);
    let files = &block(&recording).files;
    let bytes =
        |operation: &str, name: &str| block(&recording).sum_of(operation, &folder.join(name), |file| file.bytes);
    for (operation, name, known) in
        [("writeback", "written", 16 << 20), ("writeback", "mapped", 8 << 20), ("write", "own", 4 << 20)]
    {
        // A request is of a MiB or two.
        let told = bytes(operation, name);
        assert!((known - untold * (2 << 20)..=known).contains(&told), "{operation} {name}: {told}: {files:#?}");
    }
    assert_eq!(bytes("write", "written") + bytes("write", "mapped") + bytes("writeback", "own"), 0, "{files:#?}");
    if !Doctor::walks_by_tables(&lab) {
        return;
    }
    // By the same sums, of functions: pages that are changed in a mapping are so in a fault.
    let io = recording.report.io.as_ref().expect("requests were recorded");
    let why = format!("writeback {}", disk.name());
    let ns = |function: &str| -> u64 {
        let places = io.places.iter().filter(|place| place.function == function && place.why == why);
        places.map(|place| place.value).sum()
    };
    let of_file = |name: &str| block(&recording).sum_of("writeback", &folder.join(name), |file| file.total_ns);
    assert_eq!([ns("fill"), ns("touches")], [of_file("written"), of_file("mapped")], "{:#?}", io.places);
}

#[test]
fn files_that_have_one_number_one_after_another_are_told_apart() {
    let Some(lab) = Lab::open() else { return };
    let Some(mut disk) = LoopDevice::over_file(&lab, 64) else { return };
    let Some(folder) = disk.mount(&lab) else { return };
    let recording = record(&lab, "files.c", &folder);
    let untold = assert_whole(&recording);
    let files = &block(&recording).files;
    let written = |name: &str| block(&recording).sum_of("write", &folder.join(name), |file| file.count);
    for (name, known) in [("first", 20), ("second", 30), ("second (deleted)", 10)] {
        assert!((known - untold..=known).contains(&written(name)), "{name}: {}: {files:#?}", written(name));
    }
    // What the file system writes for itself is no file's.
    let others = files.iter().filter(|file| file.bytes > 0 && !file.file.is_empty());
    let others: Vec<_> =
        others.filter(|file| !file.file.contains("/first") && !file.file.contains("/second")).collect();
    assert!(others.iter().all(|file| file.operation == "read"), "libraries are read: {others:#?}");
}
