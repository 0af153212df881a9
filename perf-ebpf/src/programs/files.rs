//! Which file a request to a device is for: by the pages that it reads or writes, or by the descriptor of the running call.

use aya_ebpf::{
    Global,
    bindings::BPF_ANY,
    helpers::{bpf_get_current_task, generated::bpf_probe_read_kernel_str},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use core::ffi::c_void;
use perf_ebpf::{
    block::{FileKey, FileName, NAME_BYTES, PART_BYTES},
    counters::Counter,
    file_calls::PATH,
};

use super::{
    counters::{count, counters},
    target::{read_u32, read_u64},
};

/// 1 if all of what follows is known: where structures of the running kernel keep their members, from BTF.
#[unsafe(no_mangle)]
static FILES_TOLD: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static REQUEST_BIO: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static BIO_PAGES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static BIO_INDEX: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PAGE_HEAD: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PAGE_MAPPING: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static MAPPING_INODE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static INODE_NUMBER: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static INODE_GENERATION: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static INODE_LINKS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static INODE_NAMES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static INODE_SYSTEM: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SYSTEM_DEVICE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SYSTEM_DISK: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SYSTEM_MAGIC: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NAME_HOOK: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NAME_PARENT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NAME_TEXT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FILE_INODE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FILE_FLAGS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_FILES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FILES_TABLE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TABLE_FILES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TABLE_SIZE: Global<u32> = Global::new(0);

/// The names of files that requests and calls of a window are for.
#[map]
static FILE_NAMES_0: HashMap<FileKey, FileName> = HashMap::with_max_entries(1, 0);

#[map]
static FILE_NAMES_1: HashMap<FileKey, FileName> = HashMap::with_max_entries(1, 0);

/// A name in the making, for which the stack of a program has no room.
#[map]
pub(super) static NAME_MEMORY: PerCpuArray<FileName> = PerCpuArray::with_max_entries(1, 0);

/// The file that a request is for, which the running thread asks for in this call with this first argument; none if that is not
/// known. Only with the memory for programs that run in the middle of what a thread does.
#[inline(always)]
pub(super) fn file(request: *const c_void, bytes: u32, call: u32, argument: u64, generation: u32) -> FileKey {
    if FILES_TOLD.load() == 0 {
        return FileKey::default();
    }
    let open = if takes_descriptor(call) { file_of(argument) } else { core::ptr::null() };
    // Past the page cache, pages are the program's own, which may be those of another file.
    let direct = !open.is_null() && read_u32(open, FILE_FLAGS.load()) & O_DIRECT != 0;
    let mapping = if direct || bytes == 0 { core::ptr::null() } else { mapping_of(page_of(request)) };
    let inode = if !mapping.is_null() {
        of_disk(owner_of(mapping))
    } else if !open.is_null() && (direct || bytes == 0) {
        // Else it is memory that is swapped, or the file system's own.
        pointer(open, FILE_INODE.load())
    } else {
        core::ptr::null()
    };
    if inode.is_null() {
        return FileKey::default();
    }
    let file = key_of(inode, system_of(inode));
    let is_deleted = is_deleted(inode);
    if !is_named(file, is_deleted, generation) {
        let hook = pointer(inode, INODE_NAMES.load());
        if !hook.is_null() {
            let entry = (hook as u64).wrapping_sub(u64::from(NAME_HOOK.load())) as *const c_void;
            take_note(file, entry, is_deleted, PATH, generation);
        }
    }
    file
}

/// The file system of an inode.
#[inline(always)]
pub(super) fn system_of(inode: *const c_void) -> *const c_void {
    pointer(inode, INODE_SYSTEM.load())
}

/// The file of an inode of this file system.
#[inline(always)]
pub(super) fn key_of(inode: *const c_void, system: *const c_void) -> FileKey {
    let system = read_u32(system, SYSTEM_DEVICE.load());
    let generation = read_u32(inode, INODE_GENERATION.load());
    FileKey { inode: read_u64(inode, INODE_NUMBER.load()), system, generation }
}

/// The inode of an open file.
#[inline(always)]
pub(super) fn inode_of(file: *const c_void) -> *const c_void {
    pointer(file, FILE_INODE.load())
}

/// What kind of file system it is.
#[inline(always)]
pub(super) fn magic_of(system: *const c_void) -> u32 {
    read_u32(system, SYSTEM_MAGIC.load())
}

/// Whose pages these are.
#[inline(always)]
pub(super) fn owner_of(mapping: *const c_void) -> *const c_void {
    pointer(mapping, MAPPING_INODE.load())
}

/// Whether an inode is that of a file of its file system.
#[inline(always)]
pub(super) fn is_inode_of(inode: *const c_void, file: FileKey) -> bool {
    (read_u64(inode, INODE_NUMBER.load()), read_u32(inode, INODE_GENERATION.load())) == (file.inode, file.generation)
}

/// Whether no directory has it any more.
#[inline(always)]
pub(super) fn is_deleted(inode: *const c_void) -> bool {
    read_u32(inode, INODE_LINKS.load()) == 0
}

#[inline(always)]
fn names(generation: u32) -> &'static HashMap<FileKey, FileName> {
    if generation == 0 { &FILE_NAMES_0 } else { &FILE_NAMES_1 }
}

