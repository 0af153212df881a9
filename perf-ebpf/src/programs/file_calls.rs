//! System calls on files and sockets: what they were about, and how much they moved.

use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    helpers::bpf_probe_read_user_str_bytes,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use core::ffi::c_void;
use perf_ebpf::{
    block::{FileKey, FileName, NAME_BYTES},
    calls::CallTime,
    counters::{Counter, Counters},
    file_calls::{
        ACCEPTS, BY_PATH, BYTES, CLOSED, CONNECTS, DESCRIPTOR, FAULT_CALLS, FileCallKey, FileCalls, FileTimeKey, GIVEN,
        GIVEN_SYSTEM, OPENED, PATH, PIPE, PLACELESS, REST_SYSTEM,
    },
    stack::mix,
};

use super::{
    call_arguments::arguments,
    calls::{MAX_ERRNO, OPEN_CALLS, add_time},
    counters::{count_length, counters, generation, sum_of},
    files::{
        NAME_MEMORY, file_of, inode_of, is_deleted, is_named, keep_name, key_of, magic_of, pointer, system_of,
        take_note, text_of,
    },
    sockets,
    stacks::Busy,
    target::{cpu, read_u64},
};

/// Where `file` of the running kernel keeps its directory's entry: from BTF; 0 unless files are recorded.
#[unsafe(no_mangle)]
static FILE_ENTRY: Global<u32> = Global::new(0);

/// What each call is about: [`perf_ebpf::file_calls::word`]; 0 for what is no matter of files.
#[map]
static FILE_CALL_WORDS: Array<u32> = Array::with_max_entries(1, 0);

#[map]
static FILE_CALLS_0: HashMap<FileCallKey, FileCalls> = HashMap::with_max_entries(1, 0);

#[map]
static FILE_CALLS_1: HashMap<FileCallKey, FileCalls> = HashMap::with_max_entries(1, 0);

/// The calls on files for which those have no room, together.
#[map]
static FILE_REST_0: HashMap<FileCallKey, FileCalls> = HashMap::with_max_entries(1, 0);

#[map]
static FILE_REST_1: HashMap<FileCallKey, FileCalls> = HashMap::with_max_entries(1, 0);

/// The time in these calls, by thread, call, stack and file.
#[map]
static FILE_TIMES_0: HashMap<FileTimeKey, CallTime> = HashMap::with_max_entries(1, 0);

#[map]
static FILE_TIMES_1: HashMap<FileTimeKey, CallTime> = HashMap::with_max_entries(1, 0);

/// No calls: what a new entry begins with, for which the stack of a program has no room.
#[map]
static NO_FILE_CALLS: PerCpuArray<FileCalls> = PerCpuArray::with_max_entries(1, 0);

/// What was found of a call; for the same reason.
#[repr(C)]
struct Found {
    key: FileCallKey,
    arguments: [u64; 8],
    /// Where the kernel keeps the file; 0 if there is none.
    opened: u64,
    /// And the socket.
    socket: u64,
    ended: Ended,
}

#[map]
static FOUND: PerCpuArray<Found> = PerCpuArray::with_max_entries(1, 0);

/// What a call is about; 0, too, where files are not recorded, which verifiers know, so that all that follows is left out.
#[inline(always)]
pub(super) fn word(call: u32) -> u32 {
    if FILE_ENTRY.load() == 0 {
        return 0;
    }
    FILE_CALL_WORDS.get(call).map_or(0, |word| *word)
}

/// What the last call was about that was looked at.
#[inline(always)]
pub(super) fn found() -> FileKey {
    // SAFETY: this CPU's, and it is claimed.
    FOUND.get_ptr(0).map_or(FileKey::default(), |found| unsafe { (*found).key.file })
}

/// Where the loss is counted of time in calls that found no place.
pub(super) const CALL_LOSSES: [Counter; 2] = [Counter::FileTimeLostFull, Counter::FileTimeLostBusy];

/// Adds the time in the call that was looked at last.
#[inline(always)]
pub(super) fn add_time_of_found(
    memory: &mut FileTimeKey,
    ns: u64,
    generation: u32,
    counters: *mut Counters,
    losses: [Counter; 2],
) {
    let times = if generation == 0 { &FILE_TIMES_0 } else { &FILE_TIMES_1 };
    memory.file = found();
    memory.cpu = cpu();
    add_time(times, memory, ns, counters, losses);
}

/// Where the kernel keeps the file of the descriptor that a call is made with; 0 if there is none.
#[inline(always)]
pub(super) fn opened(word: u32, registers: *const c_void) -> u64 {
    let Some([a, b, ..]) = arguments(registers) else { return 0 };
    // Those that copy from one to another have it in the second.
    file_of(if word >> 8 & 7 == 0 { a } else { b } & 0xffff_ffff) as u64
}

