//! The records of system calls on files and sockets: what they were about, how much they moved, and who answered.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{block::FileKey, histogram::Lengths, sample::Key};

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The file of the descriptor in this argument.
    Descriptor(u32),
    /// The same, which the call closes.
    Closed(u32),
    /// The file that it opens, by the descriptor that it returns; if it fails, the path in this argument.
    Opened(u32),
    /// The path in this argument; if that is empty, the file of the descriptor in the argument before.
    Path(u32),
}

/// What the result of a call says of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// It is no number of bytes.
    Nothing,
    /// As many bytes came.
    In,
    /// As many bytes went.
    Out,
    /// So many messages came.
    MessagesIn,
    /// So many messages went.
    MessagesOut,
}

/// [`About::Descriptor`] in a [`word`].
pub const DESCRIPTOR: u32 = 1;
/// [`About::Closed`].
pub const CLOSED: u32 = 2;
/// [`About::Opened`].
pub const OPENED: u32 = 3;
/// [`About::Path`].
pub const BY_PATH: u32 = 4;
/// In a [`word`]: something comes.
pub const IN: u32 = 1 << 16;
/// Something goes.
pub const OUT: u32 = 1 << 17;
/// The result says how many bytes.
pub const BYTES: u32 = 1 << 18;
/// Added to the word of a call that connects, whose second argument is an address.
pub const CONNECTS: u32 = 1 << 19;
/// Added to the word of a call that accepts, whose result is the descriptor of another socket.
pub const ACCEPTS: u32 = 1 << 20;

/// As the number that the kernel half is told: what the call is about, in which argument, and what its result says.
#[must_use]
pub const fn word(about: About, moves: Moves) -> u32 {
    let (kind, argument) = match about {
        About::Descriptor(argument) => (DESCRIPTOR, argument),
        About::Closed(argument) => (CLOSED, argument),
        About::Opened(argument) => (OPENED, argument),
        About::Path(argument) => (BY_PATH, argument),
    };
    let moves = match moves {
        Moves::Nothing => 0,
        Moves::In => IN | BYTES,
        Moves::Out => OUT | BYTES,
        Moves::MessagesIn => IN,
        Moves::MessagesOut => OUT,
    };
    kind | argument << 8 | moves
}

/// The number of the call that stands for the first operation of io_uring, `IORING_OP_NOP`; the others follow.
pub const URING_CALLS: u32 = 0x1000;
/// Operations of io_uring that can be told of.
pub const URING_OPERATIONS: u32 = 64;

/// The number of the call that stands for page faults whose page was in memory, or made there.
pub const FAULT_CALLS: u32 = 0x2000;
/// Of those whose page had to be read.
pub const MAJOR_FAULT: u32 = FAULT_CALLS + 1;

/// [`FileKey::system`] of memory that belongs to no file; [`FileKey::inode`] says which.
pub const MEMORY_SYSTEM: u32 = u32::MAX - 3;
/// Memory that was mapped without a file.
pub const ANONYMOUS: u64 = 1;
/// The heap that grows by `brk`.
pub const HEAP: u64 = 2;
/// The first thread's stack.
pub const STACK: u64 = 3;
/// A mapping that could not be looked at.
pub const UNREAD: u64 = 4;

/// An operation of io_uring that has not been completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenOperation {
    /// Who asked for it, and where. [`Key::why`] is the number of its call.
    pub key: Key,
    /// When that was; 0 of a thread that is not in a fault.
    pub start_ns: u64,
}

/// The page fault that a thread is in, or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenFault {
    /// Who needed the page, and where.
    pub operation: OpenOperation,
    /// How many requests to disks the thread has made in it.
    pub requests: u64,
    /// What it found last.
    pub mapped: Mapped,
}

/// What is mapped somewhere, as long as nothing is mapped otherwise in that memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mapped {
    /// From here.
    pub start: u64,
    /// To here.
    pub end: u64,
    /// Where the kernel keeps the file; 0 if there is none.
    pub file: u64,
    /// What stands instead of one: [`ANONYMOUS`] and the like.
    pub memory: u64,
    /// In which memory.
    pub space: u64,
    /// How often that was changed.
    pub sequence: u32,
    /// [`Key::exec_count`].
    pub exec_count: u32,
}

/// [`crate::block::FileName::kind`] of names of directories, from the file's to the root's.
pub const PATH: u32 = 0;
/// Of a path as the program gave it.
pub const GIVEN: u32 = 1;
/// Of a [`SocketName`].
pub const SOCKET: u32 = 2;
/// Of a pipe, which has none.
pub const PIPE: u32 = 3;
/// Of what has no place in any directory: what the kernel calls it, `[eventfd]`.
pub const PLACELESS: u32 = 4;

