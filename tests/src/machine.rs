//! Changing the machine under a test, and changing it back.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Lab;

/// A kernel setting (`kernel/kptr_restrict`) with another value until this is dropped.
#[derive(Debug)]
pub struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// Sets it. `None`, with the reason printed and counted, on a machine that somebody may need as it is, and where the
    /// kernel has no such value.
    ///
    /// # Panics
    /// If the setting can't be read.
    #[must_use]
    pub fn change(name: &str, value: &str) -> Option<Self> {
        let path = Path::new("/proc/sys").join(name);
        let before = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {name}: {error}"));
        let setting = Self { path, before: before.trim().to_owned() };
        if setting.before == value {
            return Some(setting);
        }
        if !may_be_changed() {
            Lab::skip(&format!("{name} = {value} is tried in guests only (cargo xtask test --vm)"));
            return None;
        }
        setting.write(name, value)
    }

    /// Like [`Setting::change`] where the value is above `limit`; the setting as it is where it is not.
    #[must_use]
    pub fn at_most(name: &str, limit: i64) -> Option<Self> {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        let value: i64 = value.trim().parse().ok()?;
        Self::change(name, &value.min(limit).to_string())
    }

    fn write(self, name: &str, value: &str) -> Option<Self> {
        if std::fs::write(&self.path, value).is_err() {
            println!("this kernel has no {name} = {value}");
            return None;
        }
        Some(self)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.path, &self.before);
    }
}

/// Whether nobody will use the machine after the tests: a guest of `cargo xtask vm`, or a machine of continuous integration.
#[must_use]
pub fn may_be_changed() -> bool {
    in_guest() || std::env::var_os("CI").is_some()
}

/// Whether this is a guest of `cargo xtask vm`.
/// Whether this is one of the emulated machines that `cargo xtask test --vm` starts.
#[must_use]
pub fn in_guest() -> bool {
    Path::new("/run/vm/settings").exists()
}

/// The clock that people read, moved in a guest, and put right when this is dropped.
#[derive(Debug)]
pub struct MovedClock(i64);

impl MovedClock {
    /// Moves it by so many seconds. `None`, with the reason printed and counted, outside of guests: others read that clock.
    ///
    /// # Panics
    /// If it can't be moved.
    #[must_use]
    pub fn by(seconds: i64) -> Option<Self> {
        if !in_guest() {
            Lab::leave_out("the clock is moved in guests only (cargo xtask test --vm)");
            return None;
        }
        move_clock(seconds);
        Some(Self(seconds))
    }
}

impl Drop for MovedClock {
    fn drop(&mut self) {
        move_clock(-self.0);
    }
}

fn move_clock(seconds: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    let status = Command::new("date").args(["-s", &format!("@{}", now + seconds)]).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "the clock can't be moved");
}

/// CPU 1, taken offline until the value is dropped.
#[derive(Debug)]
pub struct OfflineCpu;

impl OfflineCpu {
    const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

    /// Takes it offline. `None`, with the reason printed and counted, where that can't be done.
    #[must_use]
    pub fn take() -> Option<Self> {
        if std::fs::write(Self::SWITCH, "0").is_err() {
            Lab::skip("CPU 1 can't be taken offline");
            return None;
        }
        Some(Self)
    }
}

impl Drop for OfflineCpu {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::SWITCH, "1");
    }
}
