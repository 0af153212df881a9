//! Kinds of events: what each needs of the kernel, how it is set up, attached and read back.

pub(crate) mod before;
pub mod block;
pub mod calls;
pub mod cpu;
pub mod faults;
pub mod file_calls;
pub mod kernel_locks;
mod links;
pub mod locks;
mod maps;
pub mod memory;
pub mod object;
pub mod sched;
pub mod session;
pub mod target;

pub use maps::entries_for_tests;

use std::io;

use aya::{Ebpf, EbpfError, EbpfLoader, maps::MapError, programs::ProgramError};
use perf_ebpf::{block::FileKey, comm::Comm, sample::Key};

use crate::host::{Host, Unsupported};

/// What a value of an event kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueType {
    /// What is counted.
    pub name: &'static str,
    /// In which unit.
    pub unit: &'static str,
}

/// One aggregated record of the kernel half: addresses still, no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name at that time.
    pub comm: Comm,
    /// Id of the user stack, 0 for none.
    pub user_stack: u64,
    /// Id of the kernel stack, 0 for none.
    pub kernel_stack: u64,
    /// Id of the Python frames of the user stack, 0 for none.
    pub python_stack: u64,
    /// What the thread did there, if it did not just run.
    pub did: Option<Did>,
    /// The file or socket that it did that to.
    pub file: Option<FileKey>,
    /// The lock at which it did that: an index into the window's locks.
    pub lock: Option<u32>,
    /// Who ended that: an index into the window's wakers.
    pub waker: Option<u32>,
    /// What the waker did meanwhile, in this part of the time.
    pub waker_did: Option<Did>,
    /// How much, in the unit of the kind.
    pub value: u64,
    /// `CLOCK_MONOTONIC` time of the first event counted in it.
    pub first_ns: u64,
}

impl RawSample {
    /// Of what was counted under `key`.
    #[must_use]
    pub fn of(key: &Key, did: Option<Did>, value: u64, first_ns: u64) -> Self {
        Self {
            tgid: key.tgid,
            tid: key.tid,
            comm: key.comm,
            user_stack: key.user_stack,
            kernel_stack: key.kernel_stack,
            python_stack: key.python_stack,
            did,
            file: None,
            lock: None,
            waker: None,
            waker_did: None,
            value,
            first_ns,
        }
    }
}

/// The unit of times.
pub const NANOSECONDS: &str = "nanoseconds";
/// The unit of sizes.
pub const BYTES: &str = "bytes";

/// What a thread does, as far as the scheduler is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Did {
    /// It ran.
    Ran,
    /// It waited for a CPU.
    WaitedForCpu,
    /// It was blocked, for whatever reason.
    Blocked,
    /// It was blocked for this reason: [`perf_ebpf::sched::why`].
    Waited(u32),
    /// It was in the system call of this number.
    Called(u32),
    /// It waited for a lock of the kernel, in this way: bits of [`perf_ebpf::kernel_lock`].
    AwaitedLock(u32),
    /// It touched memory of this kind for the first time: of [`perf_ebpf::memory`].
    Touched(u32),
    /// It asked a device for this: an [`perf_ebpf::block::Operation`], and the disk as [`perf_ebpf::block::OpenRequest::device`].
    Asked(u32, u32),
}

