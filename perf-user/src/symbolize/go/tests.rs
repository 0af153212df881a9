//! Tables as Go would make them, of two versions.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

const TEXT: u64 = 0x40_1000;
const TABLE: u64 = 0x50_0000;
const TREE: u64 = 0x48_0000;

/// Pairs of a value and the place that it holds up to, as Go encodes them.
fn values(pairs: &[(i32, u8)]) -> Vec<u8> {
    let (mut bytes, mut value, mut at) = (Vec::new(), -1, 0);
    for (next, end) in pairs {
        let difference = next - value;
        bytes.extend([((difference << 1) ^ (difference >> 31)) as u8, end - at]);
        (value, at) = (*next, *end);
    }
    bytes.push(0);
    bytes
}

/// Two functions, `main.outer` of 32 bytes and `main.last` of 16. In the first stands `main.middle`, and in that
/// `main.inner`.
fn table((magic, layout): (u32, Layout), text: u64) -> Vec<u8> {
    let names = b"main.outer\0main.middle\0main.inner\0main.last\0";
    let files = b"/src/a.go\0/src/b.go\0";
    let mut tables = vec![0];
    let mut add = |pairs: &[(i32, u8)]| {
        let at = tables.len() as u32;
        tables.extend(values(pairs));
        at
    };
    let file = add(&[(0, 8), (1, 24), (0, 32)]);
    let line = add(&[(10, 8), (30, 16), (20, 24), (11, 32)]);
    let inlined = add(&[(-1, 8), (1, 16), (0, 24), (-1, 32)]);
    let record = |entry: u32, name: u32, tables: [u32; 2], pcdata: &[u32], funcdata: &[u32]| {
        let mut words = vec![entry, name, 0, 0, 0, tables[0], tables[1], pcdata.len() as u32, 0];
        words.resize(layout.function / 4 - 1, 7);
        words.push((funcdata.len() as u32) << 24);
        words.extend(pcdata.iter().chain(funcdata));
        words
    };
    let first = record(0, 0, [file, line], &[0, 0, inlined], &[0, 0, 0, 16]);
    let last = record(32, 34, [0, 0], &[], &[]);
    let at = 20 + 4 * first.len() as u32;
    let mut records = vec![0, 20, 32, at, 48];
    records.extend(first.into_iter().chain(last));
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let parts = [names.to_vec(), bytes(&[0, 10]), files.to_vec(), tables, bytes(&records)];
    let mut head: Vec<u64> = vec![2, 2, text];
    let mut end = 72;
    for part in &parts {
        head.push(end);
        end += part.len() as u64;
    }
    let mut data = [&magic.to_le_bytes()[..], &[0, 0, 1, 8]].concat();
    data.extend(head.into_iter().flat_map(u64::to_le_bytes));
    data.extend(parts.concat());
    data
}

