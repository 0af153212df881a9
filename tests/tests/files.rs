//! System calls on files and sockets: against workloads whose files, peers, calls, bytes, errors and lengths are known.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use tests::{Answers, Doctor, FileCalls, Lab, LoopDevice, Program, Recording, Workload, perfprobe};

const MS: u64 = 1_000_000;
/// How long the server of the workload thinks about each request.
const THOUGHT_NS: u64 = 20 * MS;

fn record(lab: &Lab, program: &str, arguments: &[&str]) -> Recording {
    let recorder = lab.record().frequency(99).option("--event", "cpu,files");
    recorder.command(&Program::c(program), &[&["1"], arguments].concat()).run()
}

/// A recording of calls on the files in this folder.
fn record_files(lab: &Lab, folder: &Path, kind: &str) -> Recording {
    record(lab, "filecalls.c", &[folder.to_str().unwrap(), kind])
}

/// A new folder.
fn folder(lab: &Lab) -> PathBuf {
    let folder = lab.file("files");
    std::fs::create_dir(&folder).expect("create a folder");
    folder
}

fn files(recording: &Recording) -> &FileCalls {
    recording.report.file_calls.as_ref().expect("calls on files were recorded")
}

/// What a workload says of its calls: how many, how much, and for how long.
fn known(lines: &[String]) -> [u64; 3] {
    let numbers: Vec<u64> = lines[0].split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// The name of a call, and that of the general one which 64-bit Arm has for it.
fn named<'name>(own: &'name str, general: &'name str) -> &'name str {
    if cfg!(target_arch = "x86_64") { own } else { general }
}

/// Asserts that nothing was lost but what newer kernels do not tell: how many calls that are.
fn assert_whole(recording: &Recording) -> u64 {
    files(recording).assert_whole()
}

/// Asserts that answers took as long as they were waited for, at least as long as the server thought about them.
fn assert_answers(answers: &Answers, [count, _, waited_ns]: [u64; 3], longest_ns: u64, untold: u64) {
    assert!((count - untold.min(count)..=count).contains(&answers.count), "{count} answers: {answers:?}");
    let of = &answers.lengths;
    assert!(of.p50_ns <= answers.p90_ns && answers.p90_ns <= of.p99_ns && of.p99_ns <= of.max_ns, "{answers:?}");
    if untold == 0 {
        assert!((count * THOUGHT_NS / 2..=waited_ns).contains(&of.total_ns), "of {waited_ns} ns: {answers:?}");
        assert!((THOUGHT_NS * 88 / 100..=longest_ns).contains(&of.p50_ns), "at most {longest_ns} ns: {answers:?}");
        assert!(of.max_ns <= longest_ns, "at most {longest_ns} ns: {answers:?}");
    }
}

/// The client and the server of a workload which perfprobe itself started.
fn sides(recording: &Recording) -> [u32; 2] {
    ["ready", "server"].map(|name| recording.logged(name)[0].parse().unwrap())
}

/// Asserts that what each side of the connections said, heard and waited for is counted under these names: the client's for the
/// server, the server's for the client, and that of the socket that listens.
fn assert_conversation(recording: &Recording, to: &str, from: &str, listening: &str) {
    let untold = assert_whole(recording);
    let (files, [client, server]) = (files(recording), sides(recording));
    let told = |name: &str| known(&recording.logged(name));
    let (connects, accepts) = (told("client_connects"), told("server_accepts"));
    for (call, name) in [("sendto", "sends"), ("recvfrom", "receives"), ("write", "writes"), ("read", "reads")] {
        files.of_process(client, call, to).assert_counted(told(&format!("client_{name}")), 0, untold);
    }
    for (call, name) in [("sendto", "sends"), ("recvfrom", "receives")] {
        files.of_process(server, call, from).assert_counted(told(&format!("server_{name}")), 0, untold);
    }
    files.of_process(client, "connect", to).assert_counted(connects, 0, untold);
    files.of_process(server, "accept4", listening).assert_counted(accepts, 0, untold);
    // The client closes the socket that listens, too, which goes by one name with the connections where that is a path.
    let closes = connects[0] + u64::from(to == listening);
    files.of_process(client, "close", to).assert_counted([closes, 0, u64::MAX], 0, untold);
    files.of_process(server, "close", from).assert_counted([accepts[0], 0, u64::MAX], 0, untold);
    let rows = || files.calls.iter().filter(|row| [to, from, listening].contains(&row.file.as_str()));
    assert!(rows().all(|row| row.kind == "socket" && row.from_disk == 0), "{:#?}", rows().collect::<Vec<_>>());
    let peer = files.peer(client, to).unwrap_or_else(|| panic!("no {to} in {:#?}", files.peers));
    assert_answers(&peer.responses, told("client_responses"), recording.logged_sum("longest_ns"), untold);
    assert_eq!((peer.resets_sent, peer.resets_received), (0, 0), "{peer:?}");
    if to.starts_with("tcp") {
        assert_eq!(peer.connects.count, connects[0], "{peer:?}");
        assert!(peer.connects.total_ns <= connects[2], "{} ns by the clock: {peer:?}", connects[2]);
    }
    let of_server = files.peer(server, from);
    assert!(of_server.is_none_or(|peer| peer.responses.count == 0), "who answers waits for none: {of_server:?}");
}

/// Starts to record processes that run already, lets the workload go on, and waits for its end.
fn record_running(lab: &Lab, workload: &mut Workload, others: &[u32], go: &Path) -> Recording {
    let pids = [&[workload.pid()], others].concat();
    let recorder = lab.record().frequency(99).option("--event", "cpu,files").pids(&pids);
    let mut session = recorder.start();
    session.wait_until_recording("out.perfprobe");
    std::fs::write(go, "").expect("let the workload go on");
    workload.wait();
    session.wait().succeeded().recording()
}

#[test]
fn reads_from_the_disk_are_told_from_those_from_memory() {
    let Some(lab) = Lab::open() else { return };
    let Some(mut disk) = LoopDevice::over_file(&lab, 64) else { return };
    let Some(folder) = disk.mount(&lab) else { return };
    let recording = record_files(&lab, &folder, "disk");
    let untold = assert_whole(&recording);
    let path = |name: &str| folder.join(name).display().to_string();
    let told = |name: &str| known(&recording.logged(name));
    let of = |call: &str, name: &str| files(&recording).of(call, &path(name));
    let (cold, cached) = (of("pread64", "data"), of("read", "data"));
    cold.assert_counted(told("cold"), 0, untold);
    cached.assert_counted(told("cached"), 0, untold);
    assert_eq!((cold.kind.as_str(), cold.process.as_str()), ("file", "filecalls"), "{cold:?}");
    let (from_disk, reads) = (recording.logged_sum("from_disk"), told("cold")[0]);
    // Where the kernel keeps no account it says that nothing was read.
    let expected = if from_disk == 0 { 1..=reads } else { from_disk - untold..=from_disk };
    assert!(expected.contains(&cold.from_disk), "{expected:?}: {cold:?}");
    assert_eq!(cached.from_disk, 0, "all of it is in memory: {cached:?}");
    of("pwrite64", "synced").assert_counted(told("writes"), 0, untold);
    let (syncs, fsync) = (told("syncs"), of("fsync", "synced"));
    fsync.assert_counted(syncs, 0, untold);
    assert!((syncs[2] / 4..=syncs[2]).contains(&fsync.lengths.total_ns), "of {} ns: {fsync:?}", syncs[2]);
    assert!(fsync.from_disk > syncs[0] / 2, "each has something to write: {fsync:?}");
}

#[test]
fn storms_of_syncs_are_those_of_the_function_that_asked() {
    let Some(lab) = Lab::open() else { return };
    let Some(mut disk) = LoopDevice::over_file(&lab, 64) else { return };
    let Some(folder) = disk.mount(&lab) else { return };
    let recording = record_files(&lab, &folder, "disk");
    let _ = assert_whole(&recording);
    let series = recording.report.files.as_ref().expect("calls on files were recorded");
    for (function, call, name) in [("sync_storm", "fsync", "synced"), ("cold_reads", "pread64", "data")] {
        let file = folder.join(name).display().to_string();
        let why = format!("{call} {file}");
        let known_ns = files(&recording).of(call, &file).lengths.total_ns as f64;
        // As of all calls: each of the short ones that are taken with their stack stands for 100 us or more. Six deviations.
        let allowed_ns = 6.0 * (known_ns * 100_000.0).sqrt() + 100_000.0;
        let assert_told = |told_ns: u64, what: &str| {
            let off_ns = (told_ns as f64 - known_ns).abs();
            assert!(off_ns <= allowed_ns, "{what} of {why}: {told_ns} of {known_ns} ± {allowed_ns} ns");
        };
        assert_told(series.waits.iter().filter(|wait| wait.why == why).map(|wait| wait.value).sum(), "all");
        if !Doctor::walks_by_tables(&lab) {
            continue;
        }
        let places: Vec<_> = series.places.iter().filter(|place| place.why == why).collect();
        let of_function = places.iter().filter(|place| place.function == function).map(|place| place.value).sum();
        assert_told(of_function, function);
        let own = series.functions.iter().find(|own| own.name == function);
        assert!(own.is_some_and(|own| own.total >= of_function), "{own:?}, but {of_function} ns: {places:#?}");
    }
}

#[test]
fn calls_with_paths_are_counted_under_them_and_their_errors() {
    let Some(lab) = Lab::open() else { return };
    let folder = folder(&lab);
    let recording = record_files(&lab, &folder, "names");
    let untold = assert_whole(&recording);
    let path = |name: &str| folder.join(name).display().to_string();
    let of = |call: &str, file: &str| files(&recording).of(call, file);
    let told = |name: &str| known(&recording.logged(name));
    let missing = told("missing");
    of("openat", &path("missing")).assert_counted(missing, missing[0], untold);
    of("newfstatat", &path("steady")).assert_counted(told("stats"), 0, untold);
    of("newfstatat", "relative").assert_counted(told("relative_stats"), 0, untold);
    let folder_reads = told("directory_reads");
    of("read", folder.to_str().unwrap()).assert_counted(folder_reads, folder_reads[0], untold);
    // What is opened by a link has its own path, and is what was opened once more when it was made.
    let closes = [told("closes")[0] + 1, 0, u64::MAX];
    of("openat", &path("steady")).assert_counted(closes, 0, untold);
    of("close", &path("steady")).assert_counted(closes, 0, untold);
    assert_eq!(files(&recording).count("openat", "relative"), 0, "opened is what has an absolute path");
    let (renames, rename) = (told("renames"), named("rename", "renameat"));
    for name in ["one", "two"] {
        of(rename, &path(name)).assert_counted([renames[0] / 2, 0, renames[2]], 0, untold);
    }
    let (removes, made) = (told("removes"), told("directories"));
    of(named("unlink", "unlinkat"), &path("doomed")).assert_counted(removes, 0, untold);
    for call in [named("creat", "openat"), "close"] {
        of(call, &path("doomed")).assert_counted([removes[0], 0, u64::MAX], 0, untold);
    }
    for call in [named("mkdir", "mkdirat"), named("rmdir", "unlinkat")] {
        of(call, &path("directory")).assert_counted([made[0] / 2, 0, made[2]], 0, untold);
    }
}

#[test]
fn a_file_that_is_deleted_while_it_is_read_is_marked() {
    let Some(lab) = Lab::open() else { return };
    let folder = folder(&lab);
    let recording = record_files(&lab, &folder, "names");
    let untold = assert_whole(&recording);
    let (before, after) = (folder.join("vanishing").display().to_string(), folder.join("vanishing (deleted)"));
    let after = after.display().to_string();
    let of = |file: &str| files(&recording).of("pread64", file);
    of(&before).assert_counted(known(&recording.logged("before_deletion")), 0, untold);
    of(&after).assert_counted(known(&recording.logged("after_deletion")), 0, untold);
    files(&recording).of("close", &after).assert_counted([1, 0, u64::MAX], 0, untold);
    assert_eq!(files(&recording).count("close", &before), 0, "it was closed when it was gone");
}

#[test]
fn what_goes_through_pipes_and_from_file_to_file_is_counted() {
    let Some(lab) = Lab::open() else { return };
    let folder = folder(&lab);
    let recording = record_files(&lab, &folder, "moves");
    let untold = assert_whole(&recording);
    let path = |name: &str| folder.join(name).display().to_string();
    let told = |name: &str| known(&recording.logged(name));
    let pipe = format!("pipe:[{}]", recording.logged_sum("pipe_inode"));
    let [calls, bytes, pipe_ns] = told("pipe");
    let [empty, _, empty_ns] = told("empty");
    let (write, read) = (files(&recording).of("write", &pipe), files(&recording).of("read", &pipe));
    write.assert_counted([calls / 2, bytes / 2, pipe_ns], 0, untold);
    // EAGAIN is no error: 30 reads found nothing.
    read.assert_counted([calls / 2 + empty, bytes / 2, pipe_ns + empty_ns], 0, untold);
    assert_eq!((write.kind.as_str(), read.kind.as_str()), ("pipe", "pipe"));
    for call in ["writev", "preadv"] {
        files(&recording).of(call, &path("vectors")).assert_counted(told(call), 0, untold);
    }
    for (call, target) in [("copy_file_range", "copied"), ("sendfile", "sent")] {
        let rows: Vec<_> = files(&recording).calls.iter().filter(|row| row.call == call).collect();
        assert_eq!(rows.len(), 1, "one process, from one file to one other: {rows:#?}");
        assert!([path("source"), path(target)].contains(&rows[0].file), "{rows:#?}");
        rows[0].assert_counted(told(call), 0, untold);
    }
}

#[test]
fn files_that_were_open_before_the_recording_have_their_paths() {
    let Some(lab) = Lab::open() else { return };
    let folder = folder(&lab);
    let mut workload = lab.start(&Program::c("filecalls.c"), &["0", folder.to_str().unwrap(), "opened"]);
    let recording = record_running(&lab, &mut workload, &[], &folder.join("go"));
    let untold = assert_whole(&recording);
    let path = |name: &str| folder.join(name).display().to_string();
    let told = |name: &str| known(&workload.logged(name));
    let of = |call: &str, file: &str| files(&recording).of_process(workload.pid(), call, file);
    of("pread64", &path("early")).assert_counted(told("early"), 0, untold);
    of("pread64", &path("gone (deleted)")).assert_counted(told("gone"), 0, untold);
    let (pipe, [calls, bytes, pipe_ns]) = (format!("pipe:[{}]", workload.logged("pipe_inode")[0]), told("pipe"));
    for call in ["write", "read"] {
        of(call, &pipe).assert_counted([calls / 2, bytes / 2, pipe_ns], 0, untold);
    }
    let looks = of(named("access", "faccessat"), "go");
    assert!(looks.count > 1 && (looks.errors + 1).abs_diff(looks.count) <= untold, "only the last found it: {looks:?}");
}

#[test]
fn peers_answer_as_late_as_they_do() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "sockets.c", &["tcp"]);
    let port = recording.logged_sum("port");
    let to = format!("tcp to 127.0.0.1:{port}");
    let from = format!("tcp at {port} from 127.0.0.1");
    assert_conversation(&recording, &to, &from, &format!("tcp listening at {port}"));
    let text = perfprobe(&lab, &["report", recording.path_text()]).succeeded().stdout;
    let mut lines = text.lines().filter(|line| !line.starts_with("WARNING"));
    assert!(lines.all(|line| line.chars().count() <= 100), "a line is too long in:\n{text}");
    assert!(text.contains(&to), "{text}");
}

