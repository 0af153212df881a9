//! What file descriptors in the arguments of system calls mean, as `/proc` tells soon after the call.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::Ipv4Addr,
    path::PathBuf,
};

use perf_ebpf::calls::SlowCall;

use super::calls::File;
use crate::drain::RawCalls;

/// What is known of the descriptors of processes.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// When the last window ended in which a process closed a descriptor, or put another file in its place.
    closed_ns: HashMap<u32, u64>,
}

/// After so many processes have closed descriptors, what is known is forgotten: of calls from before that, the files may have
/// changed.
const PROCESSES: usize = 65_536;

impl Files {
    /// Takes note of which processes closed descriptors.
    pub(super) fn take_note(&mut self, calls: &RawCalls, end_ns: u64) {
        if self.closed_ns.len() > PROCESSES {
            self.closed_ns.clear();
        }
        let closing = calls.sums.keys().filter(|(_, call)| CLOSING.contains(&libc::c_long::from(*call)));
        self.closed_ns.extend(closing.map(|(tgid, _)| (*tgid, end_ns)));
    }

    /// The file that the descriptor of a call means, if it has one.
    pub(super) fn find(&self, call: &SlowCall, sockets: &mut Sockets) -> Option<File> {
        let descriptor = descriptor(call)?;
        let name = fs::read_link(format!("/proc/{}/fd/{descriptor}", call.tgid)).ok()?;
        let name = name.to_string_lossy().into_owned();
        let socket = name.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok());
        let name = socket.and_then(|inode| sockets.find(call.tgid, inode)).unwrap_or(name);
        let closed_ns = self.closed_ns.get(&call.tgid).copied().unwrap_or(0);
        Some(File { name, may_have_changed: closed_ns > call.start_ns })
    }
}

/// Calls after which a descriptor can mean something else.
const CLOSING: &[libc::c_long] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup3,
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
];

/// The descriptor in the arguments of a call.
fn descriptor(call: &SlowCall) -> Option<i32> {
    let number = libc::c_long::from(call.call);
    if POLLS.contains(&number) {
        // The first of those that are waited for.
        let bytes = call.text.get(..call.text_bytes.min(4) as usize)?;
        return Some(i32::from_ne_bytes(bytes.try_into().ok()?)).filter(|_| call.arguments[1] > 0);
    }
    FIRST.contains(&number).then_some(call.arguments[0] as i32).filter(|descriptor| *descriptor >= 0)
}

/// Calls that wait for several descriptors.
const POLLS: &[libc::c_long] = &[
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Calls whose first argument is a descriptor.
const FIRST: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_getdents64,
    libc::SYS_sendfile,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// The sockets of network namespaces, each read once for a window, through one of its processes.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    read: HashMap<PathBuf, HashMap<u64, String>>,
}

impl Sockets {
    fn find(&mut self, tgid: u32, inode: u64) -> Option<String> {
        self.read.entry(network_namespace(tgid)).or_insert_with(|| sockets(tgid)).get(&inode).cloned()
    }
}

/// Which network namespace a process is in; all that are gone in one.
pub(super) fn network_namespace(tgid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{tgid}/ns/net")).unwrap_or_default()
}

/// A table of sockets, as a process sees it.
fn table(tgid: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{tgid}/net/{name}")).unwrap_or_default()
}

/// The sockets that a process can see, by their inodes.
fn sockets(tgid: u32) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    for protocol in ["tcp", "udp", "tcp6", "udp6"] {
        for line in table(tgid, protocol).lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, local, remote, _, _, _, _, _, _, inode, ..] = fields[..]
                && let (Some(local), Some(remote), Ok(inode)) = (address(local), address(remote), inode.parse())
            {
                let peer = if remote.ends_with(":0") { String::new() } else { format!(" to {remote}") };
                found.insert(inode, format!("{protocol} {local}{peer}"));
            }
        }
    }
    for line in table(tgid, "unix").lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, _, _, _, inode, rest @ ..] = &fields[..]
            && let Ok(inode) = inode.parse()
        {
            let path = rest.first().map(|path| format!(" {path}")).unwrap_or_default();
            found.insert(inode, format!("unix{path}"));
        }
    }
    found
}

/// The ports at which somebody listens, as a process sees them.
pub(super) fn listening_ports(tgid: u32) -> HashSet<u16> {
    const LISTENS: &str = "0A";
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (_, port) = local.split_once(':').filter(|_| state == LISTENS)?;
        u16::from_str_radix(port, 16).ok()
    };
    ["tcp", "tcp6"].iter().flat_map(|name| table(tgid, name).lines().filter_map(port).collect::<Vec<_>>()).collect()
}

/// `0100007F:1F90`, as `/proc/net/tcp` has it; of version 6, 32 digits. Words are as the machine keeps them.
fn address(text: &str) -> Option<String> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..address.len() / 8).map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok());
    let words: Vec<u32> = words.collect::<Option<_>>()?;
    match words[..] {
        [word] => Some(format!("{}:{port}", Ipv4Addr::from(word.to_ne_bytes()))),
        [_, _, _, _] => {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            Some(format!("[{}]:{port}", std::net::Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        if cfg!(target_endian = "little") {
            assert_eq!(address("0100007F:1F90").unwrap(), "127.0.0.1:8080");
            assert_eq!(address("00000000000000000000000001000000:0016").unwrap(), "[::1]:22");
        }
        for wrong in ["", "0100007F", "0100007:1", "xx00007F:1F90", "0100007F:1F90F0"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
