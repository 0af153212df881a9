//! Files of `/proc`, in which a process chooses its name and the paths it maps. The first byte says which file it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_user::host::{proc, status::Status};

fuzz_target!(|data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    match kind {
        b'm' => {
            for mapping in proc::parse_mappings(text) {
                assert!(mapping.start.checked_add(mapping.bytes).is_some());
                let _ = proc::map_file(1, &mapping);
            }
        }
        b's' => {
            let _ = proc::Stat::parse(text);
        }
        _ => {
            let _ = (proc::thread_group(text), Status::parse(text));
        }
    }
});
