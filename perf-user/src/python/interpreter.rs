//! Finding an interpreter in a file: its version, its state, its loop, and where it keeps what leads to frames.

use std::{fs::File, ops::Range, os::unix::fs::FileExt as _};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, ReadCache, SegmentFlags, elf, read::ReadRef};
use perf_ebpf::python::Layout;

use super::layout::{V3_11, V3_12, self_described};

/// The function that runs Python code. What the compiler splits from it has its name and an ending.
const LOOP: &str = "_PyEval_EvalFrameDefault";
/// The interpreter's state.
const RUNTIME: &str = "_PyRuntime";
/// The version, as a number (`Py_Version`, since 3.11).
const VERSION: &str = "Py_Version";

/// No interpreter is larger. A file that says so is not read.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Why a file has no interpreter that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoInterpreter {
    /// It is no ELF file of this machine's, or a damaged one.
    #[error("it cannot be read as ELF: {0}")]
    Unreadable(String),
    /// It has no interpreter in it: that is in a library then.
    #[error("it has no interpreter in it")]
    Absent,
    /// Its version is another.
    #[error("its version is {}.{}, and frames are known of 3.11 to 3.13", .0 >> 24, .0 >> 16 & 0xff)]
    Version(u32),
    /// It runs threads without a global lock.
    #[error("it is built without the global interpreter lock")]
    FreeThreaded,
    /// It says of itself what cannot be.
    #[error("what it tells of its own structures cannot be")]
    Insane,
}

/// Whether a file is called like an interpreter.
#[must_use]
pub fn may_be_interpreter(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("python") || name.starts_with("libpython")
}

/// An interpreter in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct Interpreter {
    /// Where it keeps what leads to frames.
    pub layout: Layout,
    /// The address of its state, as the file's own sections name it.
    runtime: u64,
    /// The file offsets of its loop.
    eval: Vec<Range<u64>>,
    /// Parts of the file that are mapped: file offset, address, bytes in the file.
    segments: Vec<(u64, u64, u64)>,
}

impl Interpreter {
    /// Looks for one in a file.
    ///
    /// # Errors
    /// When there is none, or none that is known.
    pub fn read(file: &File) -> Result<Self, NoInterpreter> {
        let unreadable = |error: &dyn std::fmt::Display| NoInterpreter::Unreadable(error.to_string());
        let bytes = file.metadata().map_err(|error| unreadable(&error))?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(NoInterpreter::Unreadable("it is too large".into()));
        }
        let cache = ReadCache::new(file);
        let elf = object::File::parse(&cache).map_err(|error| unreadable(&error))?;
        let found = Symbols::find(&elf);
        let (Some(runtime), Some(version), false) = (found.runtime, found.version, found.eval.is_empty()) else {
            return Err(NoInterpreter::Absent);
        };
        let segments = segments(&elf);
        let version = u32::from_le_bytes(read(file, &segments, version).ok_or(NoInterpreter::Insane)?);
        let layout = match version >> 16 {
            0x030b if is_released(version) => V3_11,
            0x030c if is_released(version) => V3_12,
            0x030d if is_released(version) => {
                self_described(&read(file, &segments, runtime).ok_or(NoInterpreter::Insane)?)?
            }
            _ => return Err(NoInterpreter::Version(version)),
        };
        let in_file = |range: Range<u64>| {
            let (offset, address, _) = *segments.iter().find(|part| holds(part, range.start))?;
            let start = range.start - address + offset;
            Some(start..start.checked_add(range.end.checked_sub(range.start)?)?)
        };
        let eval = found.eval.into_iter().filter_map(in_file).collect();
        Ok(Self { layout, runtime, eval, segments })
    }

    /// Whether a place in the file is in the interpreter's loop.
    #[must_use]
    pub fn is_loop(&self, offset: u64) -> bool {
        self.eval.iter().any(|range| range.contains(&offset))
    }

    /// Whether code that is mapped from this file offset on has the loop in it.
    #[must_use]
    pub fn has_loop(&self, offset: u64, bytes: u64) -> bool {
        self.eval.iter().any(|range| offset <= range.start && range.start < offset.saturating_add(bytes))
    }

    /// The address of the interpreter's state in a process that has this file offset at this address.
    #[must_use]
    pub fn runtime(&self, address: u64, offset: u64) -> Option<u64> {
        // A mapping begins at the page in which the segment does.
        const PAGE: u64 = 4096;
        let maps = |(start, _, bytes): &&(u64, u64, u64)| {
            start - start % PAGE <= offset && offset < start.saturating_add(*bytes)
        };
        let (start, named, _) = self.segments.iter().find(maps)?;
        let named = named.wrapping_add(offset).wrapping_sub(*start);
        Some(self.runtime.wrapping_add(address).wrapping_sub(named))
    }
}

