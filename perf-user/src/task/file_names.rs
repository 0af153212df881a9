//! What files and sockets are called, as people know them.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use perf_ebpf::{
    block::{FileKey, FileName, NAME_BYTES},
    file_calls::{
        ANONYMOUS, GIVEN, GIVEN_SYSTEM, HEAP, MEMORY_SYSTEM, PIPE, PLACELESS, REST_SYSTEM, SOCKET, SOCKET_SYSTEM,
        STACK, SocketName,
    },
};
use zerocopy::FromBytes as _;

use super::files::{listening_ports, network_namespace};
use crate::{drain::RawWindow, host::mounts::Mounts};

/// What a file or a socket is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileText {
    /// What it is.
    pub kind: FileKind,
    /// Its path, or its peer; the empty text for what is not known.
    pub text: String,
    /// Whether it is a connection that this end asked for.
    pub asks: bool,
}

/// What stands behind a descriptor, or a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileKind {
    /// A file, or a directory.
    #[default]
    File,
    /// A socket.
    Socket,
    /// A pipe.
    Pipe,
    /// Something else that has a descriptor.
    Other,
    /// Memory that is no file's.
    Memory,
}

impl FileKind {
    /// Its name in recordings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::Other => "other",
            Self::Memory => "memory",
        }
    }
}

/// What stands for files that there was no room to tell apart. In brackets: pictures leave out parentheses, as if they held arguments.
const MORE_FILES: &str = "[more files than can be told apart]";

/// What all files of a window are called.
pub(super) fn texts(window: &RawWindow) -> HashMap<FileKey, FileText> {
    let mut files: HashSet<FileKey> = HashSet::new();
    if let Some(block) = &window.block {
        files.extend(block.files.keys().map(|(_, file)| *file));
        files.extend(block.slowest.iter().map(|slow| slow.file));
        files.extend(block.open.iter().map(|open| open.file));
    }
    // Whose they are tells in which network namespace their ports are.
    let mut owners: HashMap<FileKey, u32> = HashMap::new();
    if let Some(calls) = &window.file_calls {
        files.extend(calls.sums.keys().map(|(_, _, file)| *file));
        files.extend(calls.connections.keys().map(|(_, socket)| *socket));
        owners.extend(calls.connections.keys().map(|(tgid, socket)| (*socket, *tgid)));
        owners.extend(calls.sums.keys().map(|(tgid, _, file)| (*file, *tgid)));
    }
    // Most windows of most programs have none.
    let mounts = if files.is_empty() { Mounts::default() } else { Mounts::read() };
    let mut listening = HashMap::new();
    let mut is_listening = |file: FileKey, port: u16| {
        let tgid = owners.get(&file).copied().unwrap_or_default();
        listening.entry(network_namespace(tgid)).or_insert_with(|| listening_ports(tgid)).contains(&port)
    };
    let text = |file: FileKey| {
        let text = text(file, window.file_names.get(&file), &mounts, &mut |port| is_listening(file, port));
        (file, text)
    };
    files.into_iter().map(text).collect()
}

fn text(
    file: FileKey,
    name: Option<&FileName>,
    mounts: &Mounts,
    is_listening: &mut dyn FnMut(u16) -> bool,
) -> FileText {
    let of = |kind, text: String| FileText { kind, text, asks: false };
    if file == FileKey::default() || (file.inode == 0 && file.system == GIVEN_SYSTEM) {
        return FileText::default();
    }
    if file.system == REST_SYSTEM {
        return of(FileKind::Other, MORE_FILES.into());
    }
    if file.system == MEMORY_SYSTEM {
        return of(FileKind::Memory, memory(file.inode).into());
    }
    let bytes = name.map(|name| name.text.get(..name.used as usize).unwrap_or(&name.text)).unwrap_or_default();
    match name.map(|name| name.kind) {
        Some(SOCKET) => return socket(bytes, is_listening),
        Some(GIVEN) => {
            // What is as long as there is room for goes on.
            let rest = if bytes.len() + 1 >= NAME_BYTES { "…" } else { "" };
            return of(FileKind::File, String::from_utf8_lossy(bytes).into_owned() + rest);
        }
        Some(PIPE) => return of(FileKind::Pipe, format!("pipe:[{}]", file.inode)),
        Some(PLACELESS) => {
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            return of(FileKind::Other, String::from_utf8_lossy(name).into_owned());
        }
        None if file.system == SOCKET_SYSTEM => return of(FileKind::Socket, "socket without a name".into()),
        None if file.system == GIVEN_SYSTEM => return FileText::default(),
        _ => {}
    }
    of(FileKind::File, path(file, name, mounts))
}

