//! System calls in words: their names, the names of errors, and what their arguments say.

mod arguments;

pub use arguments::arguments;

use std::{collections::HashMap, sync::LazyLock};

use perf_ebpf::file_calls::{FAULT_CALLS, MAJOR_FAULT};

#[cfg(target_arch = "x86_64")]
const CALLS: &str = include_str!("calls/x86_64.tsv");
#[cfg(target_arch = "aarch64")]
const CALLS: &str = include_str!("calls/aarch64.tsv");
/// Operations of io_uring, by `perf_ebpf::file_calls::URING_CALLS`.
const OPERATIONS: &str = include_str!("calls/uring.tsv");
const ERRORS: &str = include_str!("calls/errors.tsv");

type Names = LazyLock<HashMap<u32, &'static str>>;

/// What stands for calls that are none.
const FAULTS: [(u32, &str); 2] = [(FAULT_CALLS, "page fault"), (MAJOR_FAULT, "major page fault")];

static CALL_NAMES: Names = LazyLock::new(|| read(CALLS).into_iter().chain(read(OPERATIONS)).chain(FAULTS).collect());
static ERROR_NAMES: Names = LazyLock::new(|| read(ERRORS));

fn read(table: &'static str) -> HashMap<u32, &'static str> {
    table
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(at, name)| Some((at.parse().ok()?, name)))
        .collect()
}

/// The name of a system call; `None` for those that are younger than this perfprobe.
#[must_use]
pub(super) fn call_name(call: u32) -> Option<&'static str> {
    CALL_NAMES.get(&call).copied()
}

/// The name of an error, `ENOENT`; `None` for none that is known.
#[must_use]
fn error_name(error: u32) -> Option<&'static str> {
    ERROR_NAMES.get(&error).copied()
}

/// Whether a name is that of a page fault.
#[must_use]
pub fn is_fault(name: &str) -> bool {
    FAULTS.iter().any(|(_, fault)| *fault == name)
}

/// The name of a system call, or its number.
#[must_use]
pub fn call_label(call: u32) -> String {
    call_name(call).map_or_else(|| format!("system call {call}"), str::to_owned)
}

/// The name of an error, or its number.
#[must_use]
pub fn error_label(error: u32) -> String {
    error_name(error).map_or_else(|| format!("error {error}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_io_uring_have_names() {
        const READ: u32 = 22;
        assert_eq!(call_name(perf_ebpf::file_calls::URING_CALLS + READ), Some("io_uring read"));
    }

    #[test]
    fn numbers_have_the_names_of_this_machine() {
        for (call, name) in [
            (libc::SYS_read, "read"),
            (libc::SYS_openat, "openat"),
            (libc::SYS_clock_nanosleep, "clock_nanosleep"),
            (libc::SYS_futex_waitv, "futex_waitv"),
        ] {
            assert_eq!(call_name(call as u32), Some(name));
        }
        assert_eq!([call_name(462), call_name(100_000)], [Some("mseal"), None]);
        assert_eq!(call_label(100_000), "system call 100000");
        for (error, name) in [(libc::ENOENT, "ENOENT"), (libc::EAGAIN, "EAGAIN"), (512, "ERESTARTSYS")] {
            assert_eq!(error_name(error as u32), Some(name));
        }
        assert_eq!(error_label(4000), "error 4000");
    }

    #[test]
    fn tables_have_each_number_once() {
        for table in [CALLS, ERRORS] {
            assert_eq!(read(table).len(), table.lines().count());
        }
    }
}
