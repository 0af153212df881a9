//! What is recorded: which processes belong to it.

use std::path::{Path, PathBuf};

use perf_ebpf::{
    comm::{COMM_BYTES, Comm},
    target::TargetKind,
};

use crate::host::{
    cgroup::{self, Cgroup},
    proc,
};

/// The target of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// These processes, with all their threads.
    Processes(Vec<u32>),
    /// Every process with this name, those that take it later too.
    Comm(String),
    /// Every process in this subtree.
    Cgroup(Cgroup),
    /// The whole machine.
    All,
    /// A program that perfprobe starts; waiting to be released.
    Command {
        /// Its process id.
        tgid: u32,
        /// The file that will be executed.
        program: PathBuf,
        /// Program and arguments.
        argv: Vec<String>,
    },
}

impl Target {
    /// How the kernel half is to decide.
    #[must_use]
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Processes(_) | Self::Comm(_) | Self::Command { .. } => TargetKind::Processes,
            Self::Cgroup(_) => TargetKind::Cgroup,
            Self::All => TargetKind::All,
        }
    }

    /// The processes that belong to it now.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Self::Processes(tgids) => tgids.clone(),
            Self::Command { tgid, .. } => vec![*tgid],
            Self::Comm(wanted) => {
                let wanted = comm_from(wanted);
                proc::all_processes()
                    .filter(|tgid| proc::comm(*tgid).is_some_and(|comm| comm_from(&comm) == wanted))
                    .collect()
            }
            Self::Cgroup(cgroup) => cgroup::processes(&cgroup.path),
            Self::All => proc::all_processes().collect(),
        }
    }

    /// The file that will be executed, where perfprobe does that.
    #[must_use]
    pub fn program(&self) -> Option<&Path> {
        if let Self::Command { program, .. } = self { Some(program) } else { None }
    }

    /// The processes whose end is the end of the recording; none where it has to be ended by the clock or the user.
    #[must_use]
    pub fn ends_with(&self) -> Vec<u32> {
        match self {
            Self::Processes(tgids) => tgids.clone(),
            Self::Command { tgid, .. } => vec![*tgid],
            Self::Comm(_) | Self::Cgroup(_) | Self::All => Vec::new(),
        }
    }
}

/// A thread's name as the kernel keeps it: cut off at 15 bytes.
#[must_use]
pub fn comm_from(name: &str) -> Comm {
    let mut comm = [0; COMM_BYTES];
    let len = name.len().min(COMM_BYTES - 1);
    comm[..len].copy_from_slice(&name.as_bytes()[..len]);
    comm
}

/// The text of a thread's name; bytes that are no UTF-8 are replaced.
#[must_use]
pub fn comm_text(comm: &Comm) -> String {
    let len = comm.iter().position(|byte| *byte == 0).unwrap_or(COMM_BYTES);
    String::from_utf8_lossy(&comm[..len]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_the_kernel_cuts_them() {
        assert_eq!(comm_text(&comm_from("a-name-longer-than-fifteen")), "a-name-longer-t");
        assert_eq!(comm_text(&comm_from("")), "");
    }
}
