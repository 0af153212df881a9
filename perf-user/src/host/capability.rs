//! The capabilities of this process (capabilities(7)).

use std::fs;

/// A capability that perfprobe can use: its bit in the kernel's masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Reading files whatever their permissions.
    DacReadSearch = 2,
    /// Reading another user's `/proc/PID/maps` and files.
    SysPtrace = 19,
    /// Everything; needed for BPF's own run-time statistics, and instead of the newer two.
    SysAdmin = 21,
    /// Seeing kernel addresses.
    Syslog = 34,
    /// Sampling other processes and the kernel.
    Perfmon = 38,
    /// Loading BPF programs.
    Bpf = 39,
}

impl Capability {
    /// Its name, as capsh and systemd spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// The effective capabilities of this process.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Reads them; none when `/proc` cannot be read.
    #[must_use]
    pub fn effective() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        Self(mask.unwrap_or(0))
    }

    /// Whether this process has `capability`, or the one that stands for it.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        let bit = |capability: Capability| self.0 & (1 << (capability as u8)) != 0;
        let covered = matches!(capability, Capability::Bpf | Capability::Perfmon | Capability::Syslog);
        bit(capability) || (covered && bit(Capability::SysAdmin))
    }

    /// Those of `wanted` that are missing.
    #[must_use]
    pub fn missing(self, wanted: &[Capability]) -> Vec<Capability> {
        wanted.iter().copied().filter(|capability| !self.has(*capability)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_the_newer_ones_only() {
        let admin = Capabilities(1 << 21);
        assert!(admin.has(Capability::Bpf) && admin.has(Capability::Perfmon));
        assert_eq!(admin.missing(&[Capability::Bpf, Capability::SysPtrace]), [Capability::SysPtrace]);
        assert!(!Capabilities(1 << 39).has(Capability::SysAdmin));
    }
}
