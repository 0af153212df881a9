//! System calls: how many, how long, and from where.

use aya::{Ebpf, EbpfLoader};
use perf_ebpf::calls::{CALLS, Text};

use super::{
    AttachError,
    links::{Links, load_raw},
    maps::{fill, size},
    session::Unwind,
};

/// Threads that can be looked at, at once.
const THREADS: u32 = 65_536;
/// Calls that are told apart in a window, on one CPU: each process's.
const KINDS: u32 = 2_048;
/// At most, on all CPUs.
const ALL_KINDS: u32 = 65_536;
/// Calls with their errors.
const ERRORS: u32 = 8_192;
/// Calls with their stacks.
const TIMES: u32 = 16_384;

const ENTER: &str = "sys_enter";
const EXIT: &str = "sys_exit";
const WALKING: &str = "sys_exit_walk";
/// Takes note of the ends of threads.
const END: &str = "calls_end";
const TEXTS: &str = "CALL_TEXTS";

/// System calls.
#[derive(Debug)]
pub struct CallsCollector {
    exit: &'static str,
    links: Links,
}

impl CallsCollector {
    /// Sets map sizes, before the object is loaded.
    pub(super) fn configure(loader: &mut EbpfLoader<'_>, cpus: usize) {
        let kinds = KINDS.saturating_mul(cpus as u32).min(ALL_KINDS);
        let maps = [
            ("OPEN_CALLS", THREADS),
            ("CALLS_0", kinds),
            ("CALLS_1", kinds),
            ("CALL_ERRORS_0", ERRORS),
            ("CALL_ERRORS_1", ERRORS),
            ("CALL_TIMES_0", TIMES),
            ("CALL_TIMES_1", TIMES),
        ];
        size(loader, maps);
        loader.map_max_entries(TEXTS, CALLS);
    }

    /// Loads its programs; `python` says that they read Python frames too.
    pub(super) fn load(bpf: &mut Ebpf, unwind: Unwind, python: bool) -> Result<Self, AttachError> {
        let exit = if unwind.walks(python) { WALKING } else { EXIT };
        [ENTER, exit, END].into_iter().try_for_each(|program| load_raw(bpf, program))?;
        fill(bpf, TEXTS, TOLD.iter().map(|(call, text)| (*call as u32, text.word())))?;
        Ok(Self { exit, links: Links::default() })
    }

    /// Attaches its programs. Those that see returns first: of no call is the beginning seen and not the end.
    pub(super) fn attach(&mut self, bpf: &mut Ebpf) -> Result<(), AttachError> {
        self.links.attach(bpf, [(END, "sched_process_exit"), (self.exit, EXIT), (ENTER, ENTER)])
    }

    /// Detaches its programs, in the other order. Those that see returns are told, so that they do not miss beginnings then.
    pub(super) fn detach(&mut self, bpf: &mut Ebpf) {
        // What is missed otherwise is counted as lost, no more.
        let _ = fill(bpf, "ENDING", [(0, 1)].into_iter());
        self.links.detach();
    }
}

/// What of a call's arguments is kept.
#[must_use]
pub fn text_of(call: u32) -> Option<Text> {
    TOLD.iter().find(|(told, _)| *told == libc::c_long::from(call)).map(|(_, text)| *text)
}

const FIRST: Text = Text::Path { argument: 0 };
const SECOND: Text = Text::Path { argument: 1 };

/// The calls of which it is kept what an argument leads to.
const TOLD: &[(libc::c_long, Text)] = &[
    (libc::SYS_openat, SECOND),
    (libc::SYS_openat2, SECOND),
    (libc::SYS_newfstatat, SECOND),
    (libc::SYS_statx, SECOND),
    (libc::SYS_unlinkat, SECOND),
    (libc::SYS_mkdirat, SECOND),
    (libc::SYS_readlinkat, SECOND),
    (libc::SYS_faccessat, SECOND),
    (libc::SYS_faccessat2, SECOND),
    (libc::SYS_statfs, FIRST),
    (libc::SYS_truncate, FIRST),
    (libc::SYS_connect, Text::Bytes { argument: 1, length: 2 }),
    (libc::SYS_bind, Text::Bytes { argument: 1, length: 2 }),
    (libc::SYS_sendto, Text::Bytes { argument: 4, length: 5 }),
    (libc::SYS_nanosleep, Text::Time { argument: 0 }),
    (libc::SYS_clock_nanosleep, Text::Time { argument: 2 }),
    (libc::SYS_futex, Text::Time { argument: 3 }),
    (libc::SYS_ppoll, Text::Time { argument: 0 }),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, Text::Time { argument: 0 }),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, FIRST),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, FIRST),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lstat, FIRST),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_access, FIRST),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, FIRST),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, FIRST),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, FIRST),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, FIRST),
];
