//! How much CPU time a process used between two moments, by the kernel's own account: what samples are held against.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `USER_HZ`, the unit of `/proc/PID/stat`, which is 100 on every architecture that Linux shares with perfprobe.
const TICK_NS: u64 = 10_000_000;

/// Between readings, where the meter has a CPU when it wants one.
const PAUSE: Duration = Duration::from_millis(20);

/// One reading: when, the CPU time used until then, and how long it took, in which it can have been at any time: of a process of 20,000
/// threads milliseconds. All in nanoseconds.
type Reading = (u64, u64, u64);

/// CPU time used between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// How much.
    pub ns: u64,
    /// By how much that can be wrong: the account has ticks, and on a busy machine readings do not come in time.
    pub doubt_ns: u64,
}

/// Reads a process' CPU time every 20 ms while it lives.
#[derive(Debug)]
pub struct CpuMeter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Reading>>>,
}

impl CpuMeter {
    /// Begins to read the CPU time of process `pid`.
    #[must_use]
    pub fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut readings = Vec::new();
            // A meter that waits for a CPU for as long as those that it measures tells little of them. Of this thread alone.
            let _ = rustix::process::nice(-10);
            while !told.load(Ordering::Relaxed) {
                let before_ns = unix_now_ns();
                let Some(used_ns) = cpu_time_ns(pid) else { break };
                let took_ns = unix_now_ns().saturating_sub(before_ns);
                readings.push((before_ns + took_ns / 2, used_ns, took_ns));
                std::thread::sleep(PAUSE);
            }
            readings
        });
        Self { stop, thread: Some(thread) }
    }

    /// The CPU time used between two wall-clock moments.
    ///
    /// # Panics
    /// If the process could not be read.
    #[must_use]
    pub fn used_between(mut self, start_unix_ns: u64, end_unix_ns: u64) -> Used {
        self.stop.store(true, Ordering::Relaxed);
        let readings = self.thread.take().expect("a meter is read once").join().expect("the meter's thread");
        assert!(readings.len() > 1, "the process ended before its CPU time could be read");
        let (start, end) = (until(&readings, start_unix_ns), until(&readings, end_unix_ns));
        Used { ns: end.ns - start.ns, doubt_ns: start.doubt_ns + end.doubt_ns }
    }
}

/// The CPU time used until a moment: interpolated. Between two readings it can have come at any time, and does: a recorder that
/// begins or ends has much to do itself.
fn until(readings: &[Reading], at_ns: u64) -> Used {
    let after = readings.partition_point(|(when, ..)| *when < at_ns);
    let (Some(late), Some(early)) = (readings.get(after), after.checked_sub(1).and_then(|index| readings.get(index)))
    else {
        let ns = readings.get(after).or(readings.last()).map_or(0, |(_, used, _)| *used);
        return Used { ns, doubt_ns: 0 };
    };
    let passed = (at_ns - early.0) as f64 / (late.0 - early.0).max(1) as f64;
    let between_ns = late.1 - early.1;
    let late_ns = between_ns.saturating_sub(PAUSE.as_nanos() as u64);
    Used { ns: early.1 + (between_ns as f64 * passed) as u64, doubt_ns: late_ns + TICK_NS + early.2.max(late.2) }
}

/// User and system time of all threads of `pid`, the ended ones too.
fn cpu_time_ns(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; what follows the last one does not. utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((user + system) * TICK_NS)
}

fn unix_now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    now.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::{Used, until};

    #[test]
    fn cpu_time_between_readings_is_interpolated() {
        let ms = 1_000_000;
        let readings =
            [(100, 1000), (200, 1100), (300, 1150), (500, 1250)].map(|(when, used)| (when * ms, used * ms, 0));
        let until = |at: u64| until(&readings, at * ms);
        assert_eq!(until(150), Used { ns: 1050 * ms, doubt_ns: 90 * ms });
        assert_eq!(until(250), Used { ns: 1125 * ms, doubt_ns: 40 * ms });
        assert_eq!(until(50), Used { ns: 1000 * ms, doubt_ns: 0 });
        assert_eq!(until(900), Used { ns: 1250 * ms, doubt_ns: 0 });
    }
}
