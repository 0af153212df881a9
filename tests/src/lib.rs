//! The harness: builds workloads with known answers, records them with the `perfprobe` binary, and judges its reports.
//!
//! A test opens a [`Lab`] (which waits for its turn and asks for root), starts a [`Workload`], records it with a
//! [`Recorder`] and asserts on the [`Recording`]. That everything taken is either reported or lost for a named cause is
//! asserted for every recording, in one place: [`Finished::recording`].
//!
//! ```text
//! Lab -> Program (compiled once) -> Workload (running) -> Recorder -> Session -> Finished -> Recording
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod account;
mod block;
mod bpf_objects;
mod calls;
mod cgroup;
mod doctor;
mod file_calls;
mod finished;
mod folded;
mod lab;
mod launcher;
mod locks;
mod loop_device;
mod machine;
mod memory;
mod memory_limit;
mod meter;
mod pprof;
mod program;
mod python;
mod recorder;
mod recording;
mod report;
mod run_queue;
mod session;
mod slow_disk;
mod small_disk;
mod workload;

pub use account::Account;
pub use block::{Block, BlockKind, FileRequests, Lengths, Request};
pub use bpf_objects::{assert_bpf_programs_freed, bpf_programs_of, followed_processes};
pub use calls::{Call, CallKind, Calls};
pub use cgroup::Cgroup;
pub use doctor::{CapabilityRow, Check, Doctor};
pub use file_calls::{Answers, Connects, FileCall, FileCalls, PageFaults, Peer};
pub use finished::Finished;
pub use folded::{Folded, Line};
pub use lab::Lab;
pub use launcher::Launcher;
pub use locks::{Deadlock, Deadlocked, KernelLock, KernelLocks, KernelPlace, Lock, LockHolder, LockWaiter};
pub use loop_device::LoopDevice;
pub use machine::{MovedClock, OfflineCpu, Setting, in_guest, may_be_changed};
pub use memory::{Memory, MemoryKind, MemoryLimited, MemoryPlace, ProcessMemory};
pub use memory_limit::MemoryLimit;
pub use meter::{CpuMeter, Used};
pub use pprof::sum_of_first_values;
pub use program::Program;
pub use python::Python;
pub use recorder::Recorder;
pub use recording::Recording;
pub use report::{Accounting, Cpu, Function, Limit, OffCpu, Report, ThreadRow, ThreadTimes, Wait, Wake};
pub use run_queue::{Queue, RunQueue};
pub use session::{Session, perfprobe, perfprobe_into_closed_pipe};
pub use slow_disk::SlowDisk;
pub use small_disk::SmallDisk;
pub use workload::Workload;
