//! Debug files from a server: only for those who ask, kept for the next time, and never waited for long.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tests::{Lab, Program, Recorder, Recording};

/// What the tests take programs apart with.
const BINUTILS: &[&str] = &["objcopy", "readelf", "strip"];

const NOBODY: u32 = 65_534;

/// A debuginfod with one file, which remembers what it was asked for. It ends with the test program.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(path: &str, content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Self { url, asked: Arc::clone(&asked) };
        let path = path.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                let asked_for = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let _ = lines.find(String::is_empty);
                let (status, body) =
                    if asked_for == path { ("200 OK", &content[..]) } else { ("404 Not Found", &[][..]) };
                asked.lock().unwrap().push(asked_for);
                let length = body.len();
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(body);
            }
        });
        server
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A stripped program, its build id, and its debug file, which is nowhere it would be found.
fn stripped(lab: &Lab) -> (Program, String, Vec<u8>) {
    let program = Program::c("inline.c").copy_to(lab.file("bare"));
    let debug = lab.file("elsewhere");
    let run = |tool: &str, arguments: &[&Path]| assert!(Command::new(tool).args(arguments).status().unwrap().success());
    run("objcopy", &[Path::new("--only-keep-debug"), program.path(), &debug]);
    run("strip", &[program.path()]);
    let notes = Command::new("readelf").arg("-n").arg(program.path()).output().unwrap();
    let notes = String::from_utf8(notes.stdout).unwrap();
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("it has a build id");
    (program, id.to_owned(), fs::read(debug).unwrap())
}

fn path_of(id: &str) -> String {
    format!("/buildid/{id}/debuginfo")
}

/// A recording of the program, with this server and cache to be used or not.
fn record<'a>(lab: &'a Lab, program: &Program, url: &str, cache: &Path) -> Recorder<'a> {
    let recorder = lab.record().command(program, &["1"]).environment("NO_PROXY", "127.0.0.1");
    recorder.environment("DEBUGINFOD_URLS", url).environment("DEBUGINFOD_CACHE_PATH", cache)
}

fn is_named(recording: &Recording) -> bool {
    recording.folded.share(|line| line.has_chain(&["outer_real", "middle_inlined_[i]", "innermost_inlined_[i]"])) > 95.0
}

fn warnings(recording: &Recording) -> Vec<&String> {
    recording.report.warnings.iter().filter(|warning| warning.contains("debuginfod")).collect()
}

fn kept(cache: &Path, id: &str) -> PathBuf {
    cache.join(id).join("debuginfo")
}

#[test]
fn a_debug_file_is_fetched_on_request_and_kept() {
    let Some(lab) = Lab::open_with(BINUTILS) else { return };
    let (program, id, content) = stripped(&lab);
    let server = Server::start(&path_of(&id), content.clone());
    let cache = lab.file("cache/deep");
    let without = record(&lab, &program, &server.url, &cache).run();
    assert!(!is_named(&without) && server.asked().is_empty() && !cache.exists(), "nothing is fetched unless asked for");

    let fetched = record(&lab, &program, &server.url, &cache).flag("--debuginfod").run();
    let asked = server.asked();
    assert!(is_named(&fetched), "{}", fetched.folded.top());
    assert_eq!(warnings(&fetched), [""; 0]);
    assert_eq!(asked.iter().filter(|path| **path == path_of(&id)).count(), 1, "{asked:?}");
    assert_eq!(fs::read(kept(&cache, &id)).unwrap(), content);

    let again = record(&lab, &program, &server.url, &cache).flag("--debuginfod").run();
    let asked = server.asked();
    assert!(is_named(&again) && !asked.contains(&path_of(&id)), "{asked:?}");
}

#[test]
fn a_cache_of_another_user_stays_that_users() {
    let Some(lab) = Lab::open_with(BINUTILS) else { return };
    let (program, id, content) = stripped(&lab);
    let server = Server::start(&path_of(&id), content);
    let cache = lab.file("cache");
    fs::create_dir(&cache).unwrap();
    chown(&cache, Some(NOBODY), Some(NOBODY)).unwrap();
    lab.open_to_everyone();
    assert!(is_named(&record(&lab, &program, &server.url, &cache).flag("--debuginfod").run()));
    for path in [kept(&cache, &id), cache.join(&id)] {
        assert_eq!(fs::metadata(path).unwrap().uid(), NOBODY);
    }
}

#[test]
fn what_a_server_gives_wrongly_or_not_at_all_is_told_once() {
    let Some(lab) = Lab::open_with(BINUTILS) else { return };
    let (program, id, mut content) = stripped(&lab);
    let cache = lab.file("cache");
    // A file of another build.
    let at = content.windows(20).position(|part| hex(part) == id).unwrap();
    content[at] ^= 1;
    let wrong = Server::start(&path_of(&id), content);
    // Nobody listens where somebody just did.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, words) in [(wrong.url.clone(), "not the debug file"), (format!("http://{silent}"), "refused")] {
        let recording = record(&lab, &program, &url, &cache).flag("--debuginfod").run();
        let warnings = warnings(&recording);
        assert!(!is_named(&recording) && !kept(&cache, &id).exists());
        assert!(warnings.len() == 1 && warnings[0].contains(words) && warnings[0].contains(&url), "{warnings:?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn servers_must_be_named_and_speak_plain_http() {
    let Some(lab) = Lab::open() else { return };
    let program = Program::c("inline.c");
    for (url, word) in [("", "names no server"), ("https://debuginfod.example", "plain http://")] {
        record(&lab, &program, url, &lab.file("cache")).flag("--debuginfod").finish().refused(2, &[word]);
    }
}
