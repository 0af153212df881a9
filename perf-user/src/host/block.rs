//! Block devices: where the kernel keeps what it knows of requests to them, and what they are called.

use std::{fs, sync::OnceLock};

use super::{
    Unsupported,
    btf::{self, Btf},
};

/// An offset in bytes, by the name of the global that the kernel half has it in.
pub type Offset = (&'static str, u32);

/// What the kernel half is told of the running kernel's block layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockOffsets {
    /// Where structures keep what is told of requests.
    pub requests: Vec<Offset>,
    /// Where they keep what leads from a request to its file; empty where one of these is not known: files are not told then.
    pub files: Vec<Offset>,
    /// The same of what leads from a page to who changed it; empty where files are not told.
    pub writeback: Vec<Offset>,
    /// The event that tells when a page is changed, on older kernels `writeback_dirty_page`.
    pub page_changes: &'static str,
    /// The same of what leads from a descriptor to the name of a file or a socket.
    pub calls: Vec<Offset>,
    /// Whether what could not be sent again is told, too.
    pub resends_tell_error: bool,
    /// The same of what is told of operations of io_uring; empty where they are not told.
    pub uring: Vec<Offset>,
    /// The event that tells when they are asked for, before 6.2 `io_uring_submit_sqe`.
    pub uring_asked: &'static str,
    /// Whether the event that tells when they are complete has the result itself: before 6.15.
    pub uring_tells_result: bool,
    /// The same of what is told of page faults; empty where their beginnings are not told.
    pub faults: Vec<Offset>,
    /// The same of what leads to page tables, and to what is mapped at an address, as far as that is known.
    pub memory: Vec<Offset>,
    /// The same of the lock of a memory's mappings; empty where it is not known.
    pub mappings_lock: Vec<Offset>,
    /// Whether it is told when threads wait for locks of the kernel, and when that ends (5.19).
    pub tells_kernel_locks: bool,
    /// Which argument of the block layer's events is the request: older kernels have the queue before it.
    pub request_argument: u32,
    /// Whether it tells when requests are asked for, and when they are complete: `block_io_start` and `block_io_done` (6.5).
    pub tells_start: bool,
}