/// Why the kernel half could not be set to work.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The machine does not offer it.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The object was refused as a whole.
    #[error("the kernel refused perfprobe's BPF object")]
    Object(#[from] EbpfError),
    /// A program was refused.
    #[error("the kernel refused the BPF program {program}: {verdict}")]
    Program {
        /// Which.
        program: &'static str,
        /// What the kernel said, in a line.
        verdict: String,
    },
    /// A map could not be used.
    #[error("the BPF map {map} cannot be used")]
    Map {
        /// Which.
        map: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A map could not be written through memory.
    #[error("the BPF map {map} cannot be mapped")]
    Shared {
        /// Which.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Where threads wait already could not be asked.
    #[error("the kernel does not tell where threads wait already")]
    Before(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that makes unwind tables could not be started.
    #[error("no pipe to the thread that makes unwind tables")]
    Loader(#[source] io::Error),
    /// The object lacks a part: object and user half do not belong together.
    #[error("perfprobe's BPF object has no {0}; rebuild it with `cargo xtask ebpf`")]
    Missing(&'static str),
    /// A perf event could not be opened.
    #[error("sampling CPU {cpu} failed")]
    PerfEvent {
        /// On which CPU.
        cpu: u32,
        /// What the kernel said.
        source: ProgramError,
    },
    /// The kernel's task history could not be read.
    #[error("listening to the tasks of CPU {cpu} failed")]
    TaskEvents {
        /// On which CPU.
        cpu: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl AttachError {
    /// What a refusal of this program is.
    pub fn program(program: &'static str) -> impl Fn(ProgramError) -> Self + Copy {
        move |error| Self::Program { program, verdict: verdict(&error) }
    }
}

/// What the kernel said of a program, in a line.
fn verdict(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => last_word(io_error, &verifier_log.to_string()),
        _ => error.to_string(),
    }
}

/// The verifier's log ends with its verdict, and with figures of its work.
fn last_word(error: &io::Error, log: &str) -> String {
    let figures = ["processed ", "verification time ", "stack depth "];
    let lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.rev().find(|line| !figures.iter().any(|figure| line.starts_with(figure)));
    last.map_or_else(|| error.to_string(), |line| format!("{error}; the verifier says: {line}"))
}

/// A kind of event.
pub trait Collector {
    /// On the command line, in recordings, in test names.
    fn name(&self) -> &'static str;
    /// What is measured.
    fn value(&self) -> ValueType;
    /// What it needs of the machine.
    ///
    /// # Errors
    /// What is missing, and the remedy.
    fn check(&self, host: &Host) -> Result<(), Unsupported>;
    /// Sets globals and map sizes, before the object is loaded.
    fn configure<'loader>(&'loader self, loader: &mut EbpfLoader<'loader>);
    /// Loads its programs; `python` says that they read Python frames too.
    ///
    /// # Errors
    /// What the kernel lacks, or refused.
    fn load(&mut self, bpf: &mut Ebpf, host: &Host, unwind: session::Unwind, python: bool) -> Result<(), AttachError>;
    /// Attaches its programs; they stay attached until [`Collector::detach`].
    ///
    /// # Errors
    /// What the kernel refused.
    fn attach(&mut self, bpf: &mut Ebpf, host: &Host) -> Result<(), AttachError>;
    /// Attaches to all CPUs that are online, except those that `stayed` so since; which it attached to.
    ///
    /// # Errors
    /// What the kernel refused.
    fn follow_cpus(&mut self, bpf: &mut Ebpf, stayed: &[u32], online: &[u32]) -> Result<Vec<u32>, AttachError>;
    /// Detaches its programs; they stay loaded, and can be asked what they cost.
    fn detach(&mut self);
    /// Decodes one entry of its counts map; `None` is counted as a loss, never fatal.
    fn decode(&self, key: &[u8], value: &[u8]) -> Option<RawSample>;
}

/// Every kind there is, by its name on the command line. A new kind is a new variant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// Where CPU time goes.
    Cpu,
    /// Where and why threads wait.
    OffCpu,
    /// What threads do: run, wait for a CPU, or wait for something else.
    Sched,
    /// Who ends waits, and where.
    OffWake,
    /// System calls: how many, how long, and from where.
    Syscalls,
    /// Requests to block devices: how many, how long, and from where.
    Io,
    /// The same requests, by their bytes.
    IoBytes,
    /// System calls on files and sockets: how many, how long and how much, of which of them.
    Files,
    /// Page faults: how many, how long, on what, and from where.
    Faults,
    /// Waits for locks: for which, and where.
    Locks,
    /// Who had them meanwhile, where, and for how long others waited for that.
    Holders,
    /// Waits for the kernel's own locks.
    KernelLocks,
    /// Memory that is touched for the first time, and how much processes have.
    Memory,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Cpu,
        Self::OffCpu,
        Self::Sched,
        Self::OffWake,
        Self::Syscalls,
        Self::Io,
        Self::IoBytes,
        Self::Files,
        Self::Faults,
        Self::Locks,
        Self::Holders,
        Self::KernelLocks,
        Self::Memory,
    ];

    /// Its name on the command line and in recordings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OffCpu => "offcpu",
            Self::Sched => "sched",
            Self::OffWake => "offwake",
            Self::Syscalls => "syscalls",
            Self::Io => "io",
            Self::IoBytes => "io-bytes",
            Self::Files => "files",
            Self::Faults => "faults",
            Self::Locks => "locks",
            Self::Holders => "holders",
            Self::KernelLocks => "kernel-locks",
            Self::Memory => "memory",
        }
    }
}

impl std::str::FromStr for EventKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no event kind `{name}`; known: {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_line_with_the_verdict_of_the_verifier() {
        let log = "0: R1=ctx()\n839: (73) *(u8 *)(r5 +0) = r2\nR5 unbounded memory access\n\
            verification time 5730 usec\nstack depth 320\nprocessed 267 insns (limit 1000000)\n\n";
        let refused = io::Error::from_raw_os_error(libc::EACCES);
        let told = last_word(&refused, log);
        assert!(told.starts_with("Permission denied") && !told.contains('\n'), "{told}");
        assert!(told.ends_with("; the verifier says: R5 unbounded memory access"), "{told}");
        assert_eq!(last_word(&refused, ""), refused.to_string());
    }
}
