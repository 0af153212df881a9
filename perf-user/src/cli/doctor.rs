//! `perfprobe doctor`: what this kernel, these privileges and this machine allow, and the remedy for what they do not.

mod privileges;

use std::{fmt, process::ExitCode};

use serde::Serialize;

use super::{Failure, write::print};
use crate::{
    collect::{
        cpu::{Clock, max_frequency},
        faults::are_told,
        kernel_locks,
        memory::tells_huge_pages,
        object::{ProgramTrial, Trial, try_load},
        session,
    },
    host::{self, Host, Unsupported, block::block_offsets, cgroup, sys},
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
    /// It is not, and something else does nearly as well: the detail says what.
    Fallback,
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
    capabilities: Vec<privileges::Row>,
    /// What loading the programs took, where the kernel takes them.
    programs: Vec<ProgramTrial>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let host = Host::read();
    let loaded = privileges::are_enough().then(try_load);
    let mut checks = privileges::checks(&host, loaded.as_ref());
    checks.extend([
        btf(),
        scheduler(),
        calls(&host),
        block(&host),
        files(),
        uring(),
        faults(&host),
        kernel_locks(&host),
        memory(&host),
        unwind_tables(&host),
        python_frames(&host),
        clock(&host),
        frequency(),
        statistics(),
    ]);
    checks.extend([membarrier(), cgroups()]);
    let trial = loaded.and_then(Result::ok);
    checks.extend(trial.iter().flat_map(|trial| [batches(trial.has_batches), verifier(trial)]));
    let can_record = checks.iter().all(|check| check.state != State::Missing);
    let findings = Findings {
        schema: "perfprobe.doctor/1",
        host: host.name,
        kernel: host.kernel,
        cpus: host.cpus.len(),
        can_record,
        checks,
        capabilities: privileges::capabilities(),
        programs: trial.map(|trial| trial.programs).unwrap_or_default(),
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
                State::Ok => "ok      ",
                State::Fallback => "fallback",
                State::Limited => "limited ",
                State::Missing => "MISSING ",
            };
            writeln!(out, "{mark}  {:<20} {}", check.name, check.detail)?;
            if let Some(remedy) = &check.remedy {
                writeln!(out, "{:>31}remedy: {remedy}", "")?;
            }
        }
        privileges::write(&self.capabilities, out)?;
        let verdict = if self.can_record { "perfprobe can record here." } else { "perfprobe cannot record here." };
        writeln!(out, "\n{verdict}")
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

fn scheduler() -> Check {
    const NAME: &str = "scheduler events";
    match host::task_offsets() {
        Ok(_) => Check::ok(NAME, "where threads wait, and what they do at any time, can be recorded (-e offcpu,sched)"),
        Err(Unsupported { why, remedy, .. }) => {
            Check::lacks(NAME, State::Limited, format!("where threads wait cannot be recorded: {why}"), remedy)
        }
    }
}

fn calls(host: &Host) -> Check {
    const NAME: &str = "system call events";
    match session::try_calls(host) {
        Ok(()) => Check::ok(NAME, "what programs ask of the kernel can be recorded (-e syscalls)"),
        Err(error) => {
            let detail = format!("what programs ask of the kernel cannot be recorded: {error}");
            Check::lacks(NAME, State::Limited, detail, "a kernel with CONFIG_FTRACE_SYSCALLS, and what recording needs")
        }
    }
}

fn block(host: &Host) -> Check {
    const NAME: &str = "block device events";
    match session::try_block(host) {
        Ok(()) if block_offsets().is_ok_and(|offsets| offsets.tells_start) => {
            Check::ok(NAME, "what programs ask of disks can be recorded (-e io)")
        }
        Ok(()) => Check::lacks(
            NAME,
            State::Fallback,
            "requests to disks can be recorded (-e io) from when they are queued; flushes are not attributed",
            "Linux 6.5 or newer, which tells who asks for them",
        ),
        Err(error) => {
            let detail = format!("what programs ask of disks cannot be recorded: {error}");
            Check::lacks(NAME, State::Limited, detail, "a kernel with CONFIG_BLOCK and BTF, and what recording needs")
        }
    }
}

fn files() -> Check {
    const NAME: &str = "files and sockets";
    match block_offsets() {
        Ok(offsets) if !offsets.files.is_empty() && !offsets.calls.is_empty() => {
            Check::ok(NAME, "what programs do to files and peers can be recorded (-e files)")
        }
        Ok(_) => {
            let detail = "calls cannot be told by their files: the kernel's BTF does not describe how it keeps them";
            Check::lacks(NAME, State::Limited, detail, "a kernel whose BTF does; -e syscalls,io records without them")
        }
        Err(Unsupported { why, remedy, .. }) => {
            Check::lacks(NAME, State::Limited, format!("calls cannot be told by their files: {why}"), remedy)
        }
    }
}

