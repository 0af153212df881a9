//! The run queue in the JSON report.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How long threads waited for a CPU.
#[derive(Debug, Deserialize)]
pub struct RunQueue {
    /// By CPU.
    pub cpus: Vec<Queue>,
    /// By thread.
    pub threads: Vec<Queue>,
    /// Who ran meanwhile.
    pub takers: Vec<Taker>,
    /// What there was no room for, by name.
    pub counters: BTreeMap<String, u64>,
}

/// How long one waited for a CPU, or was waited for.
#[derive(Debug, Deserialize)]
pub struct Queue {
    /// The CPU or the thread.
    pub id: u32,
    /// How often.
    pub count: u64,
    /// In all.
    pub total_ns: u64,
    /// The middle.
    pub p50_ns: u64,
    /// Of 100 the longest but one.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Who ran while another waited.
#[derive(Debug, Deserialize)]
pub struct Taker {
    /// The one that waited.
    pub tid: u32,
    /// The one that ran.
    pub taker_tid: u32,
    /// Its name.
    pub taker_comm: String,
    /// For how long.
    pub taken_ns: u64,
}