/// The file that a call is about to close.
#[inline(always)]
pub(super) fn closed(word: u32, registers: *const c_void) -> FileKey {
    let Some(busy) = Busy::claim() else { return FileKey::default() };
    file_find(word, registers as u64, 0, generation());
    let file = found();
    if let Some(found) = FOUND.get_ptr(0) {
        // SAFETY: this CPU's, and it is claimed.
        sockets::is_closed(unsafe { (*found).socket });
    }
    busy.give_back();
    file
}

/// Counts the call that a thread is in, and that returns. Only with the memory for programs that run in the middle of what a thread
/// does. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn file_calls_keep(
    tid: u32,
    registers: u64,
    result: i64,
    length_ns: u64,
    generation: u32,
) -> i64 {
    let Some(open) = OPEN_CALLS.get_ptr(&tid) else { return 1 };
    // SAFETY: the entry is the running thread's, which nothing else writes to.
    let open = unsafe { &*open };
    let word = word(open.call);
    file_find(word, registers, result, generation);
    let Some(found) = FOUND.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's, and it is claimed.
    let found = unsafe { &mut *found };
    match word & 0xff {
        CLOSED => found.key.file = open.file,
        // Another thread has put another file in its place since.
        DESCRIPTOR if found.opened != open.opened => (found.key.file, found.socket) = (FileKey::default(), 0),
        _ => {}
    }
    (found.key.tgid, found.key.call) = (open.tgid, open.call);
    found.ended = Ended { word, result, start_ns: open.start_ns, length_ns, from_disk: open.requests != 0 };
    file_found_ended(generation)
}

/// A call, or an operation, that ended.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Ended {
    pub(super) word: u32,
    pub(super) result: i64,
    pub(super) start_ns: u64,
    pub(super) length_ns: u64,
    pub(super) from_disk: bool,
}

/// Counts what ended, under what was found of it: [`FOUND`]. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn file_found_ended(generation: u32) -> i64 {
    let (Some(found), Some(counters)) = (FOUND.get_ptr_mut(0), counters(generation)) else { return 1 };
    // SAFETY: this CPU's, and it is claimed.
    let found = unsafe { &mut *found };
    let ended = found.ended;
    let Ended { word, result, .. } = ended;
    found.key.cpu = cpu();
    if let Some(sum) = sum(found, generation, counters) {
        // SAFETY: the key names this CPU; and user space touches a generation only when no program writes to it any more.
        let sum = unsafe { &mut *sum };
        if result > 0 && word & BYTES != 0 {
            sum.bytes += result as u64;
        }
        sum.errors += u64::from((-MAX_ERRNO..0).contains(&result) && result != EAGAIN && result != EINPROGRESS);
        sum.from_disk += u64::from(ended.from_disk);
        count_length(&mut sum.lengths, ended.length_ns);
    }
    if word & ACCEPTS != 0 && result >= 0 {
        sockets::is_accepted(file_of(result as u64), found.key.tgid);
    }
    if word & CONNECTS != 0 {
        sockets::forget_talk(found.socket);
    }
    if found.socket != 0 && result > 0 {
        sockets::talk(
            found.socket,
            found.key.tgid,
            word,
            [ended.start_ns, ended.start_ns + ended.length_ns],
            generation,
        );
    }
    0
}

/// What is counted under what was found; where there is no room for it, under what stands for all such files.
#[inline(always)]
fn sum(found: &mut Found, generation: u32, counters: *mut Counters) -> Option<*mut FileCalls> {
    let calls = if generation == 0 { &FILE_CALLS_0 } else { &FILE_CALLS_1 };
    if let Some(sum) = calls.get_ptr_mut(&found.key) {
        return Some(sum);
    }
    // SAFETY: memory of the map, which is never written to.
    let none = unsafe { &*NO_FILE_CALLS.get_ptr(0)? };
    if calls.insert(&found.key, none, u64::from(BPF_NOEXIST)).is_ok() {
        return calls.get_ptr_mut(&found.key);
    }
    found.key.file = FileKey { inode: 0, system: REST_SYSTEM, generation: 0 };
    let rest = if generation == 0 { &FILE_REST_0 } else { &FILE_REST_1 };
    // Two calls: with a choice of four, the compiler does not see that all of them are within the counters.
    if found.key.call >= FAULT_CALLS {
        return sum_of(rest, &found.key, &NO_FILE_CALLS, counters, [Counter::FaultsLostFull, Counter::FaultsLostBusy]);
    }
    let lost = [Counter::FileCallsLostFull, Counter::FileCallsLostBusy];
    sum_of(rest, &found.key, &NO_FILE_CALLS, counters, lost)
}