/// What the linker writes of the module, behind something else.
fn module(layout: Layout) -> Vec<u8> {
    let mut words = vec![5, TABLE, 0];
    let start = words.len();
    words.resize(start + 42, 1);
    for (index, word) in
        [(0, TABLE), (1, TABLE + 72), (20, TEXT), (21, TEXT + 48), (22, TEXT), (layout.funcdata_base, TREE - 16)]
    {
        words[start + index] = word;
    }
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn tree(layout: Layout) -> Vec<u8> {
    let mut calls = vec![0; 2 * layout.call];
    for (index, name, place) in [(0, 11_u32, 0_u32), (1, 23, 16)] {
        let call = &mut calls[index * layout.call..][..layout.call];
        call[layout.call_name..][..4].copy_from_slice(&name.to_le_bytes());
        call[layout.call_place..][..4].copy_from_slice(&place.to_le_bytes());
    }
    calls
}

/// The functions at a place, as `name file:line`.
fn named(table: &GoTable, layout: Layout, at: u64) -> Option<Vec<String>> {
    let tree = tree(layout);
    let memory =
        |address: u64, length: usize| Some(tree.get(address.checked_sub(TREE)? as usize..)?.get(..length)?.to_vec());
    let functions = table.functions(TEXT + at, &memory)?;
    Some(functions.iter().map(|function| format!("{} {}:{}", function.name, function.file, function.line)).collect())
}

#[test]
fn functions_lines_and_inlined_calls() {
    for version in [GO_1_18, GO_1_20] {
        // Since 1.26 the table does not tell where functions begin.
        for text in [TEXT, 0] {
            let layout = version.1;
            let table = GoTable::parse(table(version, text), TABLE, &[module(layout)]).unwrap();
            let named = |at| named(&table, layout, at);
            let outer = || "main.outer /src/a.go:10".to_owned();
            assert_eq!(named(0), Some(vec![outer()]));
            let inner = vec![outer(), "main.middle /src/b.go:20".into(), "main.inner /src/b.go:30".into()];
            assert_eq!(named(12), Some(inner));
            assert_eq!(named(16), Some(vec![outer(), "main.middle /src/b.go:20".into()]));
            assert_eq!(named(31), Some(vec!["main.outer /src/a.go:11".into()]));
            assert_eq!(named(32), Some(vec!["main.last :0".into()]));
            assert_eq!(named(47), Some(vec!["main.last :0".into()]));
            assert_eq!((named(48), named(u64::MAX - TEXT)), (None, None));
        }
    }
}

#[test]
fn a_function_is_found_by_its_whole_name() {
    for version in [GO_1_18, GO_1_20] {
        let table = GoTable::parse(table(version, TEXT), TABLE, &[]).unwrap();
        assert_eq!(table.addresses_of(&[b"main.outer"]), Some((TEXT, TEXT + 32)));
        assert_eq!(table.addresses_of(&[b"no", b"main.last"]), Some((TEXT + 32, TEXT + 48)));
        assert_eq!((table.addresses_of(&[b"main.las"]), table.addresses_of(&[b"main.inner"])), (None, None));
    }
}

#[test]
fn without_the_module_data_a_function_has_no_line_that_is_not_its_own() {
    let table_of = |modules: &[Vec<u8>]| GoTable::parse(table(GO_1_20, TEXT), TABLE, modules).unwrap();
    let mut other = module(GO_1_20.1);
    other[(3 + 21) * 8] += 1;
    for table in [table_of(&[]), table_of(&[other])] {
        assert_eq!(named(&table, GO_1_20.1, 12), Some(vec!["main.outer :0".into()]));
        assert_eq!(named(&table, GO_1_20.1, 0), Some(vec!["main.outer /src/a.go:10".into()]));
    }
    assert!(GoTable::parse(table(GO_1_20, 0), TABLE, &[]).is_none());
}

#[test]
fn damaged_tables_give_nothing_or_something_but_end() {
    let good = table(GO_1_18, TEXT);
    for length in 0..good.len() {
        if let Some(table) = GoTable::parse(good[..length].to_vec(), TABLE, &[module(GO_1_18.1)]) {
            (0..50).for_each(|at| drop(named(&table, GO_1_18.1, at)));
        }
    }
    for at in 0..good.len() {
        for value in [0, 0x7f, 0x80, 0xff] {
            let mut data = good.clone();
            data[at] = value;
            if let Some(table) = GoTable::parse(data, TABLE, &[module(GO_1_18.1)]) {
                (0..50).for_each(|at| drop(named(&table, GO_1_18.1, at)));
            }
        }
    }
}

#[test]
fn what_is_read_in_all_is_limited() {
    let table = GoTable::parse(table(GO_1_18, TEXT), TABLE, &[]).unwrap();
    table.steps.set(4);
    assert_eq!(named(&table, GO_1_18.1, 0).unwrap(), ["main.outer /src/a.go:10"]);
    assert_eq!(named(&table, GO_1_18.1, 0).unwrap(), ["main.outer :0"]);
}
