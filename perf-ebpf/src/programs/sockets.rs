//! Sockets: what they are called, and how long peers take to answer.

use aya_ebpf::{
    Global,
    bindings::BPF_ANY,
    helpers::generated::{
        bpf_probe_read_kernel as read_kernel, bpf_probe_read_user as read_user,
        bpf_probe_read_user_str as read_user_text,
    },
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use core::ffi::c_void;
use perf_ebpf::{
    block::FileKey,
    counters::Counter,
    file_calls::{ASKS, CONNECTS, IN, IS_ASKED, OUT, PeerKey, SOCKET, SOCKET_SYSTEM, SocketName, TCP_LISTEN, Talk},
    histogram::Lengths,
    stack::mix,
};

use super::{
    counters::{count_length, counters, sum_of},
    file_calls::found,
    files::{NAME_MEMORY, is_named, keep_name, pointer},
    target::{cpu, read_u16, read_u32},
};

// Where structures of the running kernel keep their members, from BTF.
#[unsafe(no_mangle)]
static FILE_SOCKET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCKET_SOCK: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_FAMILY: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_STATE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_KIND: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_PEER_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_PEER: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_PEER_6: Global<u32> = Global::new(0);
/// 0 if the kernel's BTF does not describe unix sockets.
#[unsafe(no_mangle)]
static UNIX_ADDRESS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static UNIX_PEER: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static ADDRESS_BYTES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static ADDRESS_NAME: Global<u32> = Global::new(0);

/// The ports from which those are taken that nobody asked for: the first, and the last.
#[unsafe(no_mangle)]
static EPHEMERAL_FIRST: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static EPHEMERAL_LAST: Global<u32> = Global::new(0);

/// What was last heard of sockets, by their addresses.
#[map]
pub(super) static TALKS: LruHashMap<u64, Talk> = LruHashMap::with_max_entries(1, 0);

#[map]
static ANSWERS_0: HashMap<PeerKey, Lengths> = HashMap::with_max_entries(1, 0);

#[map]
static ANSWERS_1: HashMap<PeerKey, Lengths> = HashMap::with_max_entries(1, 0);

/// No answers: what a new entry begins with, for which the stack of a program has no room.
#[map]
static NO_ANSWERS: PerCpuArray<Lengths> = PerCpuArray::with_max_entries(1, 0);

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Bytes of the longest path of a unix socket.
const PATH_BYTES: u32 = 108;
/// In words of four bytes.
const PATH_WORDS: usize = PATH_BYTES as usize / 4;

/// The socket of an open file, and what it is called; with the address that the program gives where it connects.
#[inline(always)]
pub(super) fn named(file: *const c_void, given: u64, word: u32, generation: u32) -> (u64, FileKey) {
    let sock = sock_of(file);
    let key = key(socket_name(sock as u64, if word & CONNECTS != 0 { given } else { 0 }));
    keep_made(key, generation);
    (sock as u64, key)
}

/// Keeps the name that was just made.
#[inline(always)]
pub(super) fn keep_made(key: FileKey, generation: u32) {
    if !is_named(key, false, generation)
        && let Some(name) = NAME_MEMORY.get_ptr_mut(0)
    {
        // SAFETY: this CPU's, and it is claimed.
        let name = unsafe { &mut *name };
        (name.is_whole, name.is_deleted, name.kind) = (0, 0, SOCKET);
        name.used = (size_of::<SocketName>() as u32) + PATH_BYTES;
        keep_name(key, name, generation);
    }
}

#[inline(always)]
fn is_ephemeral(port: u16) -> bool {
    (EPHEMERAL_FIRST.load()..=EPHEMERAL_LAST.load()).contains(&u32::from(port))
}

/// The socket of an open file; null if it is none.
#[inline(always)]
fn sock_of(file: *const c_void) -> *const c_void {
    pointer(pointer(file, FILE_SOCKET.load()), SOCKET_SOCK.load())
}

#[inline(always)]
pub(super) fn key(name: u64) -> FileKey {
    FileKey { inode: name | 1, system: SOCKET_SYSTEM, generation: 0 }
}

/// Writes what a socket is called into [`NAME_MEMORY`], and makes a number of it. Not inlined, and with numbers alone, as
/// `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn socket_name(sock: u64, given: u64) -> u64 {
    let sock = sock as *const c_void;
    let Some(memory) = NAME_MEMORY.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's, and it is claimed; the name is at the beginning of the text, which has room for it and a path.
    let (name, path) = unsafe {
        let text = (*memory).text.as_mut_ptr();
        (&mut *text.cast::<SocketName>(), text.add(size_of::<SocketName>()))
    };
    *name = SocketName::default();
    name.family = read_u16(sock, SOCK_FAMILY.load());
    name.kind = read_u16(sock, SOCK_KIND.load());
    let of = u64::from(name.family) << 16 | u64::from(name.kind);
    if name.family == AF_UNIX && UNIX_ADDRESS.load() != 0 {
        let mut address = pointer(sock, UNIX_ADDRESS.load());
        if address.is_null() {
            address = pointer(pointer(sock, UNIX_PEER.load()), UNIX_ADDRESS.load());
            name.state = 1;
        }
        // SAFETY: within the text, in which the path is; it begins at a multiple of four bytes.
        let words = unsafe { core::slice::from_raw_parts_mut(path.cast::<u32>(), PATH_WORDS) };
        words.fill(0);
        if !address.is_null() {
            // The family comes before the path.
            let bytes = read_u32(address, ADDRESS_BYTES.load()).saturating_sub(2);
            name.path_bytes = if bytes > PATH_BYTES { PATH_BYTES } else { bytes } as u16;
            // SAFETY: the helper fails rather than faults, and the text has room for the most that the mask leaves.
            unsafe {
                let from = address.byte_add(ADDRESS_NAME.load() as usize + 2);
                read_kernel(path.cast(), u32::from(name.path_bytes) & 0x7f, from)
            };
        } else if given != 0 {
            // Nobody is there whom it could be connected with.
            // SAFETY: as above.
            let told = unsafe { read_user_text(path.cast(), PATH_BYTES, (given as *const c_void).byte_add(2)) };
            name.path_bytes = if (0..=i64::from(PATH_BYTES)).contains(&told) { told as u16 } else { 0 };
        }
        let (mut id, mut at) = (mix(of, u64::from(name.state)), 0);
        while at < PATH_WORDS {
            id = mix(id, u64::from(words[at]));
            at += 1;
        }
        return id;
    }
    if name.family != AF_INET && name.family != AF_INET6 {
        return mix(of, 0);
    }
    // Which it keeps when it is closed, unlike the other of its two.
    name.port = u16::from_be(read_u16(sock, SOCK_PORT.load()));
    name.peer_port = u16::from_be(read_u16(sock, SOCK_PEER_PORT.load()));
    let state = read_u16(sock, SOCK_STATE.load()) as u8;
    if state == TCP_LISTEN {
        name.state = 1;
    } else if name.peer_port == 0 && given != 0 {
        // What refuses to be connected has forgotten to whom.
        name.port = 0;
        // SAFETY: as above. Family and port, and the address of version 4; of version 6, where that has its flow.
        unsafe {
            let mut address = [0_u32; 2];
            read_user((&raw mut address).cast(), 8, given as *const c_void);
            let family = address[0] as u16;
            if family == AF_INET || family == AF_INET6 {
                name.peer_port = u16::from_be((address[0] >> 16) as u16);
            }
            if family == AF_INET {
                name.peer[0] = address[1];
            } else if family == AF_INET6 {
                read_user((&raw mut name.peer).cast(), 16, (given as *const c_void).byte_add(8));
            }
        }
    } else if name.peer_port != 0 {
        // SAFETY: as above.
        unsafe {
            if name.family == AF_INET {
                read_kernel((&raw mut name.peer).cast(), 4, sock.byte_add(SOCK_PEER.load() as usize));
            } else if SOCK_PEER_6.load() != 0 {
                read_kernel((&raw mut name.peer).cast(), 16, sock.byte_add(SOCK_PEER_6.load() as usize));
            }
        }
        // Clients are not told apart by what they were given.
        // SAFETY: memory of the map.
        let role = TALKS.get_ptr(&(sock as u64)).map_or(0, |talk| unsafe { (*talk).role });
        let role = match (role, is_ephemeral(name.port), is_ephemeral(name.peer_port)) {
            (0, true, false) => ASKS,
            (0, false, true) => IS_ASKED,
            (role, ..) => role,
        };
        match role {
            ASKS => name.port = 0,
            IS_ASKED => name.peer_port = 0,
            _ => {}
        }
    }
    let ports = u64::from(name.port) << 48 | u64::from(name.peer_port) << 32 | u64::from(name.state) << 24;
    let [a, b, c, d] = name.peer.map(u64::from);
    mix(mix(mix(of, ports), a << 32 | b), c << 32 | d)
}

