//! The arguments of a system call as people write them: `read(3</etc/passwd>, 4096)`.

use std::net::{Ipv4Addr, Ipv6Addr};

use perf_ebpf::calls::SlowCall;

use super::call_label;
use crate::{
    collect::target::comm_text,
    task::{File, LocatedCall},
};

/// The call with its arguments. Pointers to memory whose contents are not kept are left out.
#[must_use]
pub fn arguments(located: &LocatedCall) -> String {
    let call = &located.call;
    let name = call_label(call.call);
    let file = || described(call.arguments[0] as i32, located.file.as_ref());
    let [a, b, c, d, e, _, _, _] = call.arguments;
    let told: Vec<String> = match name.as_str() {
        "read" | "write" | "readv" | "writev" | "getdents64" => vec![file(), c.to_string()],
        "pread64" | "pwrite64" => vec![file(), c.to_string(), format!("at {}", d as i64)],
        "preadv" | "preadv2" | "pwritev" | "pwritev2" => vec![file(), c.to_string(), format!("at {}", d as i64)],
        "fsync" | "fdatasync" | "syncfs" | "fstat" | "listen" | "accept" | "accept4" | "shutdown" | "close" => {
            vec![file()]
        }
        "ftruncate" | "flock" => vec![file(), (b as i64).to_string()],
        "lseek" => vec![file(), (b as i64).to_string(), c.to_string()],
        "ioctl" | "fcntl" => vec![file(), format!("{b:#x}")],
        "connect" | "bind" => vec![file(), address(call)],
        "sendto" => vec![file(), c.to_string()].into_iter().chain((e != 0).then(|| address(call))).collect(),
        "recvfrom" | "sendmsg" | "recvmsg" | "sendmmsg" | "recvmmsg" => match name.as_str() {
            "recvfrom" => vec![file(), c.to_string()],
            _ => vec![file()],
        },
        "sendfile" => vec![file(), (b as i32).to_string(), d.to_string()],
        "open" => vec![path(call), open_flags(b)],
        "openat" => vec![directory(a), path(call), open_flags(c)].into_iter().flatten_empty(),
        "openat2" | "newfstatat" | "statx" | "unlinkat" | "mkdirat" | "readlinkat" | "faccessat" | "faccessat2" => {
            vec![directory(a), path(call)].into_iter().flatten_empty()
        }
        "stat" | "lstat" | "access" | "unlink" | "mkdir" | "rmdir" | "readlink" | "statfs" | "truncate" => {
            vec![path(call)]
        }
        "poll" => vec![polled(located), count(b, "descriptors"), milliseconds(c)].into_iter().flatten_empty(),
        "ppoll" => vec![polled(located), count(b, "descriptors")].into_iter().flatten_empty(),
        "epoll_wait" | "epoll_pwait" => vec![file(), milliseconds(d)],
        "epoll_pwait2" | "epoll_ctl" => vec![file()],
        "futex" => vec![format!("{a:#x}"), futex_operation(b), (c as u32).to_string()]
            .into_iter()
            .chain((d != 0 && WAITING.contains(&(b & FUTEX_COMMAND))).then(|| time(call)))
            .collect(),
        "nanosleep" => vec![time(call)],
        "clock_nanosleep" => vec![if b & 1 == 0 { time(call) } else { format!("until {}", time(call)) }],
        "wait4" | "waitid" | "kill" | "tgkill" => vec![(a as i32).to_string()],
        // When it returns, its arguments are gone with the program that made it.
        "execve" | "execveat" if call.result == 0 && call.comm[0] != 0 => {
            vec![format!("to become {}", comm_text(&call.comm))]
        }
        _ => [a, b, c].iter().map(|argument| format!("{argument:#x}")).collect(),
    };
    format!("{name}({})", told.join(", "))
}

/// Leaves out what there is nothing to say of.
trait FlattenEmpty {
    fn flatten_empty(self) -> Vec<String>;
}

impl<T: Iterator<Item = String>> FlattenEmpty for T {
    fn flatten_empty(self) -> Vec<String> {
        self.filter(|text| !text.is_empty()).collect()
    }
}

/// A descriptor and what it means: as strace has it, and `maybe` where it may have meant something else.
fn described(descriptor: i32, file: Option<&File>) -> String {
    match file {
        None => descriptor.to_string(),
        Some(File { name, may_have_changed: false }) => format!("{descriptor}<{name}>"),
        Some(File { name, may_have_changed: true }) => format!("{descriptor}<maybe {name}>"),
    }
}

