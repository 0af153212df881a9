//! Locks of Rust's standard library: `stdlocks SECONDS`. Four threads want one mutex and have it for two milliseconds each, two wait for
//! signs in a condition variable, one is parked. Logs, as `tests/workloads/work.h` does, how often and how long threads waited for the mutex.

use std::{
    io::Write as _,
    sync::{
        Condvar, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

static CACHE: Mutex<u64> = Mutex::new(0);
static BOOK: RwLock<u64> = RwLock::new(0);
static WORK: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());
static OVER: AtomicBool = AtomicBool::new(false);
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
    let mut held = CACHE.lock().expect("nobody panics");
    let waited = before.elapsed();
    if waited > Duration::from_micros(100) {
        WAITS.fetch_add(1, Relaxed);
        WAITED_NS.fetch_add(waited.as_nanos() as u64, Relaxed);
    }
    *held += 1;
    thread::sleep(Duration::from_millis(2));
}

#[inline(never)]
fn await_work() {
    let (lock, sign) = &WORK;
    let held = lock.lock().expect("nobody panics");
    drop(sign.wait_timeout(held, Duration::from_millis(500)));
}

#[inline(never)]
fn write_the_book() {
    *BOOK.write().expect("nobody panics") += 1;
    thread::sleep(Duration::from_millis(1));
}

fn main() {
    let seconds: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    note(&format!("ready {}", std::process::id()));
    let going = || !OVER.load(Relaxed);
    let mut threads = Vec::new();
    for _ in 0..4 {
        threads.push(thread::spawn(move || {
            while going() {
                want_the_cache();
                thread::sleep(Duration::from_micros(200));
            }
        }));
    }
    for _ in 0..2 {
        threads.push(thread::spawn(move || {
            while going() {
                await_work();
            }
        }));
    }
    threads.push(thread::spawn(move || {
        while going() {
            let _held = BOOK.read().expect("nobody panics");
            thread::sleep(Duration::from_millis(20));
        }
    }));
    threads.push(thread::spawn(move || {
        while going() {
            write_the_book();
        }
    }));
    let parked = thread::spawn(move || {
        while going() {
            thread::park();
        }
    });
    thread::sleep(Duration::from_secs(seconds));
    OVER.store(true, Relaxed);
    parked.thread().unpark();
    threads.into_iter().chain([parked]).for_each(|thread| thread.join().expect("nobody panics"));
    note(&format!("waits {}", WAITS.load(Relaxed)));
    note(&format!("waited_ns {}", WAITED_NS.load(Relaxed)));
}
