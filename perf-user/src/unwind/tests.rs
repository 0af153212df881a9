//! Tables say what gimli's own evaluation says, at every row of real files.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use gimli::{
    CfaRule, EhFrame, Encoding, EvaluationResult, Register, RegisterRule, UnwindExpression, UnwindTableRow, Value,
};
use perf_ebpf::unwind::{Registers, Row, Stop, step};

use super::*;

const SP: u64 = 0x7ffd_0000_1000;
const FP: u64 = 0x7ffd_0000_9000;

/// Memory in which every word says something else, above the stack pointer.
fn word(address: u64) -> u64 {
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 | 0x7fff_0000_0000
}

fn register(number: u16, ip: u64) -> u64 {
    match number {
        6 => FP,
        7 => SP,
        16 => ip,
        other => 0x7ffe_0000_0000 + u64::from(other) * 0x1000,
    }
}

/// gimli's own answers about one frame.
struct Oracle<'data> {
    eh_frame: &'data EhFrame<Slice<'data>>,
    encoding: Encoding,
    ip: u64,
}

impl Oracle<'_> {
    fn evaluate(&self, expression: &UnwindExpression<usize>, first: Option<u64>) -> u64 {
        let mut evaluation = expression.get(self.eh_frame).unwrap().evaluation(self.encoding);
        if let Some(first) = first {
            evaluation.set_initial_value(first);
        }
        let mut result = evaluation.evaluate().unwrap();
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register: Register(number), .. } => {
                    evaluation.resume_with_register(Value::Generic(register(number, self.ip))).unwrap()
                }
                EvaluationResult::RequiresMemory { address, .. } => {
                    evaluation.resume_with_memory(Value::Generic(word(address))).unwrap()
                }
                other => panic!("{other:?}"),
            };
        }
        match evaluation.as_result()[0].location {
            gimli::Location::Address { address } => address,
            ref other => panic!("{other:?}"),
        }
    }

    fn caller(&self, row: &UnwindTableRow<usize>) -> Result<Registers, Stop> {
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register: number, offset } => {
                register(number.0, self.ip).wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => self.evaluate(expression, None),
        };
        let of = |number: u16| -> Option<u64> {
            match row.register(Register(number)) {
                Some(RegisterRule::Offset(at)) => Some(word(cfa.wrapping_add_signed(at))),
                Some(RegisterRule::Expression(expression)) => Some(word(self.evaluate(&expression, Some(cfa)))),
                Some(RegisterRule::Undefined) if number == 16 => None,
                None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => Some(register(number, self.ip)),
                other => panic!("{other:?}"),
            }
        };
        let sp = row.register(Register(7)).map_or(cfa, |_| of(7).unwrap_or(cfa));
        Ok(Registers { ip: of(16).ok_or(Stop::End)?, sp, fp: of(6).unwrap_or(FP) })
    }
}

/// Rows of the file that were compared, and those that tables do not express.
fn compare(path: &str) -> (u64, u64) {
    let bytes = std::fs::read(path).unwrap();
    let table = read(&File::open(path).unwrap(), |_| None).unwrap();
    let elf = object::File::parse(&*bytes).unwrap();
    let segments = Segments::of(&elf, bytes.len() as u64);
    let section = elf.section_by_name(".eh_frame").unwrap();
    let data = section.uncompressed_data().unwrap();
    let mut eh_frame = EhFrame::new(&data, LittleEndian);
    eh_frame.set_address_size(8);
    let bases = BaseAddresses::default()
        .set_eh_frame(section.address())
        .set_text(elf.section_by_name(".text").unwrap().address());
    let (mut context, mut told) = (UnwindContext::new(), std::collections::HashSet::new());
    let (mut same, mut unknown) = (0, 0);
    let mut entries = eh_frame.entries(&bases);
    while let Some(entry) = entries.next().unwrap() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(EhFrame::cie_from_offset).unwrap();
        let mut rows = fde.rows(&eh_frame, &bases, &mut context).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            for ip in [row.start_address(), row.end_address() - 1] {
                let Some((offset, _)) = segments.offsets(ip, ip) else { continue };
                if row.start_address() == row.end_address() || !told.insert(ip) {
                    continue;
                }
                let found = table.find(offset).unwrap();
                if found.kind() == Cfa::Unknown as u8 {
                    unknown += 1;
                    continue;
                }
                let oracle = Oracle { eh_frame: &eh_frame, encoding: fde.cie().encoding(), ip };
                let start = Registers { ip, sp: SP, fp: FP };
                let stepped = step(found, start, |at| Some(word(at)), |number| Some(register(number.into(), ip)));
                let expected = oracle.caller(row);
                // Below the stack pointer there is no caller; with registers made up, some rules lead there.
                if stepped != Err(Stop::Backwards) {
                    assert_eq!(stepped, expected, "{path} at {ip:#x}: {row:?}");
                }
                same += 1;
            }
        }
    }
    (same, unknown)
}

