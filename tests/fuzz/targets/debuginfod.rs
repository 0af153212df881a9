//! What debuginfod servers answer, over plain HTTP: whoever is between can change it. The first byte says whether a sound head
//! goes before.
#![no_main]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use perf_user::symbolize::{DebuginfodOptions, NameOptions, Names, build_id};
use perf_user::task::Module;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);
/// A program that was stripped, and has a build id.
const PROGRAM: &[u8] = include_bytes!("../seeds/elf/stripped");
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static SERVER: LazyLock<SocketAddr> = LazyLock::new(serve);

fuzz_target!(|data: &[u8]| {
    let Some((has_head, body)) = data.split_first() else { return };
    // Nobody else is to be asked: an answer can lead to other servers.
    if data.windows(2).any(|pair| pair == b"//") && data.to_ascii_lowercase().windows(8).any(|word| word == b"location")
    {
        return;
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let head = if has_head & 1 == 1 { head.as_bytes() } else { b"" };
    *ANSWER.lock().expect("no thread fails with it") = [head, body].concat();
    let path = SCRATCH.file(PROGRAM);
    let cache = SCRATCH.directory().join("cache");
    let _ = fs::remove_dir_all(&cache);
    let server = format!("http://{}", *SERVER);
    let debuginfod = Some(DebuginfodOptions { servers: vec![server], cache: cache.clone() });
    let mut names = Names::new(NameOptions { debug_directories: Vec::new(), debuginfod });
    let named = names.name(&Arc::new(Module::at(path.clone())), &[0x650, 0x6ff, u64::MAX]);
    assert!(named.len() == 3 && named.iter().all(|named| !named.functions.is_empty()));
    let _ = names.warning();
    let id = build_id(&path).expect("the program has a build id");
    let mut kept = fs::read_dir(&cache).into_iter().flatten().flatten();
    if let Some(folder) = kept.next() {
        let found = folder.path().join("debuginfo");
        // Other readers may stumble over something before it: it is enough that it is there.
        let content = fs::read(&found).expect("what was kept");
        let has_id = content
            .windows(id.len() / 2)
            .any(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == id);
        assert!(folder.file_name() == *id && has_id, "nothing else is kept than what was asked for");
        assert_eq!(fs::read_dir(folder.path()).expect("it was just listed").count(), 1, "nothing unfinished stays");
    }
    assert!(kept.next().is_none());
});

/// Gives [`ANSWER`] to everybody who asks.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut asked, mut part) = (Vec::new(), [0; 1024]);
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(read @ 1..) => asked.extend(&part[..read]),
                    _ => break,
                }
            }
            let answer = ANSWER.lock().expect("no thread fails with it").clone();
            let _ = stream.write_all(&answer);
        }
    });
    address
}