/// Whether its name is known in this window; takes note that it was deleted.
#[inline(always)]
pub(super) fn is_named(file: FileKey, is_deleted: bool, generation: u32) -> bool {
    let Some(known) = names(generation).get_ptr_mut(file) else { return false };
    if is_deleted {
        // SAFETY: memory of the map; all who write to it write the same.
        unsafe { (*known).is_deleted = 1 };
    }
    true
}

/// Keeps the name that [`NAME_MEMORY`] holds. Without a name it has its number.
#[inline(always)]
pub(super) fn keep_name(file: FileKey, name: &FileName, generation: u32) {
    if names(generation).insert(file, name, u64::from(BPF_ANY)).is_err()
        && let Some(counters) = counters(generation)
    {
        count(counters, Counter::NamesMissed);
    }
}

/// Keeps the name that a directory's entry gives a file.
#[inline(always)]
pub(super) fn take_note(file: FileKey, entry: *const c_void, is_deleted: bool, kind: u32, generation: u32) {
    if let Some(name) = name(entry, is_deleted, kind) {
        keep_name(file, name, generation);
    }
}

/// A pointer in a structure of the kernel; null if it cannot be read.
#[inline(always)]
pub(super) fn pointer(structure: *const c_void, offset: u32) -> *const c_void {
    read_u64(structure, offset) as *const c_void
}

/// The first page that a request reads or writes; null if it has none.
#[inline(always)]
pub(super) fn page_of(request: *const c_void) -> *const c_void {
    let bio = pointer(request, REQUEST_BIO.load());
    if bio.is_null() {
        return bio;
    }
    // The first part of the first, or of what is left of it where it was split: `bio_vec.bv_page` is its first member.
    let part = read_u32(bio, BIO_INDEX.load());
    let page = read_u64(pointer(bio, BIO_PAGES.load()), part.wrapping_mul(BIO_PART_BYTES)) as *const c_void;
    // A page that is not the first of several says where that is, or, from 7.0 on, which bits of its own address to take.
    let head = read_u64(page, PAGE_HEAD.load());
    if head & 1 == 0 {
        return page;
    }
    (if head >= HEAD_MASKS { page as u64 & head } else { head - 1 }) as *const c_void
}

/// Whose page it is, a file's or a disk's; null if it is memory of a process, or that is not known.
#[inline(always)]
pub(super) fn mapping_of(page: *const c_void) -> *const c_void {
    if page.is_null() {
        return page;
    }
    let mapping = pointer(page, PAGE_MAPPING.load());
    // Its lowest bits say what else it can be: memory of a process, above all.
    if mapping.is_null() || mapping as u64 & 3 != 0 {
        return core::ptr::null();
    }
    mapping
}

