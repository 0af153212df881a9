//! Cgroups of the version 2 hierarchy, as the kernel half filters by them.

use std::{
    collections::BTreeMap,
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

/// The hierarchies that can limit what a controller does: version 2, and version 1 with this controller.
#[derive(Debug)]
pub struct Hierarchies {
    controller: &'static str,
    /// Whether they are of version 2, and where they are mounted.
    mounts: Vec<(bool, PathBuf)>,
}

impl Hierarchies {
    /// As they are mounted now.
    #[must_use]
    pub fn of(controller: &'static str) -> Self {
        let mounts = mounts(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), controller);
        Self { controller, mounts }
    }

    /// The groups of a process, and those above them: their directories, and their paths.
    #[must_use]
    pub fn groups(&self, tgid: u32) -> BTreeMap<PathBuf, String> {
        let own = fs::read_to_string(format!("/proc/{tgid}/cgroup")).unwrap_or_default();
        let groups = own.lines().filter_map(|line| group(line, self.controller, &self.mounts));
        let above = groups.flat_map(|(mount, group)| {
            let directory = |above: &Path| mount.join(above.strip_prefix("/").unwrap_or(above));
            Path::new(group).ancestors().map(move |above| (directory(above), above.to_string_lossy().into_owned()))
        });
        above.collect()
    }
}

/// Where the hierarchies are that can limit: version 2, and version 1 with this controller.
fn mounts(text: &str, controller: &str) -> Vec<(bool, PathBuf)> {
    let mounts = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let (path, kind, options) = (fields.get(1)?, fields.get(2)?, fields.get(3)?);
        let is_2 = *kind == "cgroup2";
        (is_2 || *kind == "cgroup" && options.split(',').any(|option| option == controller))
            .then(|| (is_2, path.into()))
    });
    mounts.collect()
}

/// From a line of `/proc/PID/cgroup`: the hierarchy, and the path in it.
fn group<'a>(line: &'a str, controller: &str, mounts: &'a [(bool, PathBuf)]) -> Option<(&'a Path, &'a str)> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_2 = number == "0" && controllers.is_empty();
    if !is_2 && !controllers.split(',').any(|one| one == controller) {
        return None;
    }
    let (_, mount) = mounts.iter().find(|(mount_is_2, _)| *mount_is_2 == is_2)?;
    Some((mount, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_in_the_hierarchy_that_has_the_controller() {
        let mounts = mounts(
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\nnone /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n\
             none /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n",
            "cpu",
        );
        let found =
            |line| group(line, "cpu", &mounts).map(|(mount, path)| (mount.to_string_lossy().into_owned(), path));
        assert_eq!(found("0::/a/b"), Some(("/sys/fs/cgroup/unified".into(), "/a/b")));
        assert_eq!(found("1:cpu,cpuacct:/x:y"), Some(("/sys/fs/cgroup/cpu".into(), "/x:y")));
        assert_eq!(found("3:cpuset:/"), None);
        assert_eq!(found("nonsense"), None);
    }
}