/// [`FileKey::system`] of paths as programs gave them; [`FileKey::inode`] is made of the text.
pub const GIVEN_SYSTEM: u32 = u32::MAX;
/// Of sockets; [`FileKey::inode`] is made of the name.
pub const SOCKET_SYSTEM: u32 = u32::MAX - 1;
/// Of all files for which there was no room.
pub const REST_SYSTEM: u32 = u32::MAX - 2;

/// The ends of a socket. It is the beginning of a [`crate::block::FileName`]'s text; behind it follows the path of a unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SocketName {
    /// `AF_INET` or the like.
    pub family: u16,
    /// `SOCK_STREAM` or the like.
    pub kind: u16,
    /// The own port, or protocol's number.
    pub port: u16,
    /// The peer's; 0 if it is not connected, or if peers are not told apart by it.
    pub peer_port: u16,
    /// 1 if it listens; of unix sockets, 1 if the path is the peer's.
    pub state: u16,
    /// Bytes of a unix socket's path.
    pub path_bytes: u16,
    /// The peer's address, of which version 4's is the first word.
    pub peer: [u32; 4],
}

/// `sk_state` of a socket that listens, of internet protocols.
pub const TCP_LISTEN: u8 = 10;
/// Of one that was told to connect.
pub const TCP_SYN_SENT: u32 = 2;
/// Of one that somebody asked, and that has answered.
pub const TCP_SYN_RECEIVED: u32 = 3;
/// Of one that is connected.
pub const TCP_ESTABLISHED: u32 = 1;

/// What calls on files are counted under. Every CPU has entries of its own, so that none is written from two at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileCallKey {
    /// The process.
    pub tgid: u32,
    /// The call's number.
    pub call: u32,
    /// On which CPU it returned.
    pub cpu: u32,
    /// Zero.
    pub reserved: u32,
    /// What it was about.
    pub file: FileKey,
}

/// Calls that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileCalls {
    /// What they moved.
    pub bytes: u64,
    /// How many failed, other than for the moment.
    pub errors: u64,
    /// During how many the thread asked a disk for something.
    pub from_disk: u64,
    /// How many, and for how long.
    pub lengths: Lengths,
}

impl FileCalls {
    /// Nothing yet.
    pub const NONE: Self = Self { bytes: 0, errors: 0, from_disk: 0, lengths: Lengths::NONE };
}

/// What the time in calls is counted under, by stack. [`Key::why`] is the call's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileTimeKey {
    /// Who made it, and where.
    pub key: Key,
    /// What it was about.
    pub file: FileKey,
    /// On which CPU it returned.
    pub cpu: u32,
    /// Zero.
    pub reserved: u32,
}

/// What the answers of peers are counted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeerKey {
    /// The process.
    pub tgid: u32,
    /// On which CPU the answer was received.
    pub cpu: u32,
    /// The socket.
    pub socket: FileKey,
}

/// What was last heard of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Talk {
    /// When the first thing was sent since the last was received; 0 if none was.
    pub sent_ns: u64,
    /// When it was told to connect; 0 if it was not, or is connected.
    pub connect_ns: u64,
    /// The process that last did anything to it.
    pub tgid: u32,
    /// [`ASKS`], [`IS_ASKED`], or 0 if neither was seen.
    pub role: u32,
}

/// [`Talk::role`] of the end that connects.
pub const ASKS: u32 = 1;
/// Of the one that accepts.
pub const IS_ASKED: u32 = 2;

/// What became of connections, by socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connections {
    /// Segments that were sent again.
    pub retransmits: u64,
    /// Resets that were sent.
    pub resets_sent: u64,
    /// And received.
    pub resets_received: u64,
    /// How many were made by this end.
    pub connects: u64,
    /// For how long that took.
    pub connect_ns: u64,
    /// At most.
    pub connect_max_ns: u64,
    /// How many were not made.
    pub connects_failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_the_argument_and_the_way() {
        let told = word(About::Descriptor(1), Moves::Out);
        assert_eq!((told & 0xff, told >> 8 & 0xff, told & OUT, told & IN), (DESCRIPTOR, 1, OUT, 0));
        assert_eq!(word(About::Path(0), Moves::Nothing), BY_PATH);
    }

    #[test]
    fn a_socket_is_named_where_names_are() {
        assert!(size_of::<SocketName>() + 108 <= crate::block::NAME_BYTES);
    }
}