/// The inode if its file system is on a disk, else null: file systems in memory have none, nor has the one whose files the disks
/// themselves are, with what file systems keep there for themselves.
#[inline(always)]
pub(super) fn of_disk(inode: *const c_void) -> *const c_void {
    let system = system_of(inode);
    let is_on_disk = !pointer(system, SYSTEM_DISK.load()).is_null() || magic_of(system) == BTRFS;
    if is_on_disk { inode } else { core::ptr::null() }
}

/// `BTRFS_SUPER_MAGIC`: it has several disks, and names none.
const BTRFS: u32 = 0x9123_683e;

/// Of `bio_vec`: a page, and how much of it from where.
const BIO_PART_BYTES: u32 = 16;

/// No page is described at this address or above.
const HEAD_MASKS: u64 = 0xffff_ffff_0000_0000;

/// The open file of a descriptor of the running thread; null if there is none.
#[inline(always)]
pub(super) fn file_of(descriptor: u64) -> *const c_void {
    // SAFETY: takes no pointer.
    let task = unsafe { bpf_get_current_task() } as *const c_void;
    let table = pointer(pointer(task, TASK_FILES.load()), FILES_TABLE.load());
    if table.is_null() || descriptor >= u64::from(read_u32(table, TABLE_SIZE.load())) {
        return core::ptr::null();
    }
    pointer(pointer(table, TABLE_FILES.load()), (descriptor as u32) << 3)
}

#[cfg(bpf_target_arch = "x86_64")]
const O_DIRECT: u32 = 0o40000;
#[cfg(not(bpf_target_arch = "x86_64"))]
const O_DIRECT: u32 = 0o200000;

/// Whether the first argument of a call is the descriptor of a file that it reads, writes or syncs.
#[inline(always)]
fn takes_descriptor(call: u32) -> bool {
    // read, write; pread64, pwrite64, readv, writev; fsync, fdatasync, ftruncate; sync_file_range, fallocate; preadv, pwritev;
    // syncfs; preadv2, pwritev2.
    #[cfg(bpf_target_arch = "x86_64")]
    return matches!(call, 0 | 1 | 17..=20 | 74 | 75 | 77 | 277 | 285 | 295 | 296 | 306 | 327 | 328);
    #[cfg(not(bpf_target_arch = "x86_64"))]
    return matches!(call, 46 | 47 | 63..=70 | 82..=84 | 267 | 286 | 287);
}

/// The path of a file from the root of its file system, the last part first, by its entry in a directory.
#[inline(always)]
fn name(mut entry: *const c_void, is_deleted: bool, kind: u32) -> Option<&'static FileName> {
    // SAFETY: this CPU's.
    let name = unsafe { &mut *NAME_MEMORY.get_ptr_mut(0)? };
    (name.is_deleted, name.kind) = (u32::from(is_deleted), kind);
    (name.used, name.is_whole) = (0, 0);
    let mut part = 0;
    while part < PARTS {
        part += 1;
        let parent = pointer(entry, NAME_PARENT.load());
        // What is in no directory has a name of its own; that of a root is a slash.
        if parent.is_null() || (parent == entry && part > 1) {
            name.is_whole = 1;
            break;
        }
        if name.used >= NAME_BYTES as u32 {
            break;
        }
        let at = name.used;
        // SAFETY: a local. Read as if it could be anything: see `count_length`.
        let at = unsafe { (&raw const at).read_volatile() } as usize & (NAME_BYTES - 1);
        let from = text_of(entry);
        // SAFETY: the text is longer by what is read at most; the helper fails rather than faults.
        let read =
            unsafe { bpf_probe_read_kernel_str(name.text.as_mut_ptr().add(at).cast(), PART_BYTES as u32, from.cast()) };
        if read <= 1 {
            break;
        }
        name.used += read as u32;
        entry = parent;
    }
    Some(name)
}

/// The text of an entry of a directory.
#[inline(always)]
pub(super) fn text_of(entry: *const c_void) -> *const c_void {
    pointer(entry, NAME_TEXT.load())
}

/// The file, directories that are told at most, and the look whether the root follows.
const PARTS: usize = 14;
