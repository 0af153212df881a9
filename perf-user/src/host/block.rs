//! Block devices: where the kernel keeps what it knows of requests to them, and what they are called.

use std::{collections::HashMap, fs, sync::OnceLock};

use super::{
    Unsupported,
    btf::{self, Btf},
};

/// Offsets in the running kernel's structures of the block layer, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockOffsets {
    /// `request.rq_disk`; 0 where it is the queue that has the disk (5.17).
    pub request_disk: u32,
    /// `request.q`.
    pub request_queue: u32,
    /// `request.cmd_flags`.
    pub request_flags: u32,
    /// `request.__data_len`.
    pub request_bytes: u32,
    /// `request.__sector`.
    pub request_sector: u32,
    /// `request_queue.disk`; 0 where there is none.
    pub queue_disk: u32,
    /// `gendisk.major`.
    pub disk_major: u32,
    /// `gendisk.first_minor`.
    pub disk_minor: u32,
    /// Which argument of the block layer's events is the request: older kernels have the queue before it.
    pub request_argument: u32,
    /// Whether it tells when requests are asked for, and when they are complete: `block_io_start` and `block_io_done` (6.5).
    pub tells_start: bool,
}

/// Offsets of what leads from a request to its file, by the names of the globals that the kernel half has them in.
pub type FileOffsets = [(&'static str, u32); 22];

/// Where the kernel keeps which file a request is for: what each member is called, and in which structure.
const FILE_MEMBERS: [(&str, &str, &str); 22] = [
    ("REQUEST_BIO", "request", "bio"),
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

/// The same from the running kernel's BTF, read once; `None` where it lacks one: files are not told then.
#[must_use]
pub fn file_offsets() -> Option<&'static FileOffsets> {
    static KNOWN: OnceLock<Option<FileOffsets>> = OnceLock::new();
    let read = || {
        let data = fs::read(btf::VMLINUX).ok()?;
        let btf = Btf::parse(&data).ok()?;
        let offset =
            |structure, member| btf.member_offset(structure, member).or_else(|| btf.nested_offset(structure, member));
        let text = offset("qstr", "name")?;
        let mut offsets = FILE_MEMBERS.map(|(global, _, _)| (global, 0));
        for ((global, at), (_, structure, member)) in offsets.iter_mut().zip(FILE_MEMBERS) {
            // What newer kernels call it, from 7.0 on.
            let renamed = || match *global {
                "NAME_HOOK" => offset(structure, "d_alias"),
                "PAGE_HEAD" => offset(structure, "compound_info"),
                _ => None,
            };
            *at = offset(structure, member).or_else(renamed)? + if *global == "NAME_TEXT" { text } else { 0 };
        }
        Some(offsets)
    };
    KNOWN.get_or_init(read).as_ref()
}

/// Offsets from the running kernel's BTF: they are read once.
///
/// # Errors
/// When the kernel has no BTF, or its structures lack a member.
pub fn block_offsets() -> Result<BlockOffsets, Unsupported> {
    static KNOWN: OnceLock<Result<BlockOffsets, Unsupported>> = OnceLock::new();
    KNOWN.get_or_init(read).clone()
}

fn read() -> Result<BlockOffsets, Unsupported> {
    let missing = |why: String| {
        let remedy = "use a kernel built with CONFIG_BLOCK=y and CONFIG_DEBUG_INFO_BTF=y, or record other events";
        Unsupported::new("recording requests to block devices", why, remedy)
    };
    let data = fs::read(btf::VMLINUX)
        .map_err(|error| missing(format!("the kernel's BTF at {} cannot be read ({error})", btf::VMLINUX)))?;
    let btf = Btf::parse(&data).map_err(|error| missing(error.to_string()))?;
    let offset = |structure, member| {
        btf.member_offset(structure, member)
            .ok_or_else(|| missing(format!("the kernel's BTF does not describe {structure}.{member}")))
    };
    let of_request = btf.member_offset("request", "rq_disk").unwrap_or(0);
    Ok(BlockOffsets {
        request_disk: of_request,
        request_queue: offset("request", "q")?,
        request_flags: offset("request", "cmd_flags")?,
        request_bytes: offset("request", "__data_len")?,
        request_sector: offset("request", "__sector")?,
        queue_disk: if of_request == 0 { offset("request_queue", "disk")? } else { 0 },
        disk_major: offset("gendisk", "major")?,
        disk_minor: offset("gendisk", "first_minor")?,
        // The tracepoint's own data comes first.
        request_argument: btf.parameters("btf_trace_block_rq_issue").map_or(0, |count| count.saturating_sub(2)),
        tells_start: btf.has_name("btf_trace_block_io_start"),
    })
}

/// The names of disks, by their numbers as `perf_ebpf::block` has them.
#[derive(Debug, Default)]
pub struct Disks {
    names: HashMap<u32, String>,
}

impl Disks {
    /// What the disk is called, `nvme0n1`; its numbers if it is gone.
    pub fn name(&mut self, device: u32) -> &str {
        self.names.entry(device).or_insert_with(|| name(device))
    }
}

fn name(device: u32) -> String {
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
            assert_eq!(Disks::default().name(major << 20 | minor), entry.file_name().to_string_lossy());
        }
        assert_eq!(Disks::default().name(4095 << 20 | 7), "4095:7");
    }
}