fn uring() -> Check {
    const NAME: &str = "io_uring events";
    match block_offsets() {
        Ok(offsets) if !offsets.uring.is_empty() => {
            Check::ok(NAME, "operations of io_uring are told with files (-e files)")
        }
        _ => {
            let detail = "operations of io_uring are not told: the kernel does not say which of them are complete";
            Check::lacks(NAME, State::Limited, detail, "Linux 5.19 or newer with BTF and CONFIG_IO_URING")
        }
    }
}

fn faults(host: &Host) -> Check {
    const NAME: &str = "page faults";
    if !are_told() {
        let detail = "page faults are not told: the kernel does not say when they begin";
        return Check::lacks(NAME, State::Limited, detail, "Linux with BTF on x86-64");
    }
    if host.is_before(5, 17) {
        let detail = "page faults can be recorded (-e faults), but not what is mapped there";
        return Check::lacks(NAME, State::Limited, detail, "Linux 5.17 or newer (bpf_find_vma)");
    }
    Check::ok(NAME, "page faults can be recorded, by stack and file (-e faults)")
}

fn kernel_locks(host: &Host) -> Check {
    const NAME: &str = "kernel locks";
    if kernel_locks::are_told(host) {
        return Check::ok(NAME, "waits for locks of the kernel can be recorded, by lock and stack (-e kernel-locks)");
    }
    let detail = "waits for locks of the kernel are not told; those for locks of programs are";
    Check::lacks(NAME, State::Limited, detail, "Linux 6.15 or newer with BTF")
}

fn memory(host: &Host) -> Check {
    const NAME: &str = "memory";
    if host.is_before(5, 17) || !cfg!(target_arch = "x86_64") {
        let detail = "who touches memory first can be recorded, but not what kind of memory it is";
        return Check::lacks(NAME, State::Limited, detail, "Linux 5.17 or newer on x86-64 (bpf_find_vma)");
    }
    if !tells_huge_pages() {
        let detail = "who touches memory first can be recorded; huge pages count as small ones: the kernel does not tell where memory lies";
        return Check::lacks(NAME, State::Limited, detail, "run perfprobe with sudo, or give it CAP_SYS_ADMIN");
    }
    Check::ok(NAME, "who touches memory first can be recorded, and what kind of memory it is")
}

fn unwind_tables(host: &Host) -> Check {
    const NAME: &str = "unwind tables";
    match session::try_walk(host) {
        Ok(()) => Check::ok(NAME, "stacks can be walked without frame pointers"),
        Err(error) => {
            let detail = format!("stacks are walked by frame pointers only: {error}");
            Check::lacks(NAME, State::Limited, detail, "Linux 5.17 or newer on x86-64, and what recording needs")
        }
    }
}

fn python_frames(host: &Host) -> Check {
    const NAME: &str = "Python frames";
    match session::try_python(host) {
        Ok(()) => Check::ok(NAME, "the frames of CPython 3.11 to 3.13 can be read"),
        Err(error) => {
            let detail = format!("Python programs show the functions of the interpreter only: {error}");
            Check::lacks(NAME, State::Limited, detail, "Linux 5.17 or newer on x86-64, and what recording needs")
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
                State::Fallback,
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
            Check::lacks("own cost", State::Limited, detail, "run perfprobe with sudo, or give it CAP_SYS_ADMIN")
        }
    }
}

fn membarrier() -> Check {
    match sys::wait_for_running_programs() {
        Ok(()) => Check::ok("membarrier", "windows are rotated exactly"),
        Err(error) => {
            let detail = format!("windows are rotated by waiting 20 ms instead ({error})");
            Check::lacks("membarrier", State::Fallback, detail, "none needed")
        }
    }
}

fn cgroups() -> Check {
    match cgroup::mount_point() {
        Some(path) => Check::ok("cgroup v2", path.display().to_string()),
        None => Check::lacks(
            "cgroup v2",
            State::Limited,
            "not mounted: --cgroup has nothing to choose from",
            cgroup::mount_command(),
        ),
    }
}

fn batches(has_batches: bool) -> Check {
    const NAME: &str = "batched reads";
    if has_batches {
        return Check::ok(NAME, "windows are read thousands of entries at a time");
    }
    Check::lacks(NAME, State::Fallback, "windows are read entry by entry", "none needed; Linux 5.6 or newer has them")
}

fn verifier(trial: &Trial) -> Check {
    const NAME: &str = "verifier's work";
    if trial.programs.iter().all(|program| program.verified_instructions.is_some()) {
        return Check::ok(NAME, "the kernel counts the instructions it verifies");
    }
    Check::lacks(
        NAME,
        State::Limited,
        "the kernel does not count what it verifies",
        "none needed; Linux 5.16 or newer does",
    )
}
