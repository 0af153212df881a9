//! A mutex of `parking_lot`: `parking SECONDS`. Four threads want it, have it for two milliseconds each, and log, as
//! `tests/workloads/work.h` does, how often and how long they waited.

#![allow(
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a workload ends by panicking, and has nobody to tell but the log"
)]

use std::{
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

static CACHE: Mutex<u64> = Mutex::new(0);
static WAITS: AtomicU64 = AtomicU64::new(0);
static WAITED_NS: AtomicU64 = AtomicU64::new(0);

fn note(line: &str) {
    let Ok(path) = std::env::var("WORKLOAD_LOG") else { return eprintln!("{line}") };
    let mut log = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("the log");
    writeln!(log, "{line}").expect("the log");
}

#[inline(never)]
fn want_the_cache() {
    let before = Instant::now();
    let mut held = CACHE.lock();
    let waited = before.elapsed();
    if waited > Duration::from_micros(100) {
        WAITS.fetch_add(1, Relaxed);
        WAITED_NS.fetch_add(waited.as_nanos() as u64, Relaxed);
    }
    *held += 1;
    thread::sleep(Duration::from_millis(2));
}

fn main() {
    let seconds: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    note(&format!("ready {}", std::process::id()));
    let end = Instant::now() + Duration::from_secs(seconds);
    let want = move || {
        while Instant::now() < end {
            want_the_cache();
            // So that another comes first.
            thread::sleep(Duration::from_micros(200));
        }
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(want)).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("nobody panics"));
    note(&format!("waits {}", WAITS.load(Relaxed)));
    note(&format!("waited_ns {}", WAITED_NS.load(Relaxed)));
}
