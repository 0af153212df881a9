//! May this process record? The reasons why not, in the order in which a reader can do something about them.

use std::{fs, io};

use super::{
    Unsupported,
    capability::{Capabilities, Capability},
    in_first_namespace, sys,
};

/// `PROC_USER_INIT_INO` of `include/linux/proc_ns.h`.
const FIRST_USER_NAMESPACE: u32 = 0xefff_fffd;

/// Whether this process may record at all.
///
/// # Errors
/// What is missing, or what forbids it.
pub fn check(cpu: u32) -> Result<(), Unsupported> {
    let forbids = |(why, remedy): (String, String)| Err(Unsupported::new("recording", why, remedy));
    if fs::metadata("/proc/self/status").is_err() {
        return forbids(("/proc is not mounted".into(), "mount it: mount -t proc proc /proc".into()));
    }
    for look in [user_namespace, capabilities, lockdown, pid_namespace, filter] {
        if let Some(reason) = look() {
            return forbids(reason);
        }
    }
    perf_events(cpu).map_or(Ok(()), forbids)
}

/// Why something is not to be had, and the remedy.
pub type Reason = (String, String);

/// A user namespace other than the kernel's own: capabilities in it are none.
#[must_use]
pub fn user_namespace() -> Option<Reason> {
    (!in_first_namespace("user", FIRST_USER_NAMESPACE)).then(|| {
        (
            "perfprobe runs in a user namespace of its own, whose capabilities the kernel does not take for BPF".into(),
            "run it outside, as root of the host (not in a rootless container, nor under unshare --user)".into(),
        )
    })
}

fn capabilities() -> Option<Reason> {
    let own = Capabilities::of_this_process();
    let missing = own.missing(&Capability::NEEDED);
    let list: Vec<_> = missing.iter().map(|one| format!("{} ({})", one.name(), one.enables())).collect();
    // setcap(8) replaces what a file had: the remedy names all that is needed.
    let remedy = || own.remedy(&Capability::NEEDED);
    (!missing.is_empty()).then(|| (format!("this process lacks {}", list.join(" and ")), remedy()))
}

/// A lockdown that forbids what sampling needs.
#[must_use]
pub fn lockdown() -> Option<Reason> {
    (super::lockdown() == Some("confidentiality")).then(|| {
        (
            "the kernel is locked down for confidentiality, which forbids BPF programs to read memory".into(),
            "boot with lockdown=integrity or without lockdown (it may come with Secure Boot)".into(),
        )
    })
}

/// A PID namespace other than the kernel's own.
#[must_use]
pub fn pid_namespace() -> Option<Reason> {
    (!super::in_first_pid_namespace()).then(|| {
        (
            "perfprobe runs in a PID namespace of its own, where process ids are not the kernel's".into(),
            "run it on the host, or in a container that shares the host's PID namespace (docker run --pid=host; Kubernetes: \
             hostPID: true)"
                .into(),
        )
    })
}

/// Something that refuses the system calls themselves, before the kernel looks at what they are for.
#[must_use]
pub fn filter() -> Option<Reason> {
    let refused = sys::refused_calls();
    if refused.is_empty() {
        return None;
    }
    let refused = refused.join(" and ");
    Some(if Capabilities::of_this_process().filtered() {
        (
            format!("a seccomp filter, such as a container's default one, refuses {refused}"),
            "allow them: docker run --security-opt seccomp=unconfined; Kubernetes: seccompProfile: {type: Unconfined}; systemd: \
             SystemCallFilter="
                .into(),
        )
    } else {
        (
            format!("the kernel or a security module (SELinux, AppArmor) refuses {refused}"),
            "look for the refusal with `dmesg` or `ausearch -m avc`, and allow it".into(),
        )
    })
}

/// Why the kernel opens no perf event on `cpu` for all processes.
#[must_use]
pub fn perf_events(cpu: u32) -> Option<Reason> {
    // Disabled, of the kind that counts nothing.
    let attr = sys::PerfEventAttr { kind: 1, config: 9, flags: 1, ..Default::default() };
    let error = sys::perf_event_open(attr, cpu).err()?;
    let level = super::setting("kernel/perf_event_paranoid").unwrap_or(0);
    if error.kind() == io::ErrorKind::PermissionDenied && level > 2 {
        return Some((
            format!(
                "kernel.perf_event_paranoid is {level}, with which this kernel wants CAP_SYS_ADMIN for every perf event"
            ),
            "sysctl kernel.perf_event_paranoid=2, or run perfprobe with sudo".into(),
        ));
    }
    let remedy = "use a kernel with CONFIG_PERF_EVENTS=y, and look whether `dmesg` tells why it refuses";
    Some((format!("the kernel opens no perf event on CPU {cpu} ({error})"), remedy.into()))
}
