//! Perf maps: lines `START SIZE name` in hexadecimal, appended as code is generated. A later one holds where it overlaps an
//! earlier. They have no times.

use std::{fs::File, os::unix::fs::FileExt as _};

use super::{
    MOST_CODE,
    code::{Code, CodeTable},
    name_of,
};

/// How much is read at once. A line that does not fit names nothing.
const CHUNK: usize = 64 * 1024;

/// More than this is not read at once: it would keep the recorder from its work.
const MOST_BYTES: u64 = 512 << 20;

/// What the end of the part that has been read is known by, should the file be written anew.
const TAIL: usize = 64;

/// A perf map as far as it has been read. Names stay in the file.
#[derive(Debug, Default)]
pub struct PerfMap {
    table: CodeTable,
    /// How far it has been read.
    read: u64,
    /// The last bytes before that.
    tail: Vec<u8>,
    /// Whether that is amid a line longer than a chunk.
    amid_line: bool,
    /// Whether there was more in it than is kept.
    too_much: bool,
}

impl PerfMap {
    /// Reads what was appended, up to the length that the file had at some time; all of it, if it was written anew.
    pub fn read(&mut self, file: &File, bytes: u64) {
        if self.was_rewritten(file, bytes) {
            *self = Self::default();
        }
        self.too_much |= bytes - self.read > MOST_BYTES;
        let mut chunk = vec![0; CHUNK];
        while !self.too_much && self.read < bytes {
            let wanted = CHUNK.min(usize::try_from(bytes - self.read).unwrap_or(CHUNK));
            let Ok(got) = file.read_at(&mut chunk[..wanted], self.read) else { break };
            let text = &chunk[..got];
            let Some(last) = text.iter().rposition(|byte| *byte == b'\n') else {
                if got < CHUNK {
                    break;
                }
                self.amid_line = true;
                self.advance(text);
                continue;
            };
            let text = &text[..=last];
            self.insert_lines(text);
            self.amid_line = false;
            self.advance(text);
            self.too_much = self.table.len() > MOST_CODE;
        }
        if self.too_much {
            self.table = CodeTable::default();
        }
    }

    /// Whether it holds more than is kept: then nothing of it is.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        self.too_much
    }

    /// The name of what lies at an address.
    #[must_use]
    pub fn name(&self, file: &File, address: u64) -> Option<String> {
        let code = self.find(address)?;
        let mut line = vec![0; CHUNK.min(8192)];
        let got = file.read_at(&mut line, code.record).ok()?;
        let line = line[..got].split(|byte| *byte == b'\n').next()?;
        let (start, _, name) = parse_line(line)?;
        (start == code.start).then(|| name_of(name))?
    }

    pub(super) fn find(&self, address: u64) -> Option<&Code> {
        self.table.current(address)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn was_rewritten(&self, file: &File, bytes: u64) -> bool {
        let mut tail = vec![0; self.tail.len()];
        let at = self.read - tail.len() as u64;
        bytes < self.read || file.read_exact_at(&mut tail, at).is_err() || tail != self.tail
    }

    fn advance(&mut self, text: &[u8]) {
        self.read += text.len() as u64;
        self.tail = text[text.len().saturating_sub(TAIL)..].to_vec();
    }

    fn insert_lines(&mut self, text: &[u8]) {
        let (mut record, mut amid_line) = (self.read, self.amid_line);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let line_begins = !std::mem::take(&mut amid_line);
            if let Some((start, end, _)) = parse_line(line).filter(|_| line_begins) {
                self.table.insert(Code { start, end, from_ns: 0, record, lines: None });
            }
            record += line.len() as u64;
        }
    }
}

/// The addresses that a line names, the last one excluded, and the name.
fn parse_line(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (start, rest) = number(line)?;
    let (size, name) = number(rest)?;
    Some((start, start.checked_add(size)?, name.trim_ascii()))
}

