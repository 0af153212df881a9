//! The kernel's description of its types, as the reader of offsets parses it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_user::host::btf::Btf;

fuzz_target!(|data: &[u8]| {
    if let Ok(btf) = Btf::parse(data) {
        for (structure, member) in [("task", "pid"), ("task", "tgid"), ("a", "x"), ("", "")] {
            let _ = btf.member_offset(structure, member);
        }
    }
});
