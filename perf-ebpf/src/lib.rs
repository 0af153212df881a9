//! The records that both halves of perfprobe share, and the arithmetic on them.
//!
//! On the host this is a plain library without features; `aya-ebpf` is a dependency for the `bpf` target alone, so the
//! same source gets ordinary unit tests.
#![no_std]

pub mod before;
pub mod block;
pub mod calls;
pub mod comm;
pub mod counters;
pub mod cpu;
pub mod file_calls;
pub mod histogram;
pub mod kernel_lock;
pub mod lock;
pub mod memory;
pub mod python;
pub mod run_queue;
pub mod sample;
pub mod sched;
pub mod stack;
pub mod target;
pub mod timeline;
pub mod unwind;
pub mod walk;
