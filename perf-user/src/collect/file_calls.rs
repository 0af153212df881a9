//! System calls on files and sockets: how many, how long and how much, of which of them.

use std::fs;

use aya::{Ebpf, EbpfLoader};
use perf_ebpf::{
    calls::CALLS,
    file_calls::{ACCEPTS, About, CONNECTS, Moves, URING_OPERATIONS, word},
};

use super::{
    AttachError, EventKind,
    links::{Links, load_raw},
    maps::{fill, size, tell},
    session::{SessionOptions, Unwind},
};
use crate::host::{
    Unsupported,
    block::{Offset, block_offsets},
};

/// Processes, calls and files that are told apart in a window, on one CPU.
const SUMS: u32 = 4_096;
/// At most, on all CPUs.
const ALL_SUMS: u32 = 16_384;
/// Of the processes and calls for whose files there is no room.
const REST: u32 = 1_024;
/// Calls with their stacks and files.
const TIMES: u32 = 16_384;
/// The same where page faults are among them, which each program that begins has dozens of.
const FAULT_TIMES: u32 = 65_536;
/// Peers that answer, in a window.
const PEERS: u32 = 2_048;
/// Sockets of which it is known that something was sent: those that were used last.
const TALKS: u32 = 32_768;

/// Operations of io_uring that can be under way at once.
const OPERATIONS: u32 = 32_768;

const WORDS: &str = "FILE_CALL_WORDS";
const URING_WORDS: &str = "URING_WORDS";

/// The program that is told when operations of io_uring are complete, and its tracepoint.
const URING_DONE: (&str, &str) = ("uring_done", "io_uring_complete");
const URING_ASK: &str = "uring_ask";
const URING_WALKING: &str = "uring_ask_walk";

/// The programs that are told of connections, and their tracepoints.
const PROGRAMS: [(&str, &str); 4] = [
    ("tcp_state", "inet_sock_set_state"),
    ("tcp_resends", "tcp_retransmit_skb"),
    ("tcp_resets", "tcp_send_reset"),
    ("tcp_is_reset", "tcp_receive_reset"),
];

/// What programs are told of the running kernel.
#[derive(Debug, Default)]
pub(super) struct Globals {
    offsets: Vec<Offset>,
    ephemeral: [u32; 2],
    tells_result: u32,
    resends_tell_error: u32,
}

impl Globals {
    /// Of the running kernel, if `options` have these calls recorded.
    pub(super) fn of(options: &SessionOptions) -> Result<Self, Unsupported> {
        if !options.tells_files() {
            return Ok(Self::default());
        }
        let offsets = block_offsets()?;
        if offsets.files.is_empty() || offsets.calls.is_empty() {
            let why = "the kernel's BTF does not describe how it keeps files and sockets";
            return Err(Unsupported::new("recording calls on files", why, "record -e syscalls,io instead"));
        }
        let tells_result = u32::from(offsets.uring_tells_result);
        let resends_tell_error = u32::from(offsets.resends_tell_error);
        let offsets = offsets.calls.iter().chain(&offsets.uring).copied().collect();
        Ok(Self { offsets, ephemeral: ephemeral_ports(), tells_result, resends_tell_error })
    }
}

/// The ports that are given to those who ask for none in particular: the first, and the last.
fn ephemeral_ports() -> [u32; 2] {
    const USUAL: [u32; 2] = [32_768, 60_999];
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_whitespace().filter_map(|port| port.parse().ok());
    ports.next().zip(ports.next()).map_or(USUAL, |(first, last)| [first, last])
}

/// System calls on files and sockets.
#[derive(Debug)]
pub struct FileCallsCollector {
    /// The program that is told when operations of io_uring are asked for, if the kernel tells that.
    uring: Option<&'static str>,
    links: Links,
}