#[test]
fn peers_of_the_newer_internet_protocol_are_told() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "sockets.c", &["tcp6"]);
    if !recording.logged("none").is_empty() {
        Lab::leave_out("there is no IPv6 here");
        return;
    }
    let (port, [_, server]) = (recording.logged_sum("port"), sides(&recording));
    let of_server = |call: &str| files(&recording).calls.iter().find(|row| row.tgid == server && row.call == call);
    let from = &of_server("recvfrom").expect("requests").file;
    assert!(from.starts_with(&format!("tcp6 at {port} from ")) && from.contains("::1"), "{from}");
    assert_conversation(&recording, &format!("tcp6 to [::1]:{port}"), from, &format!("tcp6 listening at {port}"));
}

#[test]
fn peers_at_paths_and_at_abstract_names_are_told() {
    let Some(lab) = Lab::open() else { return };
    for name in [lab.file("socket").display().to_string(), format!("@perfprobe-test-{}", std::process::id())] {
        let recording = record(&lab, "sockets.c", &["unix", &name]);
        let file = format!("unix {name}");
        assert_conversation(&recording, &file, &file, &file);
        let (untold, [client, _]) = (assert_whole(&recording), sides(&recording));
        for call in ["sendmsg", "recvmsg"] {
            let row = files(&recording).of_process(client, call, "unix (unnamed)");
            row.assert_counted([40, 40 * 50, u64::MAX], 0, untold);
        }
    }
}