/// Memory that is no file's, as `/proc/PID/maps` has it where that has a name.
fn memory(which: u64) -> &'static str {
    match which {
        ANONYMOUS => "[anonymous memory]",
        HEAP => "[heap]",
        STACK => "[stack]",
        _ => "[mapping that was not read]",
    }
}

/// The path of a file, as far as it is known.
fn path(file: FileKey, name: Option<&FileName>, mounts: &Mounts) -> String {
    let number = || format!("inode {} of {}:{}", file.inode, file.system >> 20, file.system & 0xf_ffff);
    let Some(name) = name.filter(|name| name.used > 0 || name.is_whole != 0) else { return number() };
    let text = name.text.get(..name.used as usize).unwrap_or(&name.text);
    // A root is called so itself.
    let parts = text.split(|byte| *byte == 0).filter(|part| !part.is_empty() && *part != b"/");
    let parts: Vec<_> = parts.map(String::from_utf8_lossy).collect();
    let path = parts.iter().rev().fold(String::new(), |path, part| path + "/" + part);
    let known = if name.is_whole == 0 { None } else { mounts.path(file.system, &path) };
    let path = match known {
        Some(path) if path.is_empty() => "/".into(),
        Some(path) => path,
        None if path.is_empty() => return number(),
        None => format!("…{path}"),
    };
    if name.is_deleted != 0 { path + " (deleted)" } else { path }
}

/// `tcp to 10.0.0.7:5432`, `tcp at 8080 from 10.0.0.9`.
fn socket(name: &[u8], is_listening: &mut dyn FnMut(u16) -> bool) -> FileText {
    let of = |text: String, asks| FileText { kind: FileKind::Socket, text, asks };
    let Ok((name, path)) = SocketName::read_from_prefix(name) else { return of("socket".into(), false) };
    let is_6 = i32::from(name.family) == libc::AF_INET6;
    match i32::from(name.family) {
        libc::AF_UNIX => {
            let path = path.get(..name.path_bytes.into()).unwrap_or_default();
            return of(format!("unix {}", unix_path(path)), name.state == 1 && !path.is_empty());
        }
        libc::AF_INET | libc::AF_INET6 => {}
        libc::AF_NETLINK => return of("netlink".into(), false),
        libc::AF_VSOCK => return of("vsock".into(), false),
        family => return of(format!("socket of family {family}"), false),
    }
    let protocol = match i32::from(name.kind) {
        libc::SOCK_STREAM => "tcp",
        libc::SOCK_DGRAM => "udp",
        _ => "ip",
    };
    let protocol = format!("{protocol}{}", if is_6 { "6" } else { "" });
    let address = match is_6 {
        false => Ipv4Addr::from(name.peer[0].to_ne_bytes()).to_string(),
        true => {
            let mut bytes = [0; 16];
            bytes
                .chunks_exact_mut(4)
                .zip(name.peer)
                .for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_ne_bytes()));
            Ipv6Addr::from(bytes).to_string()
        }
    };
    let with_port = |port: u16| if is_6 { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    if name.state == 1 {
        return of(format!("{protocol} listening at {}", name.port), false);
    }
    match (name.port, name.peer_port) {
        (0, 0) => of(format!("{protocol}, not connected"), false),
        (0, peer) => of(format!("{protocol} to {}", with_port(peer)), true),
        // Of a datagram's socket without a peer nobody's address is known.
        (port, 0) if name.peer == [0; 4] => of(format!("{protocol} at {port}"), false),
        (port, 0) => of(format!("{protocol} at {port} from {address}"), false),
        (port, _) if is_listening(port) => of(format!("{protocol} at {port} from {address}"), false),
        (_, peer) => of(format!("{protocol} to {}", with_port(peer)), true),
    }
}

