//! Whatever somebody else chose: what lies where root is to write, and the names of programs, functions and files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Lab, Program, perfprobe};

const NOBODY: u32 = 65_534;
const SECRET: &str = "root's own\n";

/// A directory of this owner and mode, and a file of root's elsewhere that nobody else may write.
fn foreign_directory(lab: &Lab, owner: u32, mode: u32) -> (PathBuf, PathBuf) {
    let (directory, victim) = (lab.file("theirs"), lab.file("victim"));
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
    chown(&directory, Some(owner), Some(owner)).unwrap();
    fs::write(&victim, SECRET).unwrap();
    (directory, victim)
}

fn record_into(lab: &Lab, path: &Path) -> tests::Finished {
    lab.record().command(&Program::c("split.c"), &["0.2"]).only_output(path).finish()
}

fn owner_and_mode(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.uid(), metadata.mode() & 0o777)
}

#[test]
fn a_recording_in_a_directory_of_another_user_is_that_users() {
    let Some(lab) = Lab::open() else { return };
    let (directory, _) = foreign_directory(&lab, NOBODY, 0o755);
    let (recording, picture) = (directory.join("x.perfprobe"), directory.join("x.svg"));
    let _ = record_into(&lab, &recording).succeeded();
    assert_eq!(owner_and_mode(&recording), (NOBODY, 0o600), "like perf's, it is for its owner alone");
    let arguments = [Path::new("export"), &recording, Path::new("-o"), &picture];
    let _ = perfprobe(&lab, &arguments).succeeded();
    assert_eq!(owner_and_mode(&picture).0, NOBODY);
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no journal is left: {left:?}");
}

#[test]
fn links_in_a_directory_of_another_user_lead_root_nowhere() {
    let Some(lab) = Lab::open() else { return };
    let (directory, victim) = foreign_directory(&lab, NOBODY, 0o755);
    let source = lab.file("good.perfprobe");
    let _ = record_into(&lab, &source).succeeded();
    for name in ["soft.perfprobe", "soft.svg", "soft.json"] {
        symlink(&victim, directory.join(name)).unwrap();
    }
    for name in ["hard.perfprobe", "hard.folded"] {
        fs::hard_link(&victim, directory.join(name)).unwrap();
    }
    symlink(lab.file("new"), directory.join("new.perfprobe")).unwrap();
    let fifo = directory.join("fifo.perfprobe");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        record_into(&lab, &path).refused(1, &[&format!("{name}: ")]);
        let arguments = [Path::new("export"), &source, Path::new("-o"), &path];
        perfprobe(&lab, &arguments).refused(1, &[name]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), SECRET, "{name}");
    }
    assert!(!lab.file("new").exists(), "nothing is made where root may and nobody may not");
}

#[test]
fn a_journal_that_leads_elsewhere_is_not_written_through() {
    let Some(lab) = Lab::open() else { return };
    let (directory, victim) = foreign_directory(&lab, NOBODY, 0o755);
    let recording = directory.join("x.perfprobe");
    symlink(&victim, directory.join("x.perfprobe-journal")).unwrap();
    let _ = record_into(&lab, &recording);
    assert_eq!(fs::read_to_string(&victim).unwrap(), SECRET);
}

#[test]
fn where_all_may_write_root_writes_to_its_own_files_only() {
    let Some(lab) = Lab::open() else { return };
    let (directory, victim) = foreign_directory(&lab, 0, 0o1777);
    let own = directory.join("own.perfprobe");
    for _ in ["made", "replaced"] {
        let _ = record_into(&lab, &own).succeeded();
        assert_eq!(owner_and_mode(&own), (0, 0o600));
    }
    for _ in ["given to the caller of sudo", "replaced"] {
        let recorder = lab.record().command(&Program::c("split.c"), &["0.2"]);
        let id = NOBODY.to_string();
        let recorder = recorder.environment("SUDO_UID", &id).environment("SUDO_GID", &id);
        let _ = recorder.only_output(&directory.join("given.perfprobe")).finish().succeeded();
        assert_eq!(owner_and_mode(&directory.join("given.perfprobe")), (NOBODY, 0o600));
    }
    let (link, theirs) = (directory.join("link.perfprobe"), directory.join("theirs.perfprobe"));
    symlink(&victim, &link).unwrap();
    fs::write(&theirs, "").unwrap();
    chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    for path in [&link, &theirs] {
        record_into(&lab, path).refused(1, &["others may write", "permission denied"]);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), SECRET);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "");
}

