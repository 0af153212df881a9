//! How much CPU time a process used between two moments, by the kernel's own account: what samples are held against.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `USER_HZ`, the unit of `/proc/PID/stat`, which is 100 on every architecture that Linux shares with perfprobe.
const TICK_NS: u64 = 10_000_000;

/// One reading: when, and the CPU time used until then, both in nanoseconds.
type Reading = (u64, u64);

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
            while !told.load(Ordering::Relaxed) {
                let Some(used_ns) = cpu_time_ns(pid) else { break };
                readings.push((unix_now_ns(), used_ns));
                std::thread::sleep(Duration::from_millis(20));
            }
            readings
        });
        Self { stop, thread: Some(thread) }
    }

    /// The CPU time used between two wall-clock moments, in nanoseconds.
    ///
    /// # Panics
    /// If the process could not be read.
    #[must_use]
    pub fn used_between(mut self, start_unix_ns: u64, end_unix_ns: u64) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let readings = self.thread.take().expect("a meter is read once").join().expect("the meter's thread");
        assert!(readings.len() > 1, "the process ended before its CPU time could be read");
        interpolate(&readings, end_unix_ns) - interpolate(&readings, start_unix_ns)
    }
}

fn interpolate(readings: &[Reading], at_ns: u64) -> u64 {
    let after = readings.partition_point(|(when, _)| *when < at_ns);
    let (Some(late), Some(early)) = (readings.get(after), after.checked_sub(1).and_then(|index| readings.get(index)))
    else {
        return readings.get(after).or(readings.last()).map_or(0, |(_, used)| *used);
    };
    let passed = (at_ns - early.0) as f64 / (late.0 - early.0).max(1) as f64;
    early.1 + ((late.1 - early.1) as f64 * passed) as u64
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
    use super::interpolate;

    #[test]
    fn cpu_time_between_readings_is_interpolated() {
        let readings = [(100, 1000), (200, 1100), (300, 1150)];
        assert_eq!(interpolate(&readings, 150), 1050);
        assert_eq!(interpolate(&readings, 250), 1125);
        assert_eq!(interpolate(&readings, 50), 1000);
        assert_eq!(interpolate(&readings, 900), 1150);
    }
}
