//! Jitdumps, which their processes write as they like. The first byte says where they are cut in two.
#![no_main]

use std::fs::File;
use std::sync::LazyLock;

use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use perf_user::symbolize::jit::JitDump;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let Some((cut, dump)) = data.split_first() else { return };
    let file = File::open(SCRATCH.file(dump)).expect("a file that was just written");
    let bytes = dump.len() as u64;
    let (mut whole, mut pieces) = (JitDump::default(), JitDump::default());
    whole.read(&file, bytes);
    pieces.read(&file, bytes * u64::from(*cut) / 255);
    pieces.read(&file, bytes);
    // Whatever stands in it may be an address, or a time.
    let word = |bytes: &[u8]| Some(u64::from_ne_bytes(bytes.try_into().ok()?));
    let words: Vec<u64> = dump.windows(8).step_by(4).filter_map(word).take(64).collect();
    for address in words.iter().copied().chain([0, u64::MAX]) {
        for time_ns in [0, 100, u64::MAX].into_iter().chain(words.last().copied()) {
            let function = whole.function(&file, address, time_ns);
            assert_eq!(function, pieces.function(&file, address, time_ns), "read at once, and in two pieces");
            assert!(function.is_none_or(|function| !function.name.is_empty()));
        }
    }
});