#[test]
fn what_would_wait_is_no_error_and_its_answer_is_waited_for() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "sockets.c", &["late"]);
    let untold = assert_whole(&recording);
    let ([client, _], to) = (sides(&recording), format!("tcp to 127.0.0.1:{}", recording.logged_sum("port")));
    let told = |name: &str| known(&recording.logged(name));
    for (call, name) in [("connect", "connects"), ("sendto", "sends"), ("recvfrom", "receives")] {
        let row = files(&recording).of_process(client, call, &to);
        row.assert_counted(told(&format!("client_{name}")), 0, untold);
    }
    assert!(recording.logged_sum("again") > 0, "answers take 20 ms");
    let peer = files(&recording).peer(client, &to).expect("a peer that answers");
    assert_answers(&peer.responses, told("client_responses"), recording.logged_sum("longest_ns"), untold);
}

#[test]
fn connections_that_are_reset_or_refused_are_counted() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "sockets.c", &["reset"]);
    let untold = assert_whole(&recording);
    let ([client, server], port) = (sides(&recording), recording.logged_sum("port"));
    let (to, from) = (format!("tcp to 127.0.0.1:{port}"), format!("tcp at {port} from 127.0.0.1"));
    let told = |name: &str| known(&recording.logged(name));
    let (connects, receives) = (told("client_connects"), told("client_receives"));
    let of = |call: &str| files(&recording).of_process(client, call, &to);
    let (resets, refused) = (receives[0], connects[0] - receives[0]);
    of("connect").assert_counted(connects, refused, untold);
    of("recvfrom").assert_counted(receives, resets, untold);
    let peer = files(&recording).peer(client, &to).expect("a peer that resets");
    assert_eq!((peer.responses.count, peer.resets_sent), (0, 0), "nothing was answered: {peer:?}");
    assert_eq!(peer.resets_received, resets + refused, "who refuses resets, too: {peer:?}");
    let of_server = files(&recording).peer(server, &from).expect("a peer that is reset");
    assert_eq!((of_server.resets_sent, of_server.resets_received), (resets, 0), "{of_server:?}");
}