/// An abstract one begins with a zero.
fn unix_path(path: &[u8]) -> String {
    match path {
        [] => "(unnamed)".into(),
        [0, name @ ..] => format!("@{}", String::from_utf8_lossy(name).replace('\0', "@")),
        _ => String::from_utf8_lossy(path.split(|byte| *byte == 0).next().unwrap_or(path)).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use perf_ebpf::{block::PART_BYTES, file_calls::PATH};
    use zerocopy::IntoBytes as _;

    use super::*;

    fn named(text: &[u8], kind: u32) -> FileName {
        let mut name =
            FileName { text: [0; NAME_BYTES + PART_BYTES], used: text.len() as u32, is_whole: 0, is_deleted: 0, kind };
        name.text[..text.len()].copy_from_slice(text);
        name
    }

    fn told(file: FileKey, name: Option<FileName>) -> FileText {
        text(file, name.as_ref(), &Mounts::default(), &mut |port| port == 40_000)
    }

    #[test]
    fn paths_are_put_together_from_their_parts() {
        let file = FileKey { inode: 12, system: 4_000 << 20 | 3, generation: 0 };
        let name = |text: &[u8], is_whole, is_deleted| FileName { is_whole, is_deleted, ..named(text, PATH) };
        let told = |name: Option<FileName>| told(file, name).text;
        assert_eq!(told(Some(name(b"t.db\0data\0srv\0", 1, 0))), "…/srv/data/t.db", "it is mounted nowhere here");
        assert_eq!(told(Some(name(b"t.db\0data\0", 0, 1))), "…/data/t.db (deleted)");
        assert_eq!(told(None), "inode 12 of 4000:3");
        assert_eq!(told(Some(name(b"/\0", 1, 0))), "inode 12 of 4000:3", "a root that is mounted nowhere here");
        assert_eq!(told(Some(name(b"memfd:x\0", 1, 1))), "…/memfd:x (deleted)");
    }

    #[test]
    fn what_has_no_path_is_told_by_what_it_is() {
        let file = FileKey { inode: 12, system: 9, generation: 0 };
        assert_eq!(told(FileKey::default(), None), FileText::default());
        assert_eq!(told(file, Some(named(b"", PIPE))).text, "pipe:[12]");
        let other = told(file, Some(named(b"[eventfd]\0", PLACELESS)));
        assert_eq!((other.text.as_str(), other.kind), ("[eventfd]", FileKind::Other));
        let given = FileKey { inode: 77, system: GIVEN_SYSTEM, generation: 0 };
        assert_eq!(told(given, Some(named(b"../no such file", GIVEN))).text, "../no such file");
        assert_eq!(told(given, None), FileText::default());
    }

    #[test]
    fn sockets_are_told_by_their_peers_or_by_where_they_listen() {
        let file = FileKey { inode: 1, system: SOCKET_SYSTEM, generation: 0 };
        let family =
            |family: i32, kind: i32| SocketName { family: family as u16, kind: kind as u16, ..SocketName::default() };
        let word = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
        let told_of =
            |name: SocketName, path: &[u8]| told(file, Some(named(&[name.as_bytes(), path].concat(), SOCKET)));
        let tcp = SocketName { peer: [word([10, 0, 0, 7]), 0, 0, 0], ..family(libc::AF_INET, libc::SOCK_STREAM) };
        for (port, peer_port, text, asks) in [
            (0, 5432, "tcp to 10.0.0.7:5432", true),
            (8080, 0, "tcp at 8080 from 10.0.0.7", false),
            (40_000, 41_000, "tcp at 40000 from 10.0.0.7", false),
            (41_000, 40_000, "tcp to 10.0.0.7:40000", true),
        ] {
            let told = told_of(SocketName { port, peer_port, ..tcp }, b"");
            assert_eq!((told.text.as_str(), told.asks), (text, asks));
        }
        assert_eq!(told_of(SocketName { port: 80, state: 1, ..tcp }, b"").text, "tcp listening at 80");
        let peer = [0, 0, 0, word([0, 0, 0, 1])];
        let tcp6 = SocketName { peer, peer_port: 443, ..family(libc::AF_INET6, libc::SOCK_STREAM) };
        assert_eq!(told_of(tcp6, b"").text, "tcp6 to [::1]:443");
        let udp = family(libc::AF_INET, libc::SOCK_DGRAM);
        assert_eq!(told_of(SocketName { port: 53, ..udp }, b"").text, "udp at 53");
        assert_eq!(told_of(udp, b"").text, "udp, not connected");
        let unix = |path: &[u8], state| {
            let path_bytes = path.len() as u16;
            told_of(SocketName { path_bytes, state, ..family(libc::AF_UNIX, libc::SOCK_STREAM) }, path)
        };
        let client = unix(b"/run/db.sock\0", 1);
        assert_eq!((client.text.as_str(), client.asks), ("unix /run/db.sock", true));
        assert_eq!(unix(b"\0bus", 0).text, "unix @bus");
        let pair = unix(b"", 1);
        assert_eq!((pair.text.as_str(), pair.asks), ("unix (unnamed)", false));
    }
}
