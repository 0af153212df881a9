//! Cgroups of the version 2 hierarchy, as the kernel half filters by them.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::Unsupported;

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The path in the file system.
    pub path: PathBuf,
    /// The kernel's id: the inode number of the directory.
    pub id: u64,
}

/// Where the version 2 hierarchy is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1.
#[must_use]
pub fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

/// How to mount the version 2 hierarchy where it is looked for: in its own place, or beside version 1.
#[must_use]
pub fn mount_command() -> &'static str {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|path| path.starts_with("/sys/fs/cgroup"))) {
        "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
    } else {
        "mount -t cgroup2 none /sys/fs/cgroup"
    }
}

/// Finds a cgroup by its path, either in the file system or below the mount point.
///
/// # Errors
/// When there is no version 2 hierarchy, or no such cgroup in it.
pub fn find(path: &Path) -> Result<Cgroup, Unsupported> {
    let what = format!("the cgroup {}", path.display());
    let mount = mount_point().ok_or_else(|| {
        Unsupported::new(&what, "no cgroup version 2 hierarchy is mounted", format!("mount one: {}", mount_command()))
    })?;
    let below = mount.join(path.strip_prefix("/").unwrap_or(path));
    let found = [path.to_owned(), below]
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .find(|path| path.starts_with(&mount) && path.join("cgroup.procs").exists());
    let Some(found) = found else {
        let why = if path.exists() {
            format!("it is not a directory of the version 2 hierarchy at {}", mount.display())
        } else {
            "there is no such directory".to_owned()
        };
        return Err(Unsupported::new(
            what,
            why,
            format!("name one that `find {} -name cgroup.procs` lists", mount.display()),
        ));
    };
    let id = fs::metadata(&found)
        .map_err(|error| Unsupported::new(&what, error.to_string(), "check its permissions"))?
        .ino();
    Ok(Cgroup { path: found, id })
}

/// The processes in a cgroup's subtree.
#[must_use]
pub fn processes(cgroup: &Path) -> Vec<u32> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(processes(&entry.path()));
        }
    }
    found
}
