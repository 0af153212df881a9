//! The ways to record waits and system calls that are compared.

use std::process::Command;

use super::tools::{Ready, Tool};

/// One way, or none.
pub(super) struct Way {
    /// Names its row.
    pub(super) name: &'static str,
    pub(super) tool: Tool,
    /// Some of its words stand for others: PROGRAM is the tool, TARGET the process that works, OTHER one that sleeps.
    command: &'static str,
    /// Slows its target so much that a fiftieth of the work takes as long.
    pub(super) is_slow: bool,
    /// Leaves out children: of more processes it would record a part, and look better than it is.
    pub(super) is_of_one_process: bool,
}

const fn way(tool: Tool, name: &'static str, command: &'static str) -> Way {
    Way { name, tool, command, is_slow: false, is_of_one_process: false }
}

pub(super) const WAITS: &[Way] = &[
    way(Tool::Nothing, "A/A: nothing", ""),
    way(Tool::Perfprobe, "**perfprobe** of another process: `record`", "PROGRAM record -q -p OTHER -o out.perfprobe"),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e offcpu,sched --unwind fp --no-python`",
        "PROGRAM record -q -e offcpu,sched --unwind fp --no-python -p TARGET -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e offcpu,sched`, tables",
        "PROGRAM record -q -e offcpu,sched -p TARGET -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e offcpu,sched,offwake`, tables",
        "PROGRAM record -q -e offcpu,sched,offwake -p TARGET -o out.perfprobe",
    ),
    way(Tool::Perfprobe, "**perfprobe** `record`, tables, samples too", "PROGRAM record -q -p TARGET -o out.perfprobe"),
    way(Tool::Offcputime, "`offcputime`, the whole machine", "PROGRAM"),
    Way { is_of_one_process: true, ..way(Tool::Offcputime, "`offcputime -p`", "PROGRAM -p TARGET") },
    way(Tool::Perf, "`perf sched record`, the whole machine", "PROGRAM sched record"),
    way(Tool::Runqlat, "`runqlat`, the whole machine", "PROGRAM"),
];

pub(super) const CALLS: &[Way] = &[
    way(Tool::Nothing, "A/A: nothing", ""),
    way(
        Tool::Perfprobe,
        "**perfprobe** of another process: `record -e syscalls`",
        "PROGRAM record -q -e syscalls -p OTHER -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** of another process, untimed",
        "setpriv --bounding-set -sys_admin --inh-caps -sys_admin PROGRAM record -q -e syscalls -p OTHER -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e syscalls`, tables",
        "PROGRAM record -q -e syscalls -p TARGET -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e syscalls --unwind fp`",
        "PROGRAM record -q -e syscalls --unwind fp -p TARGET -o out.perfprobe",
    ),
    way(Tool::Syscount, "`syscount -L -p`", "PROGRAM -L -p TARGET"),
    Way { is_slow: true, ..way(Tool::Strace, "`strace -c -f -p`", "PROGRAM -c -f -p TARGET") },
    Way { is_slow: true, ..way(Tool::Perf, "`perf trace -s -p`", "PROGRAM trace -s -p TARGET") },
];

pub(super) const FILES: &[Way] = &[
    way(Tool::Nothing, "A/A: nothing", ""),
    way(
        Tool::Perfprobe,
        "**perfprobe** of another process: `record -e files,faults`",
        "PROGRAM record -q -e files,faults -p OTHER -o out.perfprobe",
    ),
    way(Tool::Perfprobe, "**perfprobe** `record -e io`", "PROGRAM record -q -e io -p TARGET -o out.perfprobe"),
    way(Tool::Perfprobe, "**perfprobe** `record -e files`", "PROGRAM record -q -e files -p TARGET -o out.perfprobe"),
    way(Tool::Perfprobe, "**perfprobe** `record -e faults`", "PROGRAM record -q -e faults -p TARGET -o out.perfprobe"),
    way(Tool::Biolatency, "`biolatency`, the whole machine", "PROGRAM"),
    way(Tool::Opensnoop, "`opensnoop -p`", "PROGRAM -p TARGET"),
    Way { is_slow: true, ..way(Tool::Perf, "`perf trace -s -p`", "PROGRAM trace -s -p TARGET") },
];

pub(super) const LOCKS: &[Way] = &[
    way(Tool::Nothing, "A/A: nothing", ""),
    way(
        Tool::Perfprobe,
        "**perfprobe** of another process: `record -e locks`",
        "PROGRAM record -q -e locks -p OTHER -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e offcpu,offwake`, for comparison",
        "PROGRAM record -q -e offcpu,offwake -p TARGET -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e locks --unwind fp`",
        "PROGRAM record -q -e locks --unwind fp -p TARGET -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e locks`, tables",
        "PROGRAM record -q -e locks -p TARGET -o out.perfprobe",
    ),
    way(Tool::Perf, "`perf lock record`, the whole machine", "PROGRAM lock record"),
    Way { is_of_one_process: true, ..way(Tool::Offcputime, "`offcputime -p`", "PROGRAM -p TARGET") },
    Way { is_slow: true, ..way(Tool::Strace, "`strace -c -f -e futex -p`", "PROGRAM -c -f -e futex -p TARGET") },
];

pub(super) const MEMORY: &[Way] = &[
    way(Tool::Nothing, "A/A: nothing", ""),
    way(
        Tool::Perfprobe,
        "**perfprobe** of another process: `record -e memory`",
        "PROGRAM record -q -e memory -p OTHER -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e memory --unwind fp`",
        "PROGRAM record -q -e memory --unwind fp -p TARGET -o out.perfprobe",
    ),
    way(
        Tool::Perfprobe,
        "**perfprobe** `record -e memory`, tables",
        "PROGRAM record -q -e memory -p TARGET -o out.perfprobe",
    ),
    way(
        Tool::Perf,
        "`perf record -e minor-faults -F 997 -g -p`",
        "PROGRAM record -q -e minor-faults -F 997 -g -o out.data -p TARGET",
    ),
    Way {
        is_slow: true,
        ..way(
            Tool::Perf,
            "`perf record -e minor-faults -c 1 -g -p`",
            "PROGRAM record -q -e minor-faults -c 1 -g -o out.data -p TARGET",
        )
    },
];

impl Way {
    /// The command that records until SIGINT, or until its target ends. None where nothing is to be started.
    pub(super) fn command(&self, tool: &Ready, target: u32, other: u32) -> Option<Command> {
        let mut words = self.command.split_whitespace().map(|word| match word {
            "PROGRAM" => tool.program.clone().into_os_string(),
            "TARGET" => target.to_string().into(),
            "OTHER" => other.to_string().into(),
            word => word.into(),
        });
        let mut command = Command::new(words.next()?);
        command.args(words);
        Some(command)
    }
}
