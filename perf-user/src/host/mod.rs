//! What this machine offers, read once: kernel, CPUs, privileges, clocks, offsets of kernel structures.

pub mod accept_queues;
pub mod block;
pub mod btf;
pub mod capability;
pub mod cgroup;
pub mod files;
pub mod found_call;
pub mod kernel_variables;
pub mod known_page;
pub mod memory;
pub mod memory_limits;
pub mod memory_use;
pub mod mounts;
pub mod perf_ring;
pub mod privileges;
pub mod proc;
pub mod status;
#[expect(unsafe_code, reason = "the one place for system calls that libc gives no safe form of")]
pub mod sys;
pub mod throttle;

use std::{fs, io::Read as _, sync::OnceLock};

use capability::{Capabilities, Capability};

/// Something this machine does not offer, and what its user can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}; {remedy}")]
pub struct Unsupported {
    /// What was wanted.
    pub what: String,
    /// Why it is not to be had.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl Unsupported {
    /// From its three parts.
    pub fn new(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), remedy: remedy.into() }
    }
}

/// Offsets in `struct task_struct` of the running kernel, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOffsets {
    /// `pid`: the thread's id.
    pub pid: u32,
    /// `tgid`: the process's id.
    pub tgid: u32,
    /// `self_exec_id`: how many programs were executed.
    pub exec_count: u32,
    /// `__state`, or `state` before 5.14: whether it runs or waits.
    pub state: u32,
    /// `stack`: the lowest address of its kernel stack; `None` where it is told otherwise.
    pub stack: Option<u32>,
    /// `mm`: its memory, which an ending process gives back.
    pub mm: Option<u32>,
    /// `thread.fsbase`: on x86-64 the base of the thread's segment FS.
    pub fs_base: Option<u32>,
    /// `se.sum_exec_runtime`: for how long it has run.
    pub exec: Option<u32>,
    /// What says that a system call is made by the rules of 32-bit programs: where, and the bits there.
    pub other_abi: Option<(u32, u32)>,
}

/// The machine, as it was when the recording began.
#[derive(Clone, Debug)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// Online CPUs.
    pub cpus: Vec<u32>,
}

impl Host {
    /// Reads it; what cannot be read is empty.
    #[must_use]
    pub fn read() -> Self {
        let line = |path| fs::read_to_string(path).map(|text: String| text.trim().to_owned()).unwrap_or_default();
        Self {
            name: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpus: online_cpus(),
        }
    }

    /// Whether the kernel is older than this release, by what it calls itself.
    #[must_use]
    pub fn is_before(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.kernel.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
        let release = (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0));
        release < (major, minor)
    }
}

/// The CPUs that are online now.
#[must_use]
pub fn online_cpus() -> Vec<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let cpus = parse_cpu_list(text.trim());
    if cpus.is_empty() {
        (0..std::thread::available_parallelism().map_or(1, usize::from) as u32).collect()
    } else {
        cpus
    }
}

/// Parses the kernel's list form: `0-3,8,10-11`.
fn parse_cpu_list(text: &str) -> Vec<u32> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        })
        .flatten()
        .collect()
}

/// Offsets from the running kernel's BTF, of which there are some megabytes: they are read once.
///
/// # Errors
/// When the kernel has no BTF, or its `task_struct` lacks a member.
pub fn task_offsets() -> Result<TaskOffsets, Unsupported> {
    static KNOWN: OnceLock<Result<TaskOffsets, Unsupported>> = OnceLock::new();
    KNOWN.get_or_init(read_task_offsets).clone()
}

