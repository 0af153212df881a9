//! The capabilities of this process (capabilities(7)), and what each lets perfprobe do.

use std::fs;

/// A capability that perfprobe can use: its bit in the kernel's masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "`enables` says it")]
pub enum Capability {
    DacReadSearch = 2,
    IpcLock = 14,
    SysPtrace = 19,
    SysAdmin = 21,
    SysResource = 24,
    Syslog = 34,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

impl Capability {
    /// Without these nothing is recorded.
    pub const NEEDED: [Self; 2] = [Self::Bpf, Self::Perfmon];

    /// All, those that are needed first, the others by how much a recording gains from them.
    pub const ALL: [Self; 9] = [
        Self::Bpf,
        Self::Perfmon,
        Self::SysPtrace,
        Self::Syslog,
        Self::DacReadSearch,
        Self::CheckpointRestore,
        Self::SysAdmin,
        Self::IpcLock,
        Self::SysResource,
    ];

    /// Its name, as the kernel and systemd spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::IpcLock => "CAP_IPC_LOCK",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
            Self::CheckpointRestore => "CAP_CHECKPOINT_RESTORE",
        }
    }

    /// What perfprobe can do with it, each found by trying.
    #[must_use]
    pub fn enables(self) -> &'static str {
        match self {
            Self::Bpf => "loading the BPF programs and their maps",
            Self::Perfmon => "sampling every process and the kernel",
            Self::SysPtrace => {
                "names in other users' processes: their mappings (newer kernels show them without), their files in namespaces"
            }
            Self::Syslog => "names of kernel functions",
            Self::DacReadSearch => "names from programs and libraries that this user may not read",
            Self::CheckpointRestore => "names from libraries that were deleted or replaced while in use",
            Self::SysAdmin => {
                "timing the BPF programs; and, on Debian's kernels, any sampling where kernel.perf_event_paranoid is 3"
            }
            Self::IpcLock => "buffers for task events beyond kernel.perf_event_mlock_kb",
            Self::SysResource => "maps beyond the limit of locked memory, before Linux 5.11",
        }
    }
}

/// Names in a row: `CAP_BPF and CAP_PERFMON`.
#[must_use]
pub fn names(capabilities: &[Capability]) -> String {
    capabilities.iter().map(|capability| capability.name()).collect::<Vec<_>>().join(" and ")
}

/// What `/proc/self/status` says of this process's privileges.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capabilities {
    effective: u64,
    bounding: u64,
    no_new_privileges: bool,
    filtered: bool,
}

impl Capabilities {
    /// Reads them; none when `/proc` cannot be read.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let field = |name| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()));
        let mask = |name| field(name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        Self {
            effective: mask("CapEff:"),
            bounding: mask("CapBnd:"),
            no_new_privileges: field("NoNewPrivs:") == Some("1"),
            filtered: field("Seccomp:").is_some_and(|mode| mode != "0"),
        }
    }

    /// Whether this process has `capability`, or the one that stands for it.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        let bit = |capability: Capability| self.effective & (1 << (capability as u8)) != 0;
        let covered = matches!(capability, Capability::Bpf | Capability::Perfmon | Capability::CheckpointRestore);
        bit(capability) || (covered && bit(Capability::SysAdmin))
    }

    /// Those of `wanted` that are missing.
    #[must_use]
    pub fn missing(self, wanted: &[Capability]) -> Vec<Capability> {
        wanted.iter().copied().filter(|capability| !self.has(*capability)).collect()
    }

    /// Whether a seccomp filter looks at this process's system calls.
    #[must_use]
    pub fn filtered(self) -> bool {
        self.filtered
    }

    /// How this process could get `wanted`.
    #[must_use]
    pub fn remedy(self, wanted: &[Capability]) -> String {
        let list = |separator: &str, form: fn(&str) -> String| {
            wanted.iter().map(|one| form(one.name())).collect::<Vec<_>>().join(separator)
        };
        if wanted.iter().any(|capability| self.bounding & (1 << (*capability as u8)) == 0) {
            let short = |name: &str| name.trim_start_matches("CAP_").to_owned();
            return format!(
                "give them to the container or unit it runs in: docker run {}; Kubernetes: capabilities.add: [{}]; systemd: \
                 CapabilityBoundingSet=",
                list(" ", |name| format!("--cap-add={}", name.trim_start_matches("CAP_"))),
                list(", ", short),
            );
        }
        if self.no_new_privileges {
            return format!(
                "start it with them, for it may not gain any (no_new_privs): systemd: AmbientCapabilities={}; Kubernetes: \
                 allowPrivilegeEscalation: true",
                list(" ", str::to_owned)
            );
        }
        let program = std::env::current_exe().map_or_else(
            |_| "perfprobe".into(),
            |path| path.to_string_lossy().trim_end_matches(" (deleted)").to_owned(),
        );
        format!("run perfprobe with sudo, or once: sudo setcap {}+ep {program}", list(",", str::to_lowercase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_the_newer_ones_only() {
        let admin = Capabilities { effective: 1 << 21, ..Capabilities::default() };
        assert!(admin.has(Capability::Bpf) && admin.has(Capability::Perfmon));
        let missing = [Capability::Syslog, Capability::SysPtrace];
        assert_eq!(admin.missing(&[Capability::Bpf, Capability::Syslog, Capability::SysPtrace]), missing);
        assert!(!Capabilities { effective: 1 << 39, ..admin }.has(Capability::SysAdmin));
    }

    #[test]
    fn the_remedy_is_one_that_helps() {
        let everything = "CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n";
        let free = Capabilities::parse(everything);
        let remedy = free.remedy(&Capability::NEEDED);
        assert!(remedy.contains("sudo setcap cap_bpf,cap_perfmon+ep /") && !free.filtered(), "{remedy}");
        let bound = Capabilities::parse(&everything.replace("1ffffffffff", "000a80425fb"));
        let remedy = bound.remedy(&Capability::NEEDED);
        assert!(remedy.contains("docker run --cap-add=BPF --cap-add=PERFMON;"), "{remedy}");
        let confined = Capabilities::parse(
            &everything.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1").replace("Seccomp:\t0", "Seccomp:\t2"),
        );
        let remedy = confined.remedy(&Capability::NEEDED);
        assert!(remedy.contains("AmbientCapabilities=CAP_BPF CAP_PERFMON;") && confined.filtered(), "{remedy}");
    }
}