fn text(call: &SlowCall) -> &[u8] {
    call.text.get(..call.text_bytes as usize).unwrap_or_default()
}

fn path(call: &SlowCall) -> String {
    let told = text(call);
    let path = told.split(|byte| *byte == 0).next().unwrap_or_default();
    // What is as long as there is room for goes on.
    let rest = if told.len() >= call.text.len() { "…" } else { "" };
    if told.is_empty() { "?".into() } else { format!("{}{rest}", String::from_utf8_lossy(path)) }
}

fn directory(descriptor: u64) -> String {
    let descriptor = descriptor as i32;
    if descriptor == libc::AT_FDCWD { String::new() } else { format!("in {descriptor}") }
}

fn open_flags(flags: u64) -> String {
    const NAMES: [(i32, &str); 7] = [
        (libc::O_CREAT, "O_CREAT"),
        (libc::O_EXCL, "O_EXCL"),
        (libc::O_TRUNC, "O_TRUNC"),
        (libc::O_APPEND, "O_APPEND"),
        (libc::O_NONBLOCK, "O_NONBLOCK"),
        (libc::O_DIRECT, "O_DIRECT"),
        (libc::O_DIRECTORY, "O_DIRECTORY"),
    ];
    let flags = flags as i32;
    let access = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => "O_RDONLY",
        libc::O_WRONLY => "O_WRONLY",
        _ => "O_RDWR",
    };
    let others = NAMES.iter().filter(|(bit, _)| flags & bit == *bit).map(|(_, name)| *name);
    std::iter::once(access).chain(others).collect::<Vec<_>>().join("|")
}

/// A `struct timespec`.
fn time(call: &SlowCall) -> String {
    let word =
        |at: usize| text(call).get(at..at + 8).and_then(|bytes| Some(i64::from_ne_bytes(bytes.try_into().ok()?)));
    match (word(0), word(8)) {
        (Some(seconds), Some(nanoseconds)) => format!("{:.6} s", seconds as f64 + nanoseconds as f64 / 1e9),
        _ => "?".into(),
    }
}

fn milliseconds(timeout: u64) -> String {
    match timeout as i32 {
        ..0 => "no timeout".into(),
        timeout => format!("{timeout} ms"),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}")
}

/// The first of the descriptors that are waited for.
fn polled(located: &LocatedCall) -> String {
    let descriptor = text(&located.call).get(..4).and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    let descriptor = descriptor.filter(|_| located.call.arguments[1] > 0);
    descriptor.map_or_else(String::new, |descriptor| described(descriptor, located.file.as_ref()))
}

const FUTEX_COMMAND: u64 = 0x7f;
/// `FUTEX_WAIT`, `FUTEX_LOCK_PI`, `FUTEX_WAIT_BITSET`, which have a time at which they give up.
const WAITING: [u64; 3] = [0, 6, 9];

fn futex_operation(operation: u64) -> String {
    const NAMES: [&str; 14] = [
        "WAIT",
        "WAKE",
        "FD",
        "REQUEUE",
        "CMP_REQUEUE",
        "WAKE_OP",
        "LOCK_PI",
        "UNLOCK_PI",
        "TRYLOCK_PI",
        "WAIT_BITSET",
        "WAKE_BITSET",
        "WAIT_REQUEUE_PI",
        "CMP_REQUEUE_PI",
        "LOCK_PI2",
    ];
    let command = operation & FUTEX_COMMAND;
    NAMES.get(command as usize).map_or_else(|| format!("{command}"), |name| format!("FUTEX_{name}"))
}

/// A `struct sockaddr`.
fn address(call: &SlowCall) -> String {
    let bytes = text(call);
    let port = || bytes.get(2..4).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let family = bytes.get(..2).map(|family| i32::from(u16::from_ne_bytes([family[0], family[1]])));
    let told = match family {
        Some(libc::AF_INET) => bytes.get(4..8).zip(port()).and_then(|(address, port)| {
            let address: [u8; 4] = address.try_into().ok()?;
            Some(format!("{}:{port}", Ipv4Addr::from(address)))
        }),
        Some(libc::AF_INET6) => bytes.get(8..24).zip(port()).and_then(|(address, port)| {
            let address: [u8; 16] = address.try_into().ok()?;
            Some(format!("[{}]:{port}", Ipv6Addr::from(address)))
        }),
        Some(libc::AF_UNIX) => {
            let path = &bytes[2..];
            let shown = path.strip_prefix(&[0]).map_or_else(|| (path, ""), |name| (name, "@"));
            let end = shown.0.iter().position(|byte| *byte == 0).unwrap_or(shown.0.len());
            Some(format!("{}{}", shown.1, String::from_utf8_lossy(&shown.0[..end])))
        }
        Some(libc::AF_NETLINK) => Some("netlink".into()),
        Some(family) => Some(format!("address of family {family}")),
        None => None,
    };
    told.unwrap_or_else(|| "?".into())
}