#[test]
fn where_all_may_replace_files_root_is_nobody() {
    let Some(lab) = Lab::open() else { return };
    let (directory, victim) = foreign_directory(&lab, 0, 0o777);
    symlink(&victim, directory.join("link.perfprobe")).unwrap();
    record_into(&lab, &directory.join("link.perfprobe")).refused(1, &["permission denied"]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), SECRET);
    let _ = record_into(&lab, &directory.join("new.perfprobe")).succeeded();
    assert_eq!(owner_and_mode(&directory.join("new.perfprobe")), (NOBODY, 0o600));
}

#[test]
fn a_pipe_is_no_recording_to_wait_for() {
    let lab = Lab::open_unprivileged();
    let fifo = lab.file("fifo.perfprobe");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    perfprobe(&lab, &["report".as_ref(), fifo.as_os_str()]).refused(1, &["fifo.perfprobe is not"]);
}

/// Escapes, markup and separators of every format, in 15 bytes and in as many as a path may have.
const COMM: &str = "\x1b[31m;</script>";
const PATH: &str = "a ]]> <!-- \n\t\u{202e}\u{9b}31m";
const SYMBOL: &str = "evil</script><img src=x>\x1b]0;t\x07;\u{202e}&\"'";

#[test]
fn hostile_names_stay_names_in_every_output() {
    let Some(lab) = Lab::open() else { return };
    let folder = lab.file(PATH);
    fs::create_dir(&folder).unwrap();
    // The name of the file is that of the process; a slash cannot be in it.
    let comm = COMM.replace('/', "|");
    let program = Program::c_named("named.c", "pp_evil", &["-DWORK=work_of_evil", "-g0"]).copy_to(folder.join(&comm));
    let renamed = format!("work_of_evil={SYMBOL}");
    let status = Command::new("objcopy").args(["--redefine-sym", &renamed]).arg(program.path()).status().unwrap();
    assert!(status.success(), "objcopy renames a symbol");
    let formats = ["x.svg", "x.html", "x.txt", "x.speedscope.json", "x.pb.gz"];
    let recorder = formats.iter().fold(lab.record(), |recorder, name| recorder.output(name));
    let recording = recorder.command(&program, &["1"]).run();
    recording.assert_at_least(SYMBOL, 90.0);
    assert!(
        recording.report.cpu.threads.iter().any(|thread| thread.comm == comm),
        "{:?}",
        recording.report.cpu.threads
    );
    let read = |name: &str| fs::read_to_string(recording.finished.directory.join(name)).unwrap();
    for (what, text) in [
        ("standard error", recording.finished.stderr.clone()),
        ("text", read("x.txt")),
        ("JSON", read("out.json")),
        ("speedscope", read("x.speedscope.json")),
        ("folded", read("out.folded")),
        ("SVG", read("x.svg")),
        ("HTML", read("x.html")),
    ] {
        let escape = text.chars().find(|c| (c.is_control() && !"\n\t".contains(*c)) || *c == '\u{202e}');
        assert_eq!(escape, None, "in {what}:\n{text}");
    }
    assert!(!read("x.txt").contains('\t'));
    let page = read("x.html");
    assert_eq!((page.matches("</script>").count(), page.matches("<img").count()), (2, 0));
    let parse = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    let svg = recording.finished.directory.join("x.svg");
    let parsed = Command::new("python3").args(["-c", parse]).arg(&svg).output().unwrap();
    assert!(parsed.status.success(), "the picture is XML: {}", String::from_utf8_lossy(&parsed.stderr));
}

#[test]
fn messages_that_quote_a_path_hold_no_escapes() {
    let lab = Lab::open_unprivileged();
    let missing = "no\x1b[31m\u{9b}such.perfprobe";
    for arguments in [
        &["report", missing][..],
        &["export", missing, "-o", "x.svg"],
        &["export", "x", "-o", "no\x1b[31msuch.perfprobe.bmp"],
    ] {
        let finished = perfprobe(&lab, arguments);
        assert!(finished.stderr.contains("such.perfprobe"), "{}", finished.stderr);
        assert!(!finished.stderr.contains(['\x1b', '\u{9b}']), "{:?}", finished.stderr);
    }
}