/// What was heard of a socket says nothing of whom it is connected to now.
#[inline(always)]
pub(super) fn forget_talk(sock: u64) {
    if let Some(talk) = TALKS.get_ptr_mut(&sock) {
        // SAFETY: memory of the map. It may be on its way to be connected.
        unsafe { (*talk).sent_ns = 0 };
    }
}

/// A descriptor of a socket is closed. When one of TCP ends is told otherwise, and others may have it; of another its memory may be
/// somebody else's next.
#[inline(always)]
pub(super) fn is_closed(sock: u64) {
    if let Some(talk) = TALKS.get_ptr_mut(&sock) {
        let at = sock as *const c_void;
        let is_tcp = read_u16(at, SOCK_FAMILY.load()) != AF_UNIX && read_u16(at, SOCK_KIND.load()) == SOCK_STREAM;
        if !is_tcp {
            // SAFETY: as above.
            unsafe { (*talk).sent_ns = 0 };
        }
    }
}

const SOCK_STREAM: u16 = 1;

/// An open file is a socket that was accepted.
#[inline(always)]
pub(super) fn is_accepted(file: *const c_void, tgid: u32) {
    let talk = Talk { tgid, role: IS_ASKED, ..Talk::default() };
    let _ = TALKS.insert(&(sock_of(file) as u64), &talk, u64::from(BPF_ANY));
}

