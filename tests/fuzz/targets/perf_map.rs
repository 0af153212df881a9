//! Perf maps, which their processes write as they like, in pieces and anew. The first byte says where they are cut in two.
#![no_main]

use std::fs::File;
use std::sync::LazyLock;

use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use perf_user::symbolize::jit::PerfMap;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let Some((cut, text)) = data.split_first() else { return };
    let file = File::open(SCRATCH.file(text)).expect("a file that was just written");
    let bytes = text.len() as u64;
    let (mut whole, mut pieces) = (PerfMap::default(), PerfMap::default());
    whole.read(&file, bytes);
    pieces.read(&file, bytes * u64::from(*cut) / 255);
    pieces.read(&file, bytes);
    // Addresses that lines may begin at, and others.
    let starts = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let digits = line.split(|byte| *byte == b' ').next()?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    });
    for address in starts.take(64).flat_map(|start| [start, start.wrapping_add(1)]).chain([0, u64::MAX]) {
        let name = whole.name(&file, address);
        assert_eq!(name, pieces.name(&file, address), "read at once, and in two pieces");
        assert!(name.is_none_or(|name| !name.is_empty() && !name.contains(char::is_control)));
    }
});