fn read_task_offsets() -> Result<TaskOffsets, Unsupported> {
    let missing = |why: String| {
        Unsupported::new(
            "following processes",
            why,
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, or record with --all, --cgroup or --no-inherit, which need no BTF",
        )
    };
    let data = fs::read(btf::VMLINUX)
        .map_err(|error| missing(format!("the kernel's BTF at {} cannot be read ({error})", btf::VMLINUX)))?;
    let btf = btf::Btf::parse(&data).map_err(|error| missing(error.to_string()))?;
    let offset = |member| {
        btf.member_offset("task_struct", member)
            .ok_or_else(|| missing(format!("the kernel's BTF does not describe task_struct.{member}")))
    };
    // On x86-64 only.
    let fs_base = btf.member_offset("thread_struct", "fsbase");
    let fs_base = fs_base.zip(btf.member_offset("task_struct", "thread")).map(|(inner, outer)| inner + outer);
    // TS_COMPAT, and TIF_32BIT.
    let (member, bits) = if cfg!(target_arch = "x86_64") { ("status", 2) } else { ("flags", 1 << 22) };
    let other_abi = btf.member_offset("thread_info", member).zip(btf.member_offset("task_struct", "thread_info"));
    Ok(TaskOffsets {
        pid: offset("pid")?,
        tgid: offset("tgid")?,
        exec_count: offset("self_exec_id")?,
        state: offset("__state").or_else(|_| offset("state"))?,
        stack: offset("stack").ok(),
        mm: btf.member_offset("task_struct", "mm"),
        fs_base,
        exec: btf
            .member_offset("task_struct", "se")
            .zip(btf.member_offset("sched_entity", "sum_exec_runtime"))
            .map(|(outer, inner)| outer + inner),
        other_abi: other_abi.map(|(inner, outer)| (inner + outer, bits)),
    })
}

/// The lockdown mode of the kernel: `none`, `integrity` or `confidentiality`; `None` when it does not tell.
#[must_use]
pub fn lockdown() -> Option<&'static str> {
    const MODES: [&str; 3] = ["none", "integrity", "confidentiality"];
    let told = |path, form: fn(&str) -> String| {
        let text = fs::read_to_string(path).ok()?;
        MODES.into_iter().find(|mode| text.split_whitespace().any(|word| word == form(mode)))
    };
    // Without securityfs mounted, the kernel's parameters are all there is to look at.
    told("/sys/kernel/security/lockdown", |mode| format!("[{mode}]"))
        .or_else(|| told("/proc/cmdline", |mode| format!("lockdown={mode}")))
}

/// A number under `/proc/sys`; `None` when the kernel does not tell.
#[must_use]
pub fn setting(name: &str) -> Option<i64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

/// Why the kernel does not show this process the addresses of its functions; `None` when it does.
#[must_use]
pub fn kernel_symbols_hidden() -> Option<(String, String)> {
    // The first symbols can be at 0 for another reason: they are counted from the start of a CPU's own data.
    let mut first = String::new();
    let read = fs::File::open("/proc/kallsyms").and_then(|file| file.take(4096).read_to_string(&mut first));
    if read.is_ok() && first.lines().any(|line| !line.starts_with("0000000000000000") && line.len() > 16) {
        return None;
    }
    if setting("kernel/kptr_restrict") == Some(2) {
        let remedy = "sysctl kernel.kptr_restrict=1, and run perfprobe with sudo or CAP_SYSLOG";
        return Some(("kernel.kptr_restrict is 2, which hides them from everybody".into(), remedy.into()));
    }
    let own = Capabilities::of_this_process();
    if own.has(Capability::Syslog) {
        return Some(("the kernel does not show them (CONFIG_KALLSYMS)".into(), "none".into()));
    }
    let [bpf, perfmon] = Capability::NEEDED;
    Some(("they are hidden without CAP_SYSLOG".into(), own.remedy(&[bpf, perfmon, Capability::Syslog])))
}

/// Whether process ids here are those of the kernel.
#[must_use]
pub fn in_first_pid_namespace() -> bool {
    const PROC_PID_INIT_INO: u32 = 0xefff_fffc;
    in_first_namespace("pid", PROC_PID_INIT_INO)
}

/// Whether this process is in the kernel's own namespace of a kind, which has a fixed inode number
/// (`include/linux/proc_ns.h`).
fn in_first_namespace(kind: &str, inode: u32) -> bool {
    let first = format!("{kind}:[{inode}]");
    fs::read_link(format!("/proc/self/ns/{kind}")).map_or(true, |link| link.to_str() == Some(&first))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let host = |kernel: &str| Host { name: String::new(), kernel: kernel.into(), cpus: Vec::new() };
        assert!(host("5.10.0-46-cloud-amd64").is_before(5, 11) && host("4.18.0").is_before(5, 11));
        assert!(!host("5.11-rc1").is_before(5, 11) && !host("6.1.0").is_before(5, 11) && !host("").is_before(5, 11));
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_cpu_list("0"), [0]);
        assert!(parse_cpu_list("").is_empty());
    }
}