impl FileCallsCollector {
    /// Sets globals and map sizes, before the object is loaded.
    pub(super) fn configure<'globals>(
        loader: &mut EbpfLoader<'globals>,
        globals: &'globals Globals,
        cpus: usize,
        options: &SessionOptions,
    ) {
        tell(loader, &globals.offsets);
        let [first, last] = &globals.ephemeral;
        loader.override_global("EPHEMERAL_FIRST", first, true).override_global("EPHEMERAL_LAST", last, true);
        loader.override_global("TELLS_RESULT", &globals.tells_result, true).override_global(
            "RESENDS_TELL_ERROR",
            &globals.resends_tell_error,
            true,
        );
        if !options.tells_files() {
            return;
        }
        let times = if options.records(EventKind::Faults) { FAULT_TIMES } else { TIMES };
        let sums = SUMS.saturating_mul(cpus as u32).min(ALL_SUMS);
        let maps = [
            ("FILE_CALLS_0", sums),
            ("FILE_CALLS_1", sums),
            ("FILE_REST_0", REST),
            ("FILE_REST_1", REST),
            ("FILE_TIMES_0", times),
            ("FILE_TIMES_1", times),
            ("ANSWERS_0", PEERS),
            ("ANSWERS_1", PEERS),
            ("CONNECTIONS_0", PEERS),
            ("CONNECTIONS_1", PEERS),
        ];
        size(loader, maps);
        loader.map_max_entries(WORDS, CALLS).map_max_entries("TALKS", TALKS);
        loader.map_max_entries(URING_WORDS, URING_OPERATIONS).map_max_entries("OPEN_URING", OPERATIONS);
    }

    /// Loads its programs; `python` says that they read Python frames too.
    pub(super) fn load(bpf: &mut Ebpf, unwind: Unwind, python: bool) -> Result<Self, AttachError> {
        PROGRAMS.iter().try_for_each(|(program, _)| load_raw(bpf, program))?;
        let is_told = !block_offsets()?.uring.is_empty();
        let uring = is_told.then_some(if unwind.walks(python) { URING_WALKING } else { URING_ASK });
        uring.into_iter().chain(uring.map(|_| URING_DONE.0)).try_for_each(|program| load_raw(bpf, program))?;
        let more = |call| match call {
            libc::SYS_connect => CONNECTS,
            libc::SYS_accept | libc::SYS_accept4 => ACCEPTS,
            _ => 0,
        };
        let words = ABOUT.iter().map(|(call, about, moves)| (*call as u32, word(*about, *moves) | more(*call)));
        fill(bpf, WORDS, words)?;
        fill(bpf, URING_WORDS, URING.iter().map(|(operation, moves)| (*operation, word(FILE, *moves))))?;
        Ok(Self { uring, links: Links::default() })
    }

    /// Attaches its programs.
    pub(super) fn attach(&mut self, bpf: &mut Ebpf) -> Result<(), AttachError> {
        self.links.attach(bpf, PROGRAMS)?;
        let Some(ask) = self.uring else { return Ok(()) };
        // What tells the end first: of no operation is the beginning seen and not the end.
        self.links.attach(bpf, [URING_DONE, (ask, block_offsets()?.uring_asked)])
    }

    /// Detaches its programs, in the other order.
    pub(super) fn detach(&mut self) {
        self.links.detach();
    }
}

/// The operations of io_uring (`IORING_OP_*`) that are about files, and what their results say.
const URING: &[(u32, Moves)] = &[
    (1, Moves::In),
    (2, Moves::Out),
    (3, Moves::Nothing),
    (4, Moves::In),
    (5, Moves::Out),
    (8, Moves::Nothing),
    (9, Moves::Out),
    (10, Moves::In),
    (13, Moves::Nothing),
    (16, Moves::Nothing),
    (17, Moves::Nothing),
    (18, Moves::Nothing),
    (19, Moves::Nothing),
    (21, Moves::Nothing),
    (22, Moves::In),
    (23, Moves::Out),
    (24, Moves::Nothing),
    (26, Moves::Out),
    (27, Moves::In),
    (28, Moves::Nothing),
    (30, Moves::In),
    (34, Moves::Nothing),
    (35, Moves::Nothing),
    (36, Moves::Nothing),
    (37, Moves::Nothing),
    (38, Moves::Nothing),
    (39, Moves::Nothing),
    (47, Moves::Out),
    (48, Moves::Out),
    (55, Moves::Nothing),
    (60, Moves::In),
    (61, Moves::Out),
];

const FILE: About = About::Descriptor(0);