#[cfg(test)]
mod tests {
    use perf_ebpf::calls::TEXT_BYTES;

    use super::*;

    fn told(call: libc::c_long, given: &[u64], text: &[u8], file: Option<(&str, bool)>) -> String {
        let mut slow = SlowCall {
            start_ns: 0,
            length_ns: 1,
            result: 0,
            tgid: 1,
            tid: 1,
            comm: [0; 16],
            call: call as u32,
            text_bytes: text.len() as u32,
            arguments: [0; 8],
            text: [0; TEXT_BYTES],
        };
        slow.arguments[..given.len()].copy_from_slice(given);
        slow.text[..text.len()].copy_from_slice(text);
        let file = file.map(|(name, may_have_changed)| File { name: name.into(), may_have_changed });
        arguments(&LocatedCall { call: slow, comm: String::new(), file })
    }

    #[test]
    fn arguments_are_told_as_people_write_them() {
        let here = libc::AT_FDCWD as u64;
        let seconds = [2_i64.to_ne_bytes(), 500_000_000_i64.to_ne_bytes()].concat();
        let unix = [&1_u16.to_ne_bytes()[..], b"/run/x\0\0"].concat();
        let inet = [&2_u16.to_ne_bytes()[..], &[0x1f, 0x90, 127, 0, 0, 1]].concat();
        for (found, known) in [
            (told(libc::SYS_read, &[3, 9, 10], b"", Some(("/etc/x", false))), "read(3</etc/x>, 10)"),
            (
                told(libc::SYS_pwrite64, &[3, 9, 10, 4096], b"", Some(("/x", true))),
                "pwrite64(3<maybe /x>, 10, at 4096)",
            ),
            (told(libc::SYS_fsync, &[7], b"", None), "fsync(7)"),
            (told(libc::SYS_openat, &[here, 9, 0x241], b"/tmp/y\0", None), "openat(/tmp/y, O_WRONLY|O_CREAT|O_TRUNC)"),
            (told(libc::SYS_openat, &[5, 9, 0], b"y\0", None), "openat(in 5, y, O_RDONLY)"),
            (told(libc::SYS_openat, &[here, 9, 0], b"", None), "openat(?, O_RDONLY)"),
            (told(libc::SYS_nanosleep, &[1], &seconds, None), "nanosleep(2.500000 s)"),
            (told(libc::SYS_clock_nanosleep, &[1, 1], &seconds, None), "clock_nanosleep(until 2.500000 s)"),
            (told(libc::SYS_futex, &[0x10, 128, 2], b"", None), "futex(0x10, FUTEX_WAIT, 2)"),
            (
                told(libc::SYS_futex, &[0x10, 137, 2, 5], &seconds, None),
                "futex(0x10, FUTEX_WAIT_BITSET, 2, 2.500000 s)",
            ),
            (told(libc::SYS_connect, &[4, 9, 16], &inet, None), "connect(4, 127.0.0.1:8080)"),
            (told(libc::SYS_connect, &[4, 9, 10], &unix, Some(("unix", false))), "connect(4<unix>, /run/x)"),
            (told(libc::SYS_epoll_pwait, &[4, 9, 10, u64::MAX], b"", None), "epoll_pwait(4, no timeout)"),
            (
                told(libc::SYS_ppoll, &[4, 2], &[6, 0, 0, 0], Some(("pipe:[7]", false))),
                "ppoll(6<pipe:[7]>, 2 descriptors)",
            ),
            (told(1000, &[1, 2, 3], b"", None), "system call 1000(0x1, 0x2, 0x3)"),
        ] {
            assert_eq!(found, known);
        }
    }

    #[test]
    fn addresses_that_are_cut_off_are_not_known() {
        for bytes in [&[][..], &[2], &[2, 0], &[2, 0, 1], &[2, 0, 1, 1, 127], &[10, 0, 0, 80, 0, 0, 0, 0, 1]] {
            assert_eq!(told(libc::SYS_connect, &[4], bytes, None), "connect(4, ?)");
        }
        assert_eq!(told(libc::SYS_connect, &[4], &1_u16.to_ne_bytes(), None), "connect(4, )");
    }
}
