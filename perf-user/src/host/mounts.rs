//! Where file systems are mounted: from a path in a file system to the path that people know.

use std::{collections::HashMap, fs};

/// The mounts of this process's namespace, by the number of their file system as the kernel has it.
#[derive(Debug, Default)]
pub struct Mounts {
    /// What of the file system is shown, and where.
    by_system: HashMap<u32, Vec<(String, String)>>,
}

impl Mounts {
    /// Those of now; none if the kernel does not show them.
    #[must_use]
    pub fn read() -> Self {
        // Mount points have whatever names somebody gave them.
        Self::parse(&String::from_utf8_lossy(&fs::read("/proc/self/mountinfo").unwrap_or_default()))
    }

    /// Fields: id, parent, `major:minor`, the root within the file system, the mount point, ... (proc_pid_mountinfo(5)).
    fn parse(text: &str) -> Self {
        let mut by_system: HashMap<u32, Vec<_>> = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split(' ').skip(2);
            let (Some(numbers), Some(root), Some(point)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Some((major, minor)) = numbers.split_once(':') else { continue };
            let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else { continue };
            by_system.entry(major << 20 | minor).or_default().push((unescaped(root), unescaped(point)));
        }
        Self { by_system }
    }

    /// The path, from the root of this namespace, of one from the root of a file system, which begins with a slash; `None` if it is
    /// mounted nowhere here.
    #[must_use]
    pub fn path(&self, system: u32, path: &str) -> Option<String> {
        let mounts = self.by_system.get(&system)?;
        let shown = mounts.iter().filter_map(|(root, point)| {
            let rest = path.strip_prefix(root.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then_some((root.len(), point, rest))
        });
        // The one that shows most of the path as a mount, of several the first.
        let (_, point, rest) = shown.reduce(|best, next| if next.0 < best.0 { next } else { best })?;
        Some(format!("{}{rest}", point.trim_end_matches('/')))
    }
}

/// Spaces and the like are octal there: `\040`.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| *byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                out.push(code);
                at += 4;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_mounts_that_show_them() {
        let mounts = Mounts::parse(
            "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
             23 22 254:0 /var/lib/x/data /srv/data rw - ext4 /dev/vda rw\n\
             24 22 8:17 / /mnt/my\\040disk rw - xfs /dev/sdb1 rw\n\
             25 22 8:33 /only/this /part rw - xfs /dev/sdc1 rw\n\
             nonsense\n",
        );
        let path = |major: u32, minor: u32, path| mounts.path(major << 20 | minor, path);
        assert_eq!(path(254, 0, "/home/a").as_deref(), Some("/home/a"));
        assert_eq!(path(254, 0, "/var/lib/x/data/f").as_deref(), Some("/var/lib/x/data/f"), "the whole is shown, too");
        assert_eq!(path(8, 17, "/f").as_deref(), Some("/mnt/my disk/f"));
        assert_eq!(path(8, 33, "/only/this/f").as_deref(), Some("/part/f"));
        assert_eq!(path(8, 33, "/only/thistle"), None);
        assert_eq!(path(9, 1, "/f"), None);
    }
}
