//! The files that code was mapped from: they are the target's, which may be hostile to a recorder that runs as root.
#![no_main]

use std::sync::{Arc, LazyLock};

use fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use perf_user::python::Interpreter;
use perf_user::symbolize::Names;
use perf_user::task::Module;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let path = SCRATCH.file(data);
    let file = std::fs::File::open(&path).expect("open what was just written");
    let _ = (Interpreter::read(&file), perf_user::unwind::read(&file, |_| None));
    // Places all over the file, and some outside.
    let mut offsets: Vec<u64> = (0..data.len() as u64).step_by(data.len() / 64 + 1).collect();
    offsets.extend([0x1000, 0x1020, 0x1139, u64::MAX, 1 << 40]);
    let named = Names::default().name(&Arc::new(Module::at(path)), &offsets);
    assert_eq!(named.len(), offsets.len());
    assert!(named.iter().all(|named| !named.functions.is_empty()));
});
