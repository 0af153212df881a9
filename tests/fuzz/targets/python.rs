//! What the kernel half reads out of a Python process, which may write anything there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_user::python::{Code, groups, merge};

fuzz_target!(|data: &[u8]| {
    if let Some((_, code)) = Code::parse(data) {
        assert!(!code.name.is_empty());
        for offset in [0, 2, data.len() as u64, u64::MAX] {
            let _ = code.line(offset);
        }
    }
    let words: Vec<u64> = data.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let Some((header, groups)) = groups(&words) else { return };
    // Native frames are even, Python's odd; the first byte says which of them are of the interpreter's loop.
    let native: Vec<(usize, bool)> = (0..8).map(|at| (2 * at, data[0] >> at & 1 != 0)).collect();
    let mut next = 1;
    let groups: Vec<Vec<usize>> = groups
        .iter()
        .map(|group| {
            let first = next;
            next += 2 * group.frames.len();
            (first..next).step_by(2).collect()
        })
        .collect();
    let python: usize = groups.iter().map(Vec::len).sum();
    let merged = merge(&native, (header.ending, groups), |frame| frame == 0, usize::MAX - 1, usize::MAX - 2);
    // No frame of either kind is lost but those of the loop, and each kind keeps its order.
    let native: Vec<usize> = merged.iter().copied().filter(|frame| *frame < 16 && frame % 2 == 0).collect();
    assert!(native.is_sorted() && native.len() >= 8 - data[0].count_ones() as usize);
    let found: Vec<usize> = merged.iter().rev().copied().filter(|frame| frame % 2 == 1 && *frame < next).collect();
    assert!(found.is_sorted() && found.len() == python);
});
