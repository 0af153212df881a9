//! What this process may do: each privilege, what it enables, and what stands in the way.

use std::{fmt, fs, os::unix::fs::MetadataExt as _};

use serde::Serialize;

use super::{Check, State};
use crate::{
    collect::{AttachError, object::Trial},
    host::{
        self, Host,
        capability::{Capabilities, Capability, names},
        privileges::{self, Reason},
        proc, sys,
    },
};

/// One capability.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    name: &'static str,
    has: bool,
    needed: bool,
    enables: &'static str,
}

pub(super) fn capabilities() -> Vec<Row> {
    let own = Capabilities::of_this_process();
    let row = |capability: Capability| Row {
        name: capability.name(),
        has: own.has(capability),
        needed: Capability::NEEDED.contains(&capability),
        enables: capability.enables(),
    };
    Capability::ALL.map(row).to_vec()
}

pub(super) fn write(rows: &[Row], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(out, "\nCapabilities of this process, and what each is for:")?;
    for row in rows {
        let mark = match row {
            Row { has: true, .. } => "has    ",
            Row { needed: true, .. } => "LACKS  ",
            _ => "lacks  ",
        };
        writeln!(out, "{mark}  {:<24} {}", row.name, row.enables)?;
    }
    Ok(())
}

/// Whether the needed capabilities are there; without them, other checks would only repeat that they are missing.
pub(super) fn are_enough() -> bool {
    Capabilities::of_this_process().missing(&Capability::NEEDED).is_empty()
}

/// Looks at all of them. `loaded` is what came of loading the programs, where that was tried.
pub(super) fn checks(host: &Host, loaded: Option<&Result<Trial, AttachError>>) -> Vec<Check> {
    let missing = |name, reason: Option<Reason>, ok: &str| match reason {
        Some((detail, remedy)) => Check::lacks(name, State::Missing, detail, remedy),
        None => Check::ok(name, ok),
    };
    let own = Capabilities::of_this_process();
    let mut checks = vec![
        missing("user namespace", privileges::user_namespace(), "the kernel's own"),
        needed(own),
        missing("PID namespace", privileges::pid_namespace(), "the kernel's own"),
        missing("lockdown", privileges::lockdown(), host::lockdown().unwrap_or("the kernel tells of none")),
    ];
    if let Some(loaded) = loaded {
        let filter = if own.filtered() { "a seccomp filter is there, and lets them pass" } else { "not filtered" };
        checks.push(missing("system calls", privileges::filter(), filter));
        let cpu = host.cpus.first().copied().unwrap_or(0);
        let level = host::setting("kernel/perf_event_paranoid");
        let level = level.map_or_else(String::new, |level| format!(" (kernel.perf_event_paranoid is {level})"));
        checks.push(missing("perf events", privileges::perf_events(cpu), &format!("the kernel opens them{level}")));
        checks.push(programs(loaded));
    }
    checks.extend([memlock(host), other_processes(own), process_files(own), kernel_symbols()]);
    checks
}

fn needed(own: Capabilities) -> Check {
    const NAME: &str = "privileges";
    let missing = own.missing(&Capability::NEEDED);
    if !missing.is_empty() {
        let detail = format!("this process lacks {}", names(&missing));
        return Check::lacks(NAME, State::Missing, detail, own.remedy(&Capability::NEEDED));
    }
    Check::ok(NAME, format!("{} are there", names(&Capability::NEEDED)))
}

fn programs(loaded: &Result<Trial, AttachError>) -> Check {
    const NAME: &str = "BPF programs";
    match loaded {
        Ok(trial) => {
            let verified: Option<u32> = trial.programs.iter().map(|program| program.verified_instructions).sum();
            let verified = verified.map_or_else(String::new, |count| format!(" ({count} instructions verified)"));
            Check::ok(NAME, format!("the verifier takes them{verified}"))
        }
        Err(error) => {
            let mut detail = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(error) = source {
                detail.push_str(&format!(": {error}"));
                source = error.source();
            }
            Check::lacks(NAME, State::Missing, detail, "use Linux 5.10 or newer, and see what else is missing here")
        }
    }
}

fn memlock(host: &Host) -> Check {
    const NAME: &str = "locked memory";
    let raised = sys::raise_memlock();
    match (raised, sys::memlock_bytes()) {
        (Ok(()), _) | (_, None) if host.is_before(5, 11) => {
            let detail = "this kernel takes the BPF maps from it, and the limit could be lifted";
            Check::lacks(NAME, State::Fallback, detail, "none needed; Linux 5.11 and later count them as other memory")
        }
        (Ok(()), _) | (_, None) => Check::ok(NAME, "unlimited"),
        (Err(_), Some(_)) if !host.is_before(5, 11) => Check::ok(NAME, "limited, which only kernels before 5.11 mind"),
        (Err(_), Some(limit)) => {
            let detail = format!("{} KiB, from which this kernel takes the BPF maps too", limit >> 10);
            Check::lacks(
                NAME,
                State::Limited,
                detail,
                "ulimit -l unlimited as root; systemd: LimitMEMLOCK=infinity; or CAP_SYS_RESOURCE",
            )
        }
    }
}

fn other_processes(own: Capabilities) -> Check {
    const NAME: &str = "other processes";
    if own.has(Capability::SysPtrace) {
        return Check::ok(NAME, "every user's can be looked into");
    }
    let detail = if shows_mappings_of_others() {
        "other users' programs are named where their files can be read here, by their paths"
    } else {
        "other users' processes have no names until they execute a program: their mappings are hidden"
    };
    Check::lacks(NAME, State::Limited, detail, with(own, Capability::SysPtrace))
}

/// Whether the mappings of some other user's process can be read, as with `CAP_PERFMON` on newer kernels (6.18, not 6.12).
fn shows_mappings_of_others() -> bool {
    let owner = |tgid| fs::metadata(format!("/proc/{tgid}")).map(|metadata| metadata.uid()).ok();
    let own = owner(std::process::id());
    let mut others = proc::all_processes().filter(|tgid| owner(*tgid) != own);
    others.any(|tgid| fs::read(format!("/proc/{tgid}/maps")).is_ok_and(|maps| !maps.is_empty()))
}

fn process_files(own: Capabilities) -> Check {
    const NAME: &str = "process files";
    let mapped = fs::read_dir("/proc/self/map_files").into_iter().flatten().flatten();
    if mapped.into_iter().any(|link| fs::metadata(link.path()).is_ok()) {
        return Check::ok(NAME, "mapped files open, deleted ones too");
    }
    let detail = "mapped files open by their paths only: libraries deleted while in use cannot be named";
    Check::lacks(NAME, State::Fallback, detail, with(own, Capability::CheckpointRestore))
}

fn kernel_symbols() -> Check {
    const NAME: &str = "kernel symbols";
    match host::kernel_symbols_hidden() {
        None => Check::ok(NAME, "readable"),
        Some((why, remedy)) => {
            Check::lacks(NAME, State::Limited, format!("kernel frames stay addresses: {why}"), remedy)
        }
    }
}

fn with(own: Capabilities, capability: Capability) -> String {
    let [bpf, perfmon] = Capability::NEEDED;
    own.remedy(&[bpf, perfmon, capability])
}
