//! The crates whose code is in the binary.

use anyhow::Result;

use super::triple;
use crate::arch::Arch;
use crate::{command, workspace};

/// A crate of the binary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    /// As it says itself.
    pub(super) licence: String,
    /// Whether it is part of this project.
    pub(super) own: bool,
}

/// Those of a binary for this architecture, sorted.
pub(super) fn of_binary(arch: Arch) -> Result<Vec<Crate>> {
    let mut tree = command::cargo();
    tree.args(["tree", "-p", "perf-user", "-e", "normal", "--prefix", "none", "--format", "{p}\t{l}", "--target"]);
    let tree = command::read(tree.arg(triple(arch)).current_dir(workspace::root()))?;
    let mut crates: Vec<Crate> = tree.lines().filter_map(parse).collect();
    crates.sort();
    crates.dedup();
    Ok(crates)
}

/// `NAME vVERSION (FOLDER)`, a tab, its licence, and ` (*)` if a line before has told already.
fn parse(line: &str) -> Option<Crate> {
    let (package, licence) = line.split_once('\t')?;
    let (name, rest) = package.split_once(" v")?;
    let version = rest.split(' ').next()?.to_owned();
    let licence = licence.trim_end_matches(" (*)").to_owned();
    Some(Crate { name: name.to_owned(), version, licence, own: rest.contains("(/") })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_of_the_tree() {
        let told = |line| parse(line).map(|found| (found.name, found.version, found.licence, found.own));
        let zstd = || Some(("zstd".into(), "0.14.3".into(), "BSD-3-Clause".into(), false));
        assert_eq!(told("zstd v0.14.3\tBSD-3-Clause"), zstd());
        assert_eq!(told("zstd v0.14.3\tBSD-3-Clause (*)"), zstd());
        assert_eq!(told("zstd v0.14.3 (proc-macro)\tBSD-3-Clause"), zstd());
        assert_eq!(told("perf-user v0.1.0 (/x/perf-user)\tMIT").map(|own| own.3), Some(true));
        assert_eq!(told(""), None);
    }
}
