//! Any bytes as a recording.
#![no_main]

use std::sync::LazyLock;

use fuzz::{Scratch, check_one_output};
use libfuzzer_sys::fuzz_target;
use perf_user::store::{Selection, read, slice};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let path = SCRATCH.file(data);
    if let Ok(profile) = read(&path, Selection::default()) {
        check_one_output(&profile, data.len());
        let selection = Selection {
            from_ns: Some(1),
            tid: profile.threads.first().map(|thread| thread.tid),
            ..Selection::default()
        };
        let _ = slice(&path, &SCRATCH.beside("slice.perfprobe"), selection);
    }
});