#[test]
fn connections_from_before_the_recording_have_their_peers() {
    let Some(lab) = Lab::open() else { return };
    let go = lab.file("go");
    let mut workload = lab.start(&Program::c("sockets.c"), &["0", "opened", go.to_str().unwrap()]);
    let (client, server) = (workload.pid(), workload.logged("server")[0].parse().unwrap());
    let recording = record_running(&lab, &mut workload, &[server], &go);
    let untold = assert_whole(&recording);
    let (files, port) = (files(&recording), &workload.logged("port")[0]);
    let (to, from) = (format!("tcp to 127.0.0.1:{port}"), format!("tcp at {port} from 127.0.0.1"));
    let told = |name: &str| known(&workload.logged(name));
    files.of_process(client, "sendto", &to).assert_counted(told("client_sends"), 0, untold);
    files.of_process(client, "recvfrom", &to).assert_counted(told("client_receives"), 0, untold);
    // One answer was given before.
    let [sends, bytes, sends_ns] = told("server_sends");
    let answers = [sends - 1, bytes - bytes / sends, sends_ns];
    files.of_process(server, "sendto", &from).assert_counted(answers, 0, untold);
    let peer = files.peer(client, &to).expect("a peer that answers");
    let longest_ns = workload.logged("longest_ns")[0].parse().unwrap();
    assert_answers(&peer.responses, told("client_responses"), longest_ns, untold);
    assert_eq!(peer.connects.count, 0, "it was connected before: {peer:?}");
}

