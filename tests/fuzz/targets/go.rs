//! The table that Go programs carry for tracebacks of their own. The first two bytes say how long the module data before it
//! are, the third where those name it.
#![no_main]

use std::sync::{Arc, LazyLock};

use fuzz::{CONTENT, Scratch, elf};
use libfuzzer_sys::fuzz_target;
use perf_user::symbolize::Names;
use perf_user::task::Module;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let Some(([low, high, at], rest)) = data.split_first_chunk() else { return };
    let (module, table) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes([*low, *high]))));
    // The words by which the module data are found are addresses, which no chance would hit.
    let mut module = module.to_vec();
    let address = CONTENT + module.len() as u64;
    let names = table.get(32..40).map_or(0, |word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    if let Some(words) = module.get_mut(usize::from(*at) * 8..).and_then(|rest| rest.first_chunk_mut::<16>()) {
        words[..8].copy_from_slice(&address.to_le_bytes());
        words[8..].copy_from_slice(&address.wrapping_add(names).to_le_bytes());
    }
    let path = SCRATCH.file(&elf(&[(".go.module", &module), (".gopclntab", table)]));
    let offsets: Vec<u64> = (0..64).chain([0x100, 0x1000, 0x1_0000, u64::MAX]).collect();
    let named = Names::default().name(&Arc::new(Module::at(path)), &offsets);
    assert_eq!(named.len(), offsets.len());
    assert!(named.iter().flat_map(|named| &named.functions).all(|function| !function.name.is_empty()));
});