#[test]
fn tables_agree_with_gimli_on_every_row_of_real_files() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut files: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains("r-xp"))
        .filter_map(|line| line.split_whitespace().nth(5).filter(|path| path.starts_with('/')))
        .collect();
    files.dedup();
    let programs = ["/usr/bin/bash", "/usr/bin/perl", "/usr/bin/python3", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"];
    files.extend(programs.into_iter().filter(|path| std::path::Path::new(path).exists()));
    assert!(files.len() >= 3, "this program and its libraries: {files:?}");
    for path in files {
        let (same, unknown) = compare(path);
        assert!(same > 100, "{path}: {same} rows");
        assert!(unknown * 200 <= same, "{path}: {unknown} rows are not expressed beside {same}");
    }
}

#[test]
fn what_is_no_file_with_call_frame_information_is_refused() {
    let open = |path: &str| read(&File::open(path).unwrap(), |_| None);
    assert!(matches!(open("/proc/self/maps"), Err(NoTable::Unreadable(_))));
}

/// Instructions for which the rules that the code itself gives say the same as the compiler's, other ones, and those that are
/// left unknown. Which functions there are is kept from them: only calls and the order of the code tell.
fn compare_derived(path: &str) -> (u64, Vec<u64>, u64) {
    let bytes = std::fs::read(path).unwrap();
    let told = read(&File::open(path).unwrap(), |_| None).unwrap();
    let elf = object::File::parse(&*bytes).unwrap();
    let section = elf.section_by_name(".text").unwrap();
    let start = section.file_range().unwrap().0;
    let gap = Gap { start, bytes: section.data().unwrap() };
    let (mut same, mut other, mut unknown) = (0, Vec::new(), 0);
    for (start, end, rule) in derive::derive(&[gap], std::iter::empty(), u64::MAX) {
        let mut decoder = iced_x86::Decoder::with_ip(64, &bytes[start as usize..end as usize], start, 0);
        while decoder.can_decode() {
            let at = decoder.ip();
            let _ = decoder.decode();
            // What the compiler does not tell of is filling, or written by hand.
            let Some(row) = told.find(at).filter(|row| row.kind() > Cfa::End as u8) else { continue };
            if rule == Rule::UNKNOWN {
                unknown += 1;
            } else if says_the_same(row, Row::new(at, rule), at) {
                same += 1;
            } else {
                other.push(at);
            }
        }
    }
    (same, other, unknown)
}

/// Whether two rows lead to the same caller. Behind the instruction that restores the frame pointer, the compiler may say that
/// it still lies in memory, so places of frame pointers are compared where both name one.
fn says_the_same(told: Row, derived: Row, ip: u64) -> bool {
    let caller = |row| step(row, Registers { ip, sp: SP, fp: FP }, |at| Some(word(at)), |_| None);
    // The frame pointer and the stack pointer are made up, so a frame is found by one of them only.
    let (Ok(expected), Ok(found)) = (caller(told), caller(derived)) else { return false };
    let both_saved = told.fp_words() != 0 && derived.fp_words() != 0;
    told.kind() == derived.kind() && expected.sp == found.sp && (!both_saved || expected.fp == found.fp)
}

