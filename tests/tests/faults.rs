//! Page faults: against a workload that knows the kernel's own account of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Doctor, Lab, Launcher, LoopDevice, PageFaults, Program, Recording};

/// Faults of the C library and of the workload's own, beside those that it counts.
const OTHERS: u64 = 100;

/// What the workload says of a phase: pages, minor and major faults by the kernel's account, and nanoseconds.
fn known(recording: &Recording, name: &str) -> [u64; 4] {
    let lines = recording.logged(name);
    let numbers: Vec<u64> = lines[0].split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// Asserts that nothing was lost, and that what is reported is told.
fn assert_whole(faults: &PageFaults) {
    let PageFaults { accounting, faults } = faults;
    assert_eq!((accounting.lost_total(), accounting.taken), (0, accounting.reported), "{accounting:?}");
    assert_eq!(faults.iter().map(|row| row.count).sum::<u64>(), accounting.reported, "what is reported is told");
    for row in faults {
        let is_major = row.call == "major page fault";
        assert!(is_major || row.call == "page fault", "{row:?}");
        assert_eq!((row.errors, row.bytes), (0, 0), "{row:?}");
        // The kernel reads ahead in faults that do not wait for that.
        assert!(if is_major { row.from_disk == row.count } else { row.from_disk <= row.count }, "{row:?}");
        assert!(["file", "memory"].contains(&row.kind.as_str()) && !row.file.is_empty(), "{row:?}");
    }
}

#[test]
fn every_fault_is_counted_by_what_is_mapped_there() {
    let Some(lab) = Lab::open() else { return };
    let doctor = Doctor::ask(&lab, &Launcher::default());
    let check = doctor.check("page faults");
    if check.detail.contains("not told") {
        Lab::leave_out("the kernel does not tell of page faults");
        return;
    }
    let tells_mapped = check.state == "ok";
    let Some(mut disk) = LoopDevice::over_file(&lab, 64) else { return };
    let Some(folder) = disk.mount(&lab) else { return };
    let recorder = lab.record().frequency(99).option("--event", "cpu,faults");
    let recording = recorder.command(&Program::c("pages.c"), &["1", folder.to_str().unwrap()]).run();
    let faults = recording.report.page_faults.as_ref().expect("faults were recorded");
    assert_whole(faults);
    let told = |name: &str| known(&recording, name);
    let [pages, cold_minor, cold_major, cold_ns] = told("cold");
    assert_eq!((recording.logged("refused")[0].as_str(), cold_minor + cold_major), ("250", pages));
    assert!(cold_major > pages / 2, "nothing of it was in memory: {cold_major} of {pages}");
    let majors: u64 = faults.faults.iter().filter(|row| row.call == "major page fault").map(|row| row.count).sum();
    assert!((cold_major..=cold_major + OTHERS).contains(&majors), "{majors}, not {cold_major}");
    if !tells_mapped {
        return;
    }
    let mapped = folder.join("mapped").display().to_string();
    let [count, ns] = faults.of("major page fault", &mapped);
    assert_eq!(count, cold_major);
    assert!((cold_ns / 4..=cold_ns).contains(&ns), "{ns} of {cold_ns} ns");
    let (private, copied, anonymous, heap) = (told("private"), told("copied"), told("anonymous"), told("heap"));
    let [count, ns] = faults.of("page fault", &mapped);
    assert_eq!(count, private[1] + cold_minor);
    assert!(private[2] == 0 && ns <= private[3] + cold_ns, "{ns} ns: {private:?}");
    // Those that are answered by a signal do not count, here as in the kernel's account.
    let [count, ns] = faults.of("page fault", "[anonymous memory]");
    let known = anonymous[1] + copied[1];
    assert!((known..=known + OTHERS).contains(&count) && known >= 2 * pages, "{count}, not {known}");
    assert!(ns > (anonymous[3] + copied[3]) / 50, "{ns} ns: {anonymous:?} {copied:?}");
    let [count, _] = faults.of("page fault", "[heap]");
    assert!((heap[1]..=heap[1] + OTHERS).contains(&count) && heap[1] >= pages, "{count}: {heap:?}");
    let [count, _] = faults.of("page fault", "[stack]");
    assert!((1..OTHERS).contains(&count), "{count} of the stack");
}

#[test]
fn faults_are_told_where_they_are_made() {
    let Some(lab) = Lab::open() else { return };
    let doctor = Doctor::ask(&lab, &Launcher::default());
    if doctor.check("page faults").state != "ok" || doctor.check("unwind tables").state != "ok" {
        Lab::leave_out("the kernel does not tell of what is mapped, or does not walk stacks by tables");
        return;
    }
    let folder = lab.file("files");
    std::fs::create_dir(&folder).unwrap();
    let recorder = lab.record().frequency(99).option("--event", "cpu,faults");
    let recording = recorder.command(&Program::c("pages.c"), &["1", folder.to_str().unwrap()]).run();
    let places = &recording.report.faults.as_ref().expect("their time by stack").places;
    let mapped = format!("page fault {}", folder.join("mapped").display());
    let anonymous = "page fault [anonymous memory]";
    for (function, why) in [
        ("touch_anonymous", anonymous),
        ("read_into", anonymous),
        ("grow_heap", "page fault [heap]"),
        ("read_mapped", &mapped),
        ("write_private", &mapped),
    ] {
        // Which kind cold pages make depends on the file system.
        let found = places.iter().find(|place| place.function == function && place.why.ends_with(why));
        let place = found.unwrap_or_else(|| panic!("no {function} {why} in {places:#?}"));
        assert!(place.value > 0, "{place:?}");
    }
    let total: u64 = recording.report.page_faults.as_ref().unwrap().faults.iter().map(|row| row.lengths.total_ns).sum();
    assert_eq!(recording.report.accounting["faults"].reported, total, "the time by stack is that by file");
}