/// A global, and the structure and member whose offset it holds.
type Wanted = (&'static str, &'static str, &'static str);

/// The disk of a request, before 5.17.
const OF_REQUEST: Wanted = ("REQUEST_DISK", "request", "rq_disk");
/// And since.
const OF_QUEUE: Wanted = ("QUEUE_DISK", "request_queue", "disk");

const REQUESTS: [Wanted; 6] = [
    ("REQUEST_QUEUE", "request", "q"),
    ("REQUEST_FLAGS", "request", "cmd_flags"),
    ("REQUEST_BYTES", "request", "__data_len"),
    ("REQUEST_SECTOR", "request", "__sector"),
    ("DISK_MAJOR", "gendisk", "major"),
    ("DISK_MINOR", "gendisk", "first_minor"),
];

const FILES: [Wanted; 23] = [
    ("REQUEST_BIO", "request", "bio"),
    ("BIO_INDEX", "bio", "bi_iter"),
    ("BIO_PAGES", "bio", "bi_io_vec"),
    ("PAGE_HEAD", "page", "compound_head"),
    ("PAGE_MAPPING", "page", "mapping"),
    ("MAPPING_INODE", "address_space", "host"),
    ("INODE_NUMBER", "inode", "i_ino"),
    ("INODE_GENERATION", "inode", "i_generation"),
    ("INODE_LINKS", "inode", "i_nlink"),
    ("INODE_NAMES", "inode", "i_dentry"),
    ("INODE_SYSTEM", "inode", "i_sb"),
    ("SYSTEM_DEVICE", "super_block", "s_dev"),
    ("SYSTEM_DISK", "super_block", "s_bdev"),
    ("SYSTEM_MAGIC", "super_block", "s_magic"),
    ("NAME_HOOK", "dentry", "d_u"),
    ("NAME_PARENT", "dentry", "d_parent"),
    ("NAME_TEXT", "dentry", "d_name"),
    ("FILE_INODE", "file", "f_inode"),
    ("FILE_FLAGS", "file", "f_flags"),
    ("TASK_FILES", "task_struct", "files"),
    ("FILES_TABLE", "files_struct", "fdt"),
    ("TABLE_FILES", "fdtable", "fd"),
    ("TABLE_SIZE", "fdtable", "max_fds"),
];

const CALLS: [Wanted; 14] = [
    ("FILE_ENTRY", "file", "f_path"),
    ("FILE_SOCKET", "file", "private_data"),
    ("SOCKET_SOCK", "socket", "sk"),
    ("SOCK_FAMILY", "sock_common", "skc_family"),
    ("SOCK_STATE", "sock_common", "skc_state"),
    ("SOCK_KIND", "sock", "sk_type"),
    ("SOCK_PORT", "inet_sock", "inet_sport"),
    ("SOCK_PEER_PORT", "sock_common", "skc_dport"),
    ("SOCK_PEER", "sock_common", "skc_daddr"),
    ("SOCK_PEER_6", "sock_common", "skc_v6_daddr"),
    ("UNIX_ADDRESS", "unix_sock", "addr"),
    ("UNIX_PEER", "unix_sock", "peer"),
    ("ADDRESS_BYTES", "unix_address", "len"),
    ("ADDRESS_NAME", "unix_address", "name"),
];

const WRITEBACK: [Wanted; 2] = [("PAGE_INDEX", "folio", "index"), ("TASK_FLAGS", "task_struct", "flags")];

const URING: [Wanted; 3] = [
    ("OPERATION_FILE", "io_kiocb", "file"),
    ("OPERATION_KIND", "io_kiocb", "opcode"),
    ("COMPLETION_RESULT", "io_uring_cqe", "res"),
];

const FAULTS: [Wanted; 5] = [
    ("TASK_NO_FAULTS", "task_struct", "pagefault_disabled"),
    ("TASK_MEMORY", "task_struct", "mm"),
    ("AREA_START", "vm_area_struct", "vm_start"),
    ("AREA_FILE", "vm_area_struct", "vm_file"),
    ("AREA_MEMORY", "vm_area_struct", "vm_mm"),
];

const MEMORY: [Wanted; 2] = [("TOUCHED_MEMORY", "task_struct", "mm"), ("MEMORY_TABLES", "mm_struct", "pgd")];

const AREAS: [Wanted; 3] = [
    ("AREA_FLAGS", "vm_area_struct", "vm_flags"),
    ("AREA_FILE", "vm_area_struct", "vm_file"),
    ("AREA_MEMORY", "vm_area_struct", "vm_mm"),
];

const MAPPINGS_LOCK: [Wanted; 2] =
    [("LOCKED_MEMORY", "task_struct", "mm"), ("MAPPINGS_LOCK", "mm_struct", "mmap_lock")];

/// Offsets from the running kernel's BTF: they are read once.
///
/// # Errors
/// When the kernel has no BTF, or its structures lack a member that is needed to tell of requests.
pub fn block_offsets() -> Result<&'static BlockOffsets, Unsupported> {
    static KNOWN: OnceLock<Result<BlockOffsets, Unsupported>> = OnceLock::new();
    KNOWN.get_or_init(read).as_ref().map_err(Clone::clone)
}