#[test]
fn what_code_tells_is_what_its_compiler_told() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of_line = |line: &str| line.split_whitespace().nth(5).map(String::from);
    let library = maps.lines().filter_map(of_line).find(|path| path.contains("libc.so") || path.contains("ld-musl"));
    let library = library.unwrap();
    for path in [library.as_str(), "/usr/bin/bash"] {
        let (same, other, unknown) = compare_derived(path);
        let examples: Vec<String> = other.iter().take(20).map(|at| format!("{at:#x}")).collect();
        println!("{path}: {same} the same, {} others, {unknown} unknown", other.len());
        assert!(same > 50_000, "{path}: {same} instructions");
        // The C library's own information is wrong or imprecise in code that is written by hand.
        assert!(other.len() as u64 * 1000 <= same, "{path}: {} of {same} differ: {examples:?}", other.len());
        assert!(unknown * 30 <= same, "{path}: {unknown} are not known beside {same}");
    }
}

/// `.eh_frame` in the making: entries for code of 16 bytes at one address after another.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn entry(&mut self, id: u32, rest: &[u8]) {
        self.0.extend((rest.len() as u32 + 4).to_le_bytes());
        self.0.extend(id.to_le_bytes());
        self.0.extend(rest);
    }

    /// What all functions have in common: version 1, factors of 1, the return address in register 16, then instructions.
    fn common(&mut self, instructions: &[u8]) {
        self.entry(0, &[&[1, 0, 1, 1, 16][..], instructions].concat());
    }

    /// A function of 16 bytes that refers to the first entry.
    fn function(&mut self, address: u64, instructions: &[u8]) {
        let back = self.0.len() as u32 + 4;
        let place = [address.to_le_bytes(), 16_u64.to_le_bytes()].concat();
        self.entry(back, &[&place, instructions].concat());
    }

    fn collect(&self, segments: Vec<(u64, u64, u64)>, rows: usize) -> (Result<(), NoTable>, Stretches) {
        let mut stretches = Stretches::with_room(rows);
        let mut eh_frame = EhFrame::new(&self.0, LittleEndian);
        eh_frame.set_address_size(8);
        let bases = BaseAddresses::default().set_eh_frame(0);
        (collect((&eh_frame, &self.0), &bases, &Segments(segments), &mut stretches), stretches)
    }
}

/// `DW_CFA_def_cfa`: the stack pointer and 8; `DW_CFA_offset_extended_sf`: the return address in the word below.
const COMMON: &[u8] = &[0x0c, 7, 8, 0x11, 16, 0x78];

/// `DW_CFA_advance_loc` by 1.
const ADVANCE: u8 = 0x41;

#[test]
fn a_long_entry_that_all_others_refer_to_is_not_read_for_each() {
    let referring = |functions: u64| {
        let mut frames = Frames::default();
        frames.common(&vec![0; COMMON_BYTES as usize / 100]);
        (0..functions).for_each(|at| frames.function(at * 16, &[]));
        frames.collect(Vec::new(), 100).0
    };
    assert_eq!(referring(99), Ok(()));
    assert_eq!(referring(100), Err(NoTable::TooLarge));
}

#[test]
fn a_function_of_more_rows_than_there_is_room_for_is_not_read_to_its_end() {
    let mut frames = Frames::default();
    frames.common(COMMON);
    frames.function(0, &[ADVANCE; 15]);
    assert_eq!(frames.collect(vec![(0, 16, 0)], 100).0, Ok(()));
    assert_eq!(frames.collect(vec![(0, 16, 0)], 10).0, Err(NoTable::TooLarge));
}

#[test]
fn rows_stay_in_their_function_where_one_segment_lies_in_another() {
    let mut frames = Frames::default();
    frames.common(COMMON);
    // The rest of the function is at a stack pointer that is 8 bytes further.
    frames.function(0x100, &[ADVANCE, 0x0e, 16]);
    let (outcome, stretches) = frames.collect(vec![(0x101, 0xf, 0x50_0000), (0x100, 0x100, 0x1000)], 100);
    assert_eq!(outcome, Ok(()));
    let table = stretches.into_table().unwrap();
    let offset = |at| table.find(at).map(|row: Row| row.offset());
    assert_eq!([0x1000, 0x1001, 0x100f].map(offset), [Some(8), Some(16), Some(16)]);
}