/// The number in hexadecimal with which a text begins, and the text behind the space that ends it. OpenJDK writes `0x` first.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"0x").unwrap_or(text);
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = text.split_at(digits);
    let number = u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
    rest.first().is_some_and(u8::is_ascii_whitespace).then_some((number, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Map {
        file: File,
        map: PerfMap,
    }

    impl Map {
        fn of(text: &[u8]) -> Self {
            let mut map = Self { file: tempfile::tempfile().unwrap(), map: PerfMap::default() };
            map.append(text);
            map
        }

        fn append(&mut self, text: &[u8]) {
            self.file.write_all(text).unwrap();
            self.read();
        }

        fn read(&mut self) {
            let bytes = self.file.metadata().unwrap().len();
            self.map.read(&self.file, bytes);
        }

        fn rewrite(&mut self, text: &[u8]) {
            use std::io::Seek as _;
            self.file.set_len(0).unwrap();
            self.file.rewind().unwrap();
            self.append(text);
        }

        fn name(&self, address: u64) -> Option<String> {
            self.map.name(&self.file, address)
        }
    }

    #[test]
    fn later_lines_hold_and_an_unfinished_one_waits() {
        let mut map = Map::of(b"1000 100 JS:~first file.js:1:2\n0x0000000000001100 0x80 void A::b(int)\n1080 4");
        assert_eq!(map.name(0x1000).as_deref(), Some("JS:~first file.js:1:2"));
        assert_eq!(map.name(0x1081).as_deref(), Some("JS:~first file.js:1:2"), "the last line has no end yet");
        assert_eq!(map.name(0x117f).as_deref(), Some("void A::b(int)"));
        assert_eq!((map.name(0x1180), map.name(0xfff)), (None, None));
        map.append(b"0 JS:*second\n");
        assert_eq!(map.name(0x1080).as_deref(), Some("JS:*second"));
        assert_eq!(map.name(0x10c0).as_deref(), Some("JS:~first file.js:1:2"));
    }

    #[test]
    fn no_more_is_read_than_belongs_to_the_window() {
        let mut map = Map::of(b"10 10 old\n");
        map.file.write_all(b"10 10 new\n").unwrap();
        map.map.read(&map.file, 10);
        assert_eq!(map.name(0x10).as_deref(), Some("old"));
        map.read();
        assert_eq!(map.name(0x10).as_deref(), Some("new"));
    }

    #[test]
    fn a_file_written_anew_is_read_anew() {
        let mut map = Map::of(b"1000 100 first\n2000 100 second\n");
        map.rewrite(b"1000 100 third\n");
        assert_eq!((map.name(0x1000).as_deref(), map.name(0x2000)), (Some("third"), None));
        map.rewrite(b"1000 100 fourth\n2000 100 fifth\n3000 100 sixth\n");
        assert_eq!(map.name(0x2000).as_deref(), Some("fifth"));
        map.file.set_len(0).unwrap();
        assert_eq!(map.name(0x2000), None, "the name is gone");
    }

    #[test]
    fn what_is_no_line_names_nothing() {
        let map = Map::of(
            b"\n \n10\n10 \n10 20\nxyz 10 a\n-5 10 a\n10 -5 a\n20 0 empty\n30 10 \n\
            fffffffffffffff0 20 beyond\n10000000000000000 10 too large\n40 10 a\x1b[31mb\xff\r\n\0\0\0\n50 10 \0\n",
        );
        assert_eq!(map.map.len(), 4, "{:?}", map.map);
        assert_eq!((map.name(0x10), map.name(0x20), map.name(0x30), map.name(u64::MAX)), (None, None, None, None));
        assert_eq!(map.name(0x40).as_deref(), Some("a\u{fffd}[31mb\u{fffd}"));
    }

    #[test]
    fn long_lines_and_many_of_them_take_bounded_memory() {
        let mut text = b"10 10 ".to_vec();
        text.extend(vec![b'a'; 20_000]);
        text.extend(b"\n20 10 b\n30 10 ");
        text.extend(vec![b'7'; 3 * CHUNK]);
        text.extend(b" 10 not a line");
        text.extend(b"\n40 10 d\n");
        let map = Map::of(&text);
        assert!(map.name(0x10).unwrap().len() < 5_000);
        assert_eq!(map.name(0x20).as_deref(), Some("b"));
        assert_eq!((map.name(0x30), map.name(0x40).as_deref()), (None, Some("d")));
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(MOST_BYTES + 1).unwrap();
        let mut map = PerfMap::default();
        map.read(&sparse, MOST_BYTES + 1);
        assert!(map.is_too_much());
    }
}