/// What each call is about, and what its result says.
const ABOUT: &[(libc::c_long, About, Moves)] = &[
    (libc::SYS_read, FILE, Moves::In),
    (libc::SYS_readv, FILE, Moves::In),
    (libc::SYS_pread64, FILE, Moves::In),
    (libc::SYS_preadv, FILE, Moves::In),
    (libc::SYS_preadv2, FILE, Moves::In),
    (libc::SYS_recvfrom, FILE, Moves::In),
    (libc::SYS_recvmsg, FILE, Moves::In),
    (libc::SYS_recvmmsg, FILE, Moves::MessagesIn),
    (libc::SYS_write, FILE, Moves::Out),
    (libc::SYS_writev, FILE, Moves::Out),
    (libc::SYS_pwrite64, FILE, Moves::Out),
    (libc::SYS_pwritev, FILE, Moves::Out),
    (libc::SYS_pwritev2, FILE, Moves::Out),
    (libc::SYS_sendto, FILE, Moves::Out),
    (libc::SYS_sendmsg, FILE, Moves::Out),
    (libc::SYS_sendmmsg, FILE, Moves::MessagesOut),
    // The file that is read.
    (libc::SYS_sendfile, About::Descriptor(1), Moves::In),
    (libc::SYS_copy_file_range, FILE, Moves::In),
    (libc::SYS_splice, FILE, Moves::In),
    (libc::SYS_getdents64, FILE, Moves::Nothing),
    (libc::SYS_fsync, FILE, Moves::Nothing),
    (libc::SYS_fdatasync, FILE, Moves::Nothing),
    (libc::SYS_sync_file_range, FILE, Moves::Nothing),
    (libc::SYS_syncfs, FILE, Moves::Nothing),
    (libc::SYS_fallocate, FILE, Moves::Nothing),
    (libc::SYS_ftruncate, FILE, Moves::Nothing),
    (libc::SYS_fadvise64, FILE, Moves::Nothing),
    (libc::SYS_flock, FILE, Moves::Nothing),
    (libc::SYS_fstat, FILE, Moves::Nothing),
    (libc::SYS_connect, FILE, Moves::Nothing),
    (libc::SYS_accept, FILE, Moves::Nothing),
    (libc::SYS_accept4, FILE, Moves::Nothing),
    (libc::SYS_shutdown, FILE, Moves::Nothing),
    (libc::SYS_close, About::Closed(0), Moves::Nothing),
    (libc::SYS_openat, About::Opened(1), Moves::Nothing),
    (libc::SYS_openat2, About::Opened(1), Moves::Nothing),
    (libc::SYS_newfstatat, About::Path(1), Moves::Nothing),
    (libc::SYS_statx, About::Path(1), Moves::Nothing),
    (libc::SYS_unlinkat, About::Path(1), Moves::Nothing),
    (libc::SYS_renameat, About::Path(1), Moves::Nothing),
    (libc::SYS_renameat2, About::Path(1), Moves::Nothing),
    (libc::SYS_mkdirat, About::Path(1), Moves::Nothing),
    (libc::SYS_linkat, About::Path(1), Moves::Nothing),
    (libc::SYS_symlinkat, About::Path(0), Moves::Nothing),
    (libc::SYS_readlinkat, About::Path(1), Moves::Nothing),
    (libc::SYS_faccessat, About::Path(1), Moves::Nothing),
    (libc::SYS_faccessat2, About::Path(1), Moves::Nothing),
    (libc::SYS_fchmodat, About::Path(1), Moves::Nothing),
    (libc::SYS_fchownat, About::Path(1), Moves::Nothing),
    (libc::SYS_utimensat, About::Path(1), Moves::Nothing),
    (libc::SYS_mknodat, About::Path(1), Moves::Nothing),
    (libc::SYS_inotify_add_watch, About::Path(1), Moves::Nothing),
    (libc::SYS_fanotify_mark, FILE, Moves::Nothing),
    (libc::SYS_getxattr, About::Path(0), Moves::Nothing),
    (libc::SYS_lgetxattr, About::Path(0), Moves::Nothing),
    (libc::SYS_setxattr, About::Path(0), Moves::Nothing),
    (libc::SYS_fgetxattr, FILE, Moves::Nothing),
    (libc::SYS_chdir, About::Path(0), Moves::Nothing),
    (libc::SYS_truncate, About::Path(0), Moves::Nothing),
    (libc::SYS_statfs, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, About::Opened(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, About::Opened(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lstat, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_access, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, About::Path(0), Moves::Nothing),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utimes, About::Path(0), Moves::Nothing),
];