/// Takes note of what went and what came: how long it took until somebody answered.
#[inline(always)]
pub(super) fn talk(sock: u64, tgid: u32, word: u32, [start_ns, now_ns]: [u64; 2], generation: u32) {
    let Some(talk) = TALKS.get_ptr_mut(&sock) else {
        if word & (IN | OUT) != 0 {
            let sent_ns = if word & OUT != 0 { start_ns } else { 0 };
            let _ = TALKS.insert(&sock, &Talk { sent_ns, tgid, ..Talk::default() }, u64::from(BPF_ANY));
        }
        return;
    };
    // SAFETY: memory of the map. Threads that use one socket at once may tell each other's times.
    let talk = unsafe { &mut *talk };
    talk.tgid = tgid;
    if word & OUT != 0 && talk.sent_ns == 0 {
        talk.sent_ns = start_ns;
    }
    if word & IN == 0 || talk.sent_ns == 0 {
        return;
    }
    let ns = now_ns.saturating_sub(talk.sent_ns);
    talk.sent_ns = 0;
    let answers = if generation == 0 { &ANSWERS_0 } else { &ANSWERS_1 };
    let Some(counters) = counters(generation) else { return };
    let key = PeerKey { tgid, cpu: cpu(), socket: found() };
    let lost = [Counter::PeersMissed; 2];
    if let Some(lengths) = sum_of(answers, &key, &NO_ANSWERS, counters, lost) {
        // SAFETY: the key names this CPU; and user space touches a generation only when no program writes to it any more.
        count_length(unsafe { &mut *lengths }, ns);
    }
}
