//! Kinds of events: what each needs of the kernel, how it is set up, attached and read back.

pub mod cpu;
pub mod object;
pub mod session;
pub mod target;

use std::io;

use aya::{Ebpf, EbpfError, EbpfLoader, maps::MapError, programs::ProgramError};
use perf_ebpf::comm::Comm;

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
    /// How much, in the unit of the kind.
    pub value: u64,
    /// `CLOCK_MONOTONIC` time of the first event counted in it.
    pub first_ns: u64,
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
    /// A program was refused; the verifier's log is in the source.
    #[error("the kernel refused the BPF program {program}")]
    Program {
        /// Which.
        program: &'static str,
        /// What the kernel said.
        source: ProgramError,
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
    /// Loads its programs.
    ///
    /// # Errors
    /// What the kernel lacks, or refused.
    fn load(&mut self, bpf: &mut Ebpf, host: &Host, unwind: session::Unwind) -> Result<(), AttachError>;
    /// Attaches its programs; they stay attached until [`Collector::detach`].
    ///
    /// # Errors
    /// What the kernel refused.
    fn attach(&mut self, bpf: &mut Ebpf, host: &Host) -> Result<(), AttachError>;
    /// Attaches to CPUs that came online since; those it now covers for the first time.
    ///
    /// # Errors
    /// What the kernel refused.
    fn follow_cpus(&mut self, bpf: &mut Ebpf, online: &[u32]) -> Result<Vec<u32>, AttachError>;
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
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 1] = [Self::Cpu];

    /// Its name on the command line and in recordings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
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