/// Not a development version, whose structures are not settled: the release level is "candidate" or "final".
fn is_released(version: u32) -> bool {
    version >> 4 & 0xf >= 0xc
}

/// Addresses, as the file's own sections name them.
#[derive(Default)]
struct Symbols {
    runtime: Option<u64>,
    version: Option<u64>,
    eval: Vec<Range<u64>>,
}

impl Symbols {
    fn find<'data, R: ReadRef<'data>>(elf: &object::File<'data, R>) -> Self {
        let mut found = Self::default();
        for symbol in elf.dynamic_symbols().chain(elf.symbols()).filter(object::ObjectSymbol::is_definition) {
            match symbol.name() {
                Ok(RUNTIME) => found.runtime = Some(symbol.address()),
                Ok(VERSION) => found.version = Some(symbol.address()),
                Ok(name) if name == LOOP || name.strip_prefix(LOOP).is_some_and(|rest| rest.starts_with('.')) => {
                    let range = symbol.address()..symbol.address().saturating_add(symbol.size());
                    if !found.eval.contains(&range) {
                        found.eval.push(range);
                    }
                }
                _ => {}
            }
        }
        found
    }
}

fn segments<'data, R: ReadRef<'data>>(elf: &object::File<'data, R>) -> Vec<(u64, u64, u64)> {
    // Those that hold code come first: their pages can overlap others'.
    let mut segments: Vec<_> = elf.segments().collect();
    segments
        .sort_by_key(|segment| !matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & elf::PF_X != 0));
    let part = |segment: object::Segment<'data, '_, R>| {
        let (offset, bytes) = segment.file_range();
        (offset, segment.address(), bytes)
    };
    segments.into_iter().map(part).collect()
}

fn holds((_, address, bytes): &(u64, u64, u64), wanted: u64) -> bool {
    wanted.checked_sub(*address).is_some_and(|inside| inside < *bytes)
}

/// What the file has at an address.
fn read<const BYTES: usize>(file: &File, segments: &[(u64, u64, u64)], at: u64) -> Option<[u8; BYTES]> {
    let (offset, address, _) = segments.iter().find(|part| holds(part, at))?;
    let mut data = [0; BYTES];
    file.read_exact_at(&mut data, (at - address).checked_add(*offset)?).ok()?;
    Some(data)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_of_interpreters() {
        for path in ["/usr/bin/python3.11", "/opt/lib/libpython3.12.so.1.0", "python"] {
            assert!(may_be_interpreter(path), "{path}");
        }
        for path in ["/usr/lib/libc.so.6", "/python/bin/node", ""] {
            assert!(!may_be_interpreter(path), "{path}");
        }
    }

    #[test]
    fn other_files_have_none() {
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Interpreter::read(&own), Err(NoInterpreter::Absent));
        let text = File::open(file!().replace("perf-user/", "")).unwrap();
        assert!(matches!(Interpreter::read(&text), Err(NoInterpreter::Unreadable(_))));
    }

    #[test]
    fn the_state_is_found_from_any_mapping_of_code() {
        let segments = vec![(0x1040, 0x2040, 0x5000), (0, 0, 0x800), (0x7000, 0x9000, 0x100)];
        let eval = std::iter::once(0x2000..0x3000).collect();
        let interpreter = Interpreter { layout: V3_11, runtime: 0x9010, eval, segments };
        assert_eq!(interpreter.runtime(0x7f00_0000_2000, 0x1000), Some(0x7f00_0000_9010));
        assert_eq!(interpreter.runtime(0x7f00_0000_3000, 0x2000), Some(0x7f00_0000_9010));
        assert_eq!(interpreter.runtime(0x7f00_0000_3000, 0x1_0000), None);
        assert!(interpreter.is_loop(0x2fff) && !interpreter.is_loop(0x3000));
        assert!(interpreter.has_loop(0x1000, 0x5000) && !interpreter.has_loop(0x2001, 0x5000));
    }
}