fn read() -> Result<BlockOffsets, Unsupported> {
    let missing = |why: String| {
        let remedy = "use a kernel built with CONFIG_BLOCK=y and CONFIG_DEBUG_INFO_BTF=y, or record other events";
        Unsupported::new("recording requests to block devices", why, remedy)
    };
    let data = fs::read(btf::VMLINUX)
        .map_err(|error| missing(format!("the kernel's BTF at {} cannot be read ({error})", btf::VMLINUX)))?;
    let btf = Btf::parse(&data).map_err(|error| missing(error.to_string()))?;
    let has_own_disk = btf.member_offset("request", "rq_disk").is_some();
    let disk = if has_own_disk { OF_REQUEST } else { OF_QUEUE };
    let offset = |(global, structure, member): Wanted| {
        let offset = btf.member_offset(structure, member);
        let offset = offset.ok_or_else(|| missing(format!("the kernel's BTF does not describe {structure}.{member}")));
        Ok::<Offset, Unsupported>((global, offset?))
    };
    // Before 5.19, the event of completions does not tell of which operation. The first parameter is the tracepoint's own data.
    let completes = btf.parameters("btf_trace_io_uring_complete");
    let asked = [("io_uring_submit_req", "btf_trace_io_uring_submit_req", 2)];
    let asked = asked.into_iter().chain([("io_uring_submit_sqe", "btf_trace_io_uring_submit_sqe", 3)]);
    let asked = asked.filter(|(_, name, count)| btf.parameters(name) == Some(*count)).map(|(event, ..)| event).next();
    let all = |wanted: &[Wanted]| wanted.iter().map(|wanted| file_offset(&btf, *wanted)).collect();
    let [uring, faults, files, writeback]: [Option<Vec<Offset>>; 4] =
        [all(&URING), all(&FAULTS), all(&FILES), all(&WRITEBACK)];
    let sequence = file_offset(&btf, ("MEMORY_SEQUENCE", "mm_struct", "mm_lock_seq"));
    // One behind the other, as the kernel half reads them.
    let heap =
        ["start_brk", "brk", "start_stack"].map(|member| file_offset(&btf, ("MEMORY_HEAP", "mm_struct", member)));
    let heap = match heap {
        [Some((name, start)), Some((_, end)), Some((_, stack))] if (end, stack) == (start + 8, start + 16) => {
            Some((name, start))
        }
        _ => None,
    };
    let faults = faults.map(|faults| faults.into_iter().chain(sequence).chain(heap).collect::<Vec<_>>());
    let areas = all(&AREAS).map(|areas| areas.into_iter().chain(heap).collect::<Vec<_>>());
    let are_told = ["btf_trace_page_fault_user", "btf_trace_page_fault_kernel"].map(|name| btf.has_name(name));
    let page_changes = ["writeback_dirty_folio", "writeback_dirty_page"];
    let page_changes = page_changes.into_iter().find(|event| btf.has_name(&format!("btf_trace_{event}")));
    let contends = ["btf_trace_contention_begin", "btf_trace_contention_end"].map(|name| btf.has_name(name));
    let is_told = asked.is_some() && matches!(completes, Some(4 | 8));
    Ok(BlockOffsets {
        uring: uring.filter(|_| is_told).unwrap_or_default(),
        faults: faults.filter(|_| are_told == [true; 2]).unwrap_or_default(),
        memory: all(&MEMORY).into_iter().chain(areas.filter(|_| cfg!(target_arch = "x86_64"))).flatten().collect(),
        mappings_lock: all(&MAPPINGS_LOCK).unwrap_or_default(),
        tells_kernel_locks: contends == [true; 2],
        uring_asked: asked.unwrap_or_default(),
        uring_tells_result: completes == Some(8),
        requests: REQUESTS.into_iter().chain([disk]).map(offset).collect::<Result<_, _>>()?,
        writeback: writeback.filter(|_| files.is_some() && page_changes.is_some()).unwrap_or_default(),
        page_changes: page_changes.unwrap_or_default(),
        files: files.unwrap_or_default(),
        calls: CALLS.into_iter().map(|wanted| call_offset(&btf, wanted)).collect::<Option<_>>().unwrap_or_default(),
        // The sock, the buffer and the error, beside the tracepoint's own data.
        resends_tell_error: btf.parameters("btf_trace_tcp_retransmit_skb") == Some(4),
        // The tracepoint's own data comes first.
        request_argument: btf.parameters("btf_trace_block_rq_issue").map_or(0, |count| count.saturating_sub(2)),
        tells_start: btf.has_name("btf_trace_block_io_start"),
    })
}

/// The offset of a member, by itself or in a part without a name.
fn file_offset(btf: &Btf<'_>, (global, structure, member): Wanted) -> Option<Offset> {
    let offset =
        |structure, member| btf.member_offset(structure, member).or_else(|| btf.nested_offset(structure, member));
    // What newer kernels call it, from 7.0 on.
    let renamed = match global {
        "NAME_HOOK" => "d_alias",
        "PAGE_HEAD" => "compound_info",
        _ => member,
    };
    // A folio is a page, before 5.16.
    let folio = || (structure == "folio").then(|| offset("page", member)).flatten();
    let found = offset(structure, member).or_else(|| offset(structure, renamed)).or_else(folio)?;
    let within = match global {
        "NAME_TEXT" => offset("qstr", "name")?,
        "FILE_ENTRY" => offset("path", "dentry")?,
        "BIO_INDEX" => offset("bvec_iter", "bi_idx")?,
        _ => 0,
    };
    Some((global, found + within))
}

/// The same of what leads to sockets, some of which kernels need not have: 0 for these.
fn call_offset(btf: &Btf<'_>, wanted: Wanted) -> Option<Offset> {
    const OPTIONAL: [&str; 3] = ["SOCK_PEER_6", "UNIX_", "ADDRESS_"];
    let is_optional = OPTIONAL.iter().any(|beginning| wanted.0.starts_with(beginning));
    file_offset(btf, wanted).or(is_optional.then_some((wanted.0, 0)))
}

/// What a disk is called, `nvme0n1`, by its numbers as `perf_ebpf::block` has them; these if it is gone.
#[must_use]
pub fn disk_name(device: u32) -> String {
    let numbers = format!("{}:{}", device >> 20, device & 0xf_ffff);
    let link = fs::read_link(format!("/sys/dev/block/{numbers}")).ok();
    let name = link.as_deref().and_then(|link| link.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_the_names_of_sysfs() {
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let Ok(numbers) = fs::read_to_string(entry.path().join("dev")) else { continue };
            let Some((major, minor)) = numbers.trim().split_once(':') else { continue };
            let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else { continue };
            assert_eq!(disk_name(major << 20 | minor), entry.file_name().to_string_lossy());
        }
        assert_eq!(disk_name(4095 << 20 | 7), "4095:7");
    }
}
