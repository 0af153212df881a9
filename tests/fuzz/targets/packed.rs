//! Symbols packed into a stripped file: xz, and what is in it. The first byte says whether it is packed already.
#![no_main]

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use fuzz::{Scratch, elf};
use libfuzzer_sys::fuzz_target;
use lzma_rust2::{XzOptions, XzWriter};
use perf_user::symbolize::Names;
use perf_user::task::Module;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let Some((is_packed, data)) = data.split_first() else { return };
    let packed = if is_packed & 1 == 1 { data.to_vec() } else { pack(data) };
    let path = SCRATCH.file(&elf(&[(".gnu_debugdata", &packed)]));
    let offsets = [0, 0x40, 0x78, 0x100, 0x1139, u64::MAX];
    let named = Names::default().name(&Arc::new(Module::at(path)), &offsets);
    assert_eq!(named.len(), offsets.len());
    assert!(named.iter().all(|named| !named.functions.is_empty()));
});

fn pack(data: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).expect("options of a preset");
    writer.write_all(data).expect("packing into memory");
    writer.finish().expect("packing into memory")
}
