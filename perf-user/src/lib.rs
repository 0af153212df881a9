//! The user half of perfprobe: from kernel maps to names, recordings, pictures and reports.
//!
//! Data flows one way, and a module may use only modules above it (`cargo xtask lint` checks that):
//!
//! ```text
//! host -> collect -> drain -> python -> task -> unwind -> symbolize -> profile -> store -> record -> report -> output -> cli
//! ```

#![deny(unsafe_code)]

pub mod host;
pub mod collect;
pub mod drain;
pub mod python;
pub mod task;
pub mod unwind;
pub mod symbolize;
pub mod profile;
pub mod store;
pub mod record;
pub mod report;
pub mod output;
pub mod cli;
