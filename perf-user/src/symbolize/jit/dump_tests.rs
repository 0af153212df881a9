//! Jitdumps, right and wrong.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::Write as _;

use super::*;

/// A jitdump being written, and what was read of it.
struct Dump {
    file: File,
    dump: JitDump,
}

fn record(kind: u32, time_ns: u64, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let size = (PREFIX_BYTES + body.len()) as u32;
    [&kind.to_ne_bytes()[..], &size.to_ne_bytes(), &time_ns.to_ne_bytes(), &body].concat()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn load(time_ns: u64, start: u64, size: u64, name: &str) -> Vec<u8> {
    record(LOAD, time_ns, &[&words(&[7, start, start, size, 1]), name.as_bytes(), &[0], b"machine code"])
}

fn lines(start: u64, lines: &[(u64, u32, &[u8])]) -> Vec<u8> {
    let entry = |(address, line, file): &(u64, u32, &[u8])| {
        [&address.to_ne_bytes()[..], &line.to_ne_bytes(), &[0; 4], *file, &[0]].concat()
    };
    let entries: Vec<u8> = lines.iter().flat_map(entry).collect();
    record(DEBUG_INFO, 1, &[&words(&[start, lines.len() as u64]), &entries])
}

impl Dump {
    fn new(flags: u64) -> Self {
        let header = [MAGIC, 1, HEADER_BYTES as u32, 62, 0, 7].map(u32::to_ne_bytes).concat();
        let mut dump = Self { file: tempfile::tempfile().unwrap(), dump: JitDump::default() };
        dump.append(&[header, words(&[1, flags])].concat());
        dump
    }

    fn append(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
        let length = self.file.metadata().unwrap().len();
        self.dump.read(&self.file, length);
    }

    fn name(&self, address: u64, time_ns: u64) -> Option<String> {
        self.dump.function(&self.file, address, time_ns).map(|function| function.name)
    }

    fn line(&self, address: u64) -> (String, u32) {
        let function = self.dump.function(&self.file, address, u64::MAX).unwrap();
        (function.file, function.line)
    }
}

#[test]
fn a_name_is_that_of_the_code_at_the_time() {
    let mut dump = Dump::new(0);
    dump.append(&load(100, 0x1000, 0x100, "first"));
    dump.append(&load(200, 0x1000, 0x80, "second"));
    dump.append(&record(MOVE, 300, &[&words(&[7, 0, 0x1000, 0x9000, 0x80, 1])]));
    assert_eq!(dump.name(0x1000, 99), None, "not loaded yet");
    assert_eq!(dump.name(0x1000, 100).as_deref(), Some("first"));
    assert_eq!(dump.name(0x1000, 200).as_deref(), Some("second"));
    assert_eq!((dump.name(0x1000, 300), dump.name(0x9000, 299)), (None, None), "moved");
    assert_eq!(dump.name(0x907f, 300).as_deref(), Some("second"));
    assert_eq!(dump.name(0x1080, 300).as_deref(), Some("first"), "the rest of it");
    dump.dump.forget_before(250);
    assert_eq!((dump.name(0x1000, 150), dump.name(0x1000, 299).as_deref()), (None, Some("second")));
}

#[test]
fn records_are_read_once_they_are_whole_and_up_to_the_end() {
    let mut dump = Dump::new(0);
    let first = load(1, 0x1000, 0x10, "first");
    dump.append(&first[..40]);
    assert_eq!(dump.name(0x1000, 9), None);
    dump.append(&first[40..]);
    assert_eq!(dump.name(0x1000, 9).as_deref(), Some("first"));
    dump.append(&record(4, 1, &[b"unwinding information, which nobody asked for"]));
    dump.append(&load(2, 0x2000, 0x10, "second"));
    assert_eq!(dump.name(0x2000, 9).as_deref(), Some("second"));
    dump.append(&record(CLOSE, 3, &[]));
    dump.append(&load(4, 0x3000, 0x10, "third"));
    assert_eq!(dump.name(0x3000, 9), None, "behind the end");
}

#[test]
fn lines_hold_from_their_address_on_and_follow_moved_code() {
    let mut dump = Dump::new(0);
    dump.append(&lines(0x1000, &[(0x1000, 10, b"a.js"), (0x1020, 12, b"\xff"), (0x1040, 3, b"b.js")]));
    dump.append(&load(1, 0x1000, 0x100, "f"));
    let at = |line: &(String, u32)| format!("{}:{}", line.0, line.1);
    assert_eq!(
        [0x1000, 0x101f, 0x1020, 0x10ff].map(|address| at(&dump.line(address))),
        ["a.js:10", "a.js:10", "a.js:12", "b.js:3"]
    );
    dump.append(&record(MOVE, 2, &[&words(&[7, 0, 0x1000, 0x9000, 0x100, 1])]));
    assert_eq!(at(&dump.line(0x9021)), "a.js:12");
    dump.append(&load(3, 0x1000, 0x100, "g"));
    assert_eq!(dump.line(0x1000), (String::new(), 0), "lines are of the code that is loaded next, and of no other");
}

#[test]
fn lines_that_cannot_be_right_are_none() {
    let beyond: &[(u64, u32, &[u8])] = &[(0x1000, 1, b"a"), (0xc7d8_e400_0000_0000, 2, b"b")];
    let from_an_elf_header: &[(u64, u32, &[u8])] = &[(0x1040, 1, b"a"), (0x1050, 2, b"b")];
    for wrong in [beyond, from_an_elf_header, &[]] {
        let mut dump = Dump::new(0);
        dump.append(&lines(0x1000, wrong));
        dump.append(&load(1, 0x1000, 0x100, "f"));
        assert_eq!(dump.line(0x1060), (String::new(), 0), "{wrong:?}");
    }
}

#[test]
fn times_of_another_clock_are_no_times() {
    let mut dump = Dump::new(FLAG_ARCH_TIMESTAMP);
    dump.append(&load(u64::MAX, 0x1000, 0x10, "f"));
    assert_eq!(dump.name(0x1000, 1).as_deref(), Some("f"));
}

#[test]
fn what_is_no_jitdump_names_nothing() {
    for wrong in [&b"\x7fELF and so on, for longer than a header is"[..], &[0; 200], &[0xff; 4096]] {
        let mut dump = Dump { file: tempfile::tempfile().unwrap(), dump: JitDump::default() };
        dump.append(wrong);
        assert_eq!((dump.name(0, u64::MAX), dump.dump.len()), (None, 0));
    }
    let mut dump = Dump::new(0);
    dump.append(&load(1, u64::MAX - 3, 0x10, "beyond"));
    dump.append(&load(1, 0x1000, 0, "empty"));
    dump.append(&record(LOAD, 1, &[b"short"]));
    dump.append(&record(MOVE, 1, &[&words(&[7, 0, u64::MAX, u64::MAX, u64::MAX, u64::MAX])]));
    dump.append(&load(1, 0x2000, 0x10, ""));
    dump.append(&load(1, 0x3000, 0x10, "g"));
    assert_eq!((dump.name(0x1000, 9), dump.name(0x2000, 9), dump.name(0x3000, 9).as_deref()), (None, None, Some("g")));
    dump.append(&[0; 16]);
    dump.append(&load(1, 0x4000, 0x10, "h"));
    assert_eq!(dump.name(0x4000, 9), None, "behind a record without a size");
}
