//! `perfprobe doctor`: what this kernel, these privileges and this machine allow, and the remedy for what they do not.

use std::{fmt, fs, process::ExitCode};

use serde::Serialize;

use super::{Failure, write::print};
use crate::{
    collect::{
        cpu::{Clock, max_frequency},
        session,
    },
    host::{
        self, Host, Unsupported,
        capability::{Capabilities, Capability},
        cgroup, sys,
    },
};

/// Tell what this machine allows, and the remedy for what is missing
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For programs
    #[arg(long)]
    json: bool,
}

/// How much perfprobe minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It is there.
    Ok,
    /// It is not, and recordings work without it.
    Limited,
    /// It is not, and nothing can be recorded.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), remedy: None }
    }

    fn lacks(name: &'static str, state: State, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

#[derive(Debug, Serialize)]
struct Findings {
    schema: &'static str,
    host: String,
    kernel: String,
    cpus: usize,
    can_record: bool,
    checks: Vec<Check>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let host = Host::read();
    let checks = vec![
        privileges(),
        pid_namespace(),
        lockdown(),
        programs(),
        btf(),
        clock(&host),
        frequency(),
        statistics(),
        memlock(),
        membarrier(),
        process_files(),
        kernel_symbols(),
        cgroups(),
    ];
    let can_record = checks.iter().all(|check| check.state != State::Missing);
    let findings = Findings {
        schema: "perfprobe.doctor/1",
        host: host.name,
        kernel: host.kernel,
        cpus: host.cpus.len(),
        can_record,
        checks,
    };
    let text = if args.json { serde_json::to_string_pretty(&findings)? + "\n" } else { findings.to_string() };
    print(text.as_bytes())?;
    Ok(if can_record { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}, Linux {}, {} CPUs\n", self.host, self.kernel, self.cpus)?;
        for check in &self.checks {
            let mark = match check.state {
                State::Ok => "ok     ",
                State::Limited => "limited",
                State::Missing => "MISSING",
            };
            writeln!(out, "{mark}  {:<20} {}", check.name, check.detail)?;
            if let Some(remedy) = &check.remedy {
                writeln!(out, "{:>30}remedy: {remedy}", "")?;
            }
        }
        let verdict = if self.can_record { "perfprobe can record here." } else { "perfprobe cannot record here." };
        writeln!(out, "\n{verdict}")
    }
}

fn privileges() -> Check {
    const NAME: &str = "privileges";
    let capabilities = Capabilities::effective();
    let needed = [Capability::Bpf, Capability::Perfmon];
    let useful = [Capability::SysPtrace, Capability::DacReadSearch, Capability::Syslog, Capability::SysAdmin];
    let names = |missing: Vec<Capability>| missing.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    let missing = capabilities.missing(&needed);
    if !missing.is_empty() {
        return Check::lacks(
            NAME,
            State::Missing,
            format!("this process lacks {}", names(missing)),
            "run perfprobe with sudo",
        );
    }
    let missing = capabilities.missing(&useful);
    if missing.is_empty() {
        return Check::ok(NAME, "all that perfprobe can use");
    }
    let detail = format!(
        "without {}: other users' files and mappings, kernel symbols or its own cost may be hidden",
        names(missing)
    );
    Check::lacks(NAME, State::Limited, detail, "run perfprobe with sudo")
}

fn pid_namespace() -> Check {
    if host::in_first_pid_namespace() {
        return Check::ok("PID namespace", "the kernel's own");
    }
    let detail = "process ids here are not the kernel's";
    Check::lacks(
        "PID namespace",
        State::Missing,
        detail,
        "run on the host, or share its PID namespace (--pid=host, hostPID)",
    )
}

fn lockdown() -> Check {
    const NAME: &str = "lockdown";
    match host::lockdown() {
        Some("confidentiality") => {
            let remedy = "boot with lockdown=integrity or none (it may come with Secure Boot)";
            Check::lacks(NAME, State::Missing, "confidentiality: BPF may not read memory", remedy)
        }
        Some(mode) => Check::ok(NAME, format!("{mode}: sampling is allowed")),
        None => Check::ok(NAME, "the kernel tells of none"),
    }
}

fn programs() -> Check {
    const NAME: &str = "BPF programs";
    match session::try_load() {
        Ok(instructions) => Check::ok(NAME, format!("the verifier takes them ({instructions} instructions verified)")),
        Err(error) => {
            let detail = format!("{:#}", anyhow::Error::from(error));
            let remedy =
                "run perfprobe with sudo on Linux 5.10 or newer, where neither lockdown nor seccomp forbids bpf(2)";
            Check::lacks(NAME, State::Missing, detail, remedy)
        }
    }
}

fn btf() -> Check {
    match host::task_offsets() {
        Ok(_) => Check::ok("BTF", "the kernel describes its types"),
        Err(Unsupported { why, remedy, .. }) => {
            Check::lacks("BTF", State::Limited, format!("children cannot be followed: {why}"), remedy)
        }
    }
}

fn clock(host: &Host) -> Check {
    match Clock::best(host.cpus.first().copied().unwrap_or(0)) {
        Clock::Cycles => Check::ok("sampling clock", "the CPU's cycle counter"),
        Clock::CpuClock => {
            let detail = "the kernel's timer: the CPU's counters, or its frequency, are not to be had, so time with interrupts off shows where they are \
                switched on again";
            Check::lacks(
                "sampling clock",
                State::Limited,
                detail,
                "none on a virtual machine that hides the counters (vPMU)",
            )
        }
    }
}

fn frequency() -> Check {
    const NAME: &str = "highest frequency";
    match max_frequency() {
        Some(limit) => Check::ok(NAME, format!("{limit} Hz")),
        None => Check::ok(NAME, "not limited"),
    }
}

fn statistics() -> Check {
    match sys::enable_bpf_stats() {
        Ok(_) => Check::ok("own cost", "the kernel counts the time of BPF programs"),
        Err(error) => {
            let detail = format!("the kernel does not count it: {error}");
            Check::lacks(
                "own cost",
                State::Limited,
                detail,
                "needs CAP_SYS_ADMIN and Linux 5.8: run perfprobe with sudo",
            )
        }
    }
}

fn memlock() -> Check {
    match sys::raise_memlock() {
        Ok(()) => Check::ok("locked memory", "unlimited"),
        Err(_) => Check::ok("locked memory", "the limit cannot be raised, which only kernels before 5.11 mind"),
    }
}

fn membarrier() -> Check {
    match sys::wait_for_running_programs() {
        Ok(()) => Check::ok("membarrier", "windows are rotated exactly"),
        Err(error) => {
            let detail = format!("windows are rotated by waiting 20 ms instead ({error})");
            Check::lacks("membarrier", State::Limited, detail, "none needed")
        }
    }
}

fn process_files() -> Check {
    const NAME: &str = "process files";
    let own = fs::read_dir("/proc/self/map_files").into_iter().flatten().flatten();
    if own.into_iter().any(|link| fs::metadata(link.path()).is_ok()) {
        return Check::ok(NAME, "mapped files open, deleted ones too");
    }
    let detail = "mapped files open by their paths only: libraries deleted while in use cannot be named";
    Check::lacks(NAME, State::Limited, detail, "needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE: run perfprobe with sudo")
}

fn kernel_symbols() -> Check {
    const NAME: &str = "kernel symbols";
    let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let shown = text.lines().take(1000).any(|line| !line.starts_with("0000000000000000"));
    if shown {
        return Check::ok(NAME, "readable");
    }
    Check::lacks(
        NAME,
        State::Limited,
        "hidden: kernel frames stay addresses",
        "sysctl kernel.kptr_restrict=1, and run perfprobe with sudo",
    )
}

fn cgroups() -> Check {
    match cgroup::mount_point() {
        Some(path) => Check::ok("cgroup v2", path.display().to_string()),
        None => {
            let remedy = "mount -t cgroup2 none /sys/fs/cgroup/unified";
            Check::lacks("cgroup v2", State::Limited, "not mounted: --cgroup has nothing to choose from", remedy)
        }
    }
}
