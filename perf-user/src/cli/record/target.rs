//! The target on the command line: exactly one of five ways to say whom to record.

use std::{
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use serde_json::json;

use crate::{
    cli::Failure,
    collect::target::{Target, comm_from, comm_text},
    host::{cgroup, proc, sys},
    record::RecordError,
};

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct TargetArgs {
    /// Running processes, with all their threads and the children they start
    #[arg(short, long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,

    /// Every process with this name, those that start later too
    #[arg(long, value_name = "NAME")]
    comm: Option<String>,

    /// A cgroup v2 subtree: a container, a systemd unit
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,

    /// The whole machine
    #[arg(short, long)]
    pub(super) all: bool,

    /// Start this program, record from its first instruction, and pass on its exit code
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A target that can be recorded, and what it is called.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) target: Target,
    /// For titles: `redis-server (pid 1234)`.
    pub(super) label: String,
    /// For file names.
    pub(super) file_stem: String,
    /// What may not be as the user thinks.
    pub(super) warnings: Vec<String>,
    /// What is as documented, and may be overlooked all the same; told once, and not kept in the recording.
    pub(super) notes: Vec<String>,
    child: Option<sys::StoppedChild>,
}

impl TargetArgs {
    /// Refuses what cannot be a target, before anything else is looked at.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for pid in &self.pid {
            proc::check_target(*pid)?;
        }
        if self.comm.as_deref() == Some("") {
            return Err(Failure::Usage("--comm needs a name".into()));
        }
        self.command.first().map_or(Ok(()), |program| self::program(program).map(drop))
    }

    /// Finds the target; forks the command, if it is one. Of children that run already, `Some(true)` takes them in, and
    /// `Some(false)` makes a note of them.
    pub(super) fn choose(&self, children: Option<bool>) -> Result<Chosen, Failure> {
        let chosen = |target, label: String, file_stem: String| Chosen {
            target,
            label,
            file_stem,
            warnings: Vec::new(),
            notes: Vec::new(),
            child: None,
        };
        if let [first, ..] = self.pid[..] {
            let comm = proc::comm(first).unwrap_or_default();
            let mut pids = self.pid.clone();
            pids.sort_unstable();
            pids.dedup();
            let list: Vec<_> = pids.iter().map(u32::to_string).collect();
            let mut label = match list.len() {
                1 => format!("{comm} (pid {first})"),
                _ => format!("{comm} and others (pids {})", list.join(", ")),
            };
            let running = if children.is_some() { proc::descendants(&pids) } else { Vec::new() };
            let mut notes = Vec::new();
            if children == Some(true) && !running.is_empty() {
                label += &format!(", and {}", children_count(running.len()));
                pids.extend(&running);
                pids.sort_unstable();
            } else if !running.is_empty() {
                notes.push(children_note(&running));
            }
            let chosen = chosen(Target::Processes(pids), label, format!("{comm}-{first}"));
            return Ok(Chosen { notes, ..chosen });
        }
        if let Some(name) = &self.comm {
            let chosen = chosen(Target::Comm(name.clone()), format!("every {name}"), name.clone());
            return Ok(Chosen { warnings: comm_warnings(name, &chosen.target), ..chosen });
        }
        if let Some(path) = &self.cgroup {
            let cgroup = cgroup::find(path)?;
            let label = format!("cgroup {}", cgroup.path.display());
            let stem =
                cgroup.path.file_name().map_or_else(|| "cgroup".into(), |name| name.to_string_lossy().into_owned());
            return Ok(chosen(Target::Cgroup(cgroup), label, stem));
        }
        if self.all {
            return Ok(chosen(Target::All, "the whole machine".into(), "all".into()));
        }
        self.start()
    }

    fn start(&self) -> Result<Chosen, Failure> {
        let argv: Result<Vec<_>, _> = self.command.iter().map(|argument| CString::new(argument.as_bytes())).collect();
        let argv = argv.map_err(|_| Failure::Usage("the command holds a zero byte".into()))?;
        let program = program(&self.command[0])?;
        let child = sys::spawn_stopped(&program, &argv)?;
        let tgid = child.tgid();
        let argv: Vec<_> = self.command.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let name = argv[0].rsplit('/').next().unwrap_or_default().to_owned();
        let program = PathBuf::from(OsString::from_vec(program.into_bytes()));
        let target = Target::Command { tgid, program, argv };
        Ok(Chosen {
            target,
            label: format!("{name} (pid {tgid})"),
            file_stem: format!("{name}-{tgid}"),
            warnings: Vec::new(),
            notes: Vec::new(),
            child: Some(child),
        })
    }
}

/// The path of a program to execute.
fn program(name: &OsStr) -> Result<CString, Failure> {
    if name.is_empty() {
        return Err(Failure::Usage("the command after -- is empty".into()));
    }
    let missing = || {
        let (program, why) = (name.to_string_lossy().into_owned(), std::io::Error::from_raw_os_error(libc::ENOENT));
        Failure::NotExecuted(RecordError::Command { program, why }.into())
    };
    let path = sys::find_program(name).ok_or_else(missing)?;
    CString::new(path.into_os_string().into_vec()).map_err(|_| missing())
}

fn children_count(count: usize) -> String {
    if count == 1 { "1 child that ran already".into() } else { format!("{count} children that ran already") }
}

/// Children that nobody asked for and that somebody may miss.
fn children_note(running: &[u32]) -> String {
    const TOLD: usize = 6;
    let told = running.iter().take(TOLD).map(|tgid| format!("{tgid} ({})", proc::comm(*tgid).unwrap_or_default()));
    let mut told = told.collect::<Vec<_>>().join(", ");
    if running.len() > TOLD {
        told += &format!(" and {} more", running.len() - TOLD);
    }
    format!(
        "only children that start from now on are recorded; to record those that run already, {told}, add --with-children"
    )
}

fn comm_warnings(name: &str, target: &Target) -> Vec<String> {
    let mut warnings = Vec::new();
    let kept = comm_text(&comm_from(name));
    if kept != name {
        warnings.push(format!("the kernel keeps 15 bytes of a name: this records every `{kept}`"));
    }
    if target.processes().is_empty() {
        warnings.push(format!(
            "no process was called `{kept}` when the recording began; names are those of `ps -e`, of processes, not of threads"
        ));
    }
    warnings
}

impl Chosen {
    /// The target as recordings and reports tell it.
    pub(super) fn description(&self) -> serde_json::Value {
        match &self.target {
            Target::Processes(pids) => {
                let names: Vec<_> = pids.iter().map(|pid| proc::comm(*pid).unwrap_or_default()).collect();
                json!({"kind": "pid", "pids": pids, "comms": names})
            }
            Target::Comm(name) => json!({"kind": "comm", "comm": name}),
            Target::Cgroup(cgroup) => json!({"kind": "cgroup", "path": cgroup.path, "id": cgroup.id}),
            Target::All => json!({"kind": "all"}),
            Target::Command { tgid, argv, .. } => json!({"kind": "command", "pids": [tgid], "argv": argv}),
        }
    }

    /// Lets a command run, if the target is one.
    pub(super) fn release(&mut self) -> Result<(), RecordError> {
        let Some(child) = self.child.take() else { return Ok(()) };
        let tgid = child.tgid();
        child.release().map_err(|why| {
            let _ = sys::wait_for_child(tgid);
            let program = match &self.target {
                Target::Command { argv, .. } => argv[0].clone(),
                _ => String::new(),
            };
            RecordError::Command { program, why }
        })
    }
}