#[test]
fn parts_of_a_recording_have_their_part_of_the_calls_on_files() {
    let Some(lab) = Lab::open() else { return };
    let recording = record(&lab, "sockets.c", &["tcp"]);
    let to = format!("tcp to 127.0.0.1:{}", recording.logged_sum("port"));
    let [client, _] = sides(&recording);
    let counts = |files: &FileCalls| {
        let calls = ["sendto", "recvfrom", "write", "read"].map(|call| files.count(call, &to));
        [calls.iter().sum(), files.peer(client, &to).map_or(0, |peer| peer.responses.count)]
    };
    let part = |from: &str, to: &str| {
        let report = recording.report_with(&lab, &["--top", "10000", "--from", from, "--to", to]);
        counts(&report.file_calls.unwrap())
    };
    let all: [u64; 2] = counts(files(&recording));
    let parts = [part("0s", "1s"), part("1s", "1h")];
    assert!(parts.iter().flatten().all(|count| *count > 0), "{parts:?}");
    assert_eq!([0, 1].map(|at| parts[0][at] + parts[1][at]), all, "{parts:?}");
}

#[test]
fn tiny_maps_lose_calls_on_files_and_say_how_many() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().environment("PERFPROBE_TEST_MAP_ENTRIES", "2").option("--event", "cpu,files");
    let recording = recorder.command(&Program::c("sockets.c"), &["1", "tcp"]).run();
    let accounting = &files(&recording).accounting;
    assert!(accounting.lost["file_calls_full"] > 0, "two places for all files and calls: {accounting:?}");
    assert!(accounting.reported > 0, "what found a place is kept: {accounting:?}");
    assert_eq!(accounting.taken, accounting.reported + accounting.lost_total(), "{accounting:?}");
    let time = &recording.report.accounting["files"];
    assert!(time.lost["file_stacks_full"] > 0, "two places for all stacks: {time:?}");
    let warned = recording.report.warnings.iter().any(|warning| warning.contains("files") && warning.contains("lost"));
    assert!(warned, "no warning of the loss in {:?}", recording.report.warnings);
}