/// Counts an operation on an open file, or on what stands `instead` of one, that ended; only with the memory, as
/// [`file_calls_keep`].
#[inline(always)]
pub(super) fn keep_operation(file: u64, instead: FileKey, tgid: u32, call: u32, ended: &Ended, generation: u32) {
    let Some(found) = FOUND.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's, and it is claimed.
    let found = unsafe { &mut *found };
    (found.key.file, found.socket) = (instead, 0);
    if file != 0 {
        file_find_open(file, 0, ended.word, generation);
    }
    (found.key.tgid, found.key.call) = (tgid, call);
    found.ended = *ended;
    file_found_ended(generation);
}

const EAGAIN: i64 = -11;
const EINPROGRESS: i64 = -115;

/// Finds what a call is about: [`FOUND`]. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn file_find(word: u32, registers: u64, result: i64, generation: u32) -> i64 {
    let Some(found) = FOUND.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's, and it is claimed.
    let found = unsafe { &mut *found };
    (found.key.file, found.socket, found.opened) = (FileKey::default(), 0, 0);
    let Some([a, b, c, d, e, f]) = arguments(registers as *const c_void) else { return 1 };
    found.arguments = [a, b, c, d, e, f, 0, 0];
    let (kind, at) = (word & 0xff, word >> 8 & 7);
    let mut descriptor = found.arguments[at as usize & 7];
    if kind == OPENED && result >= 0 {
        descriptor = result as u64;
    } else if kind == OPENED || kind == BY_PATH {
        found.key.file = given(descriptor, generation);
        if found.key.file.inode != 0 || at == 0 {
            return 0;
        }
        descriptor = found.arguments[(at - 1) as usize & 7];
    }
    let file = file_of(descriptor & 0xffff_ffff);
    if !file.is_null() {
        found.opened = file as u64;
        file_find_open(file as u64, found.arguments[1], word, generation);
    }
    0
}

/// Finds what an open file is: [`FOUND`]. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn file_find_open(file: u64, given: u64, word: u32, generation: u32) -> i64 {
    let Some(found) = FOUND.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's, and it is claimed.
    let found = unsafe { &mut *found };
    let file = file as *const c_void;
    let inode = inode_of(file);
    let system = system_of(inode);
    let magic = magic_of(system);
    if magic == SOCKFS {
        let (socket, key) = sockets::named(file, given, word, generation);
        (found.socket, found.key.file) = (socket, key);
        return 0;
    }
    let (entry, mut key) = (pointer(file, FILE_ENTRY.load()), key_of(inode, system));
    let kind = match magic {
        PIPEFS => PIPE,
        ANON_INODES => {
            // All of these have one inode.
            key.inode = mix(key.inode, read_u64(text_of(entry), 0));
            PLACELESS
        }
        _ => PATH,
    };
    let is_deleted = is_deleted(inode);
    if !is_named(key, is_deleted, generation) {
        take_note(key, entry, is_deleted, kind, generation);
    }
    found.key.file = key;
    0
}

/// `SOCKFS_MAGIC`.
const SOCKFS: u32 = 0x534f_434b;
/// `PIPEFS_MAGIC`.
const PIPEFS: u32 = 0x5049_5045;
/// `ANON_INODE_FS_MAGIC`.
const ANON_INODES: u32 = 0x0904_1934;

/// What stands for a path that a program gave; [`FileKey::inode`] is 0 if it is empty.
#[inline(always)]
fn given(path: u64, generation: u32) -> FileKey {
    let none = FileKey { inode: 0, system: GIVEN_SYSTEM, generation: 0 };
    let Some(name) = NAME_MEMORY.get_ptr_mut(0) else { return none };
    // SAFETY: this CPU's, and it is claimed.
    let name: &mut FileName = unsafe { &mut *name };
    // SAFETY: reads user memory through the helper, which fails rather than faults.
    let read = unsafe { bpf_probe_read_user_str_bytes(path as *const u8, &mut name.text[..NAME_BYTES]) };
    let used = read.map_or(0, |text| text.len() as u32);
    if used == 0 {
        return none;
    }
    let (mut id, mut at) = (u64::from(used), 0);
    while at < NAME_BYTES / 8 {
        let left = used as usize - at * 8;
        // SAFETY: within the text, which begins where its structure does.
        let word = unsafe { name.text.as_ptr().cast::<u64>().add(at).read_volatile() };
        id = mix(id, if left < 8 { word & ((1 << (left * 8)) - 1) } else { word });
        at += 1;
        if left <= 8 {
            break;
        }
    }
    let file = FileKey { inode: id | 1, ..none };
    if !is_named(file, false, generation) {
        (name.used, name.is_whole, name.is_deleted, name.kind) = (used, 0, 0, GIVEN);
        keep_name(file, name, generation);
    }
    file
}
