//! `cargo xtask vm`: a command on another kernel, in a guest of QEMU.

mod architecture;
mod archive;
mod console;
pub(crate) mod facts;
pub(crate) mod guest;
mod initramfs;
mod kernel;
pub(crate) mod matrix;
mod owned;
mod sources;
pub(crate) mod table;
mod tools;

use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::{command, workspace};
use architecture::Architecture;
use archive::Archive;
use facts::Facts;
use guest::{Accelerator, Clock, Ended, Guest, Root};
use kernel::Kernel;
use matrix::Matrix;
use table::Table;
use tools::Tools;

/// The exit code of a guest that ended without the command's own.
const NO_RESULT: u8 = 125;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel's series, such as 6.1; 7.x is the newest of that number
    #[arg(long, value_name = "SERIES", required_unless_present = "table")]
    kernel: Option<String>,
    /// Ask perfprobe on all kernels what works there, and write docs/kernels.md
    #[arg(long, conflicts_with = "kernel")]
    table: bool,
    /// Its architecture; default: this machine's
    #[arg(long, value_enum, default_value_t = Arch::host())]
    arch: Arch,
    /// The guest's processors
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// The guest's memory
    #[arg(long, value_name = "MiB", default_value_t = 2048)]
    memory: u32,
    /// Further kernel parameters
    #[arg(long, value_name = "PARAMETERS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// The guest's root; default: the machine's, for guests of its architecture
    #[arg(long, value_enum)]
    root: Option<Root>,
    /// A file to put into /run/vm/files, which is on the search path
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// When the guest is thought to hang; a shell has all the time
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// What runs the guest's instructions
    #[arg(long, value_enum, default_value = "tcg")]
    accel: Accelerator,
    /// What the guest's time follows
    #[arg(long, value_enum, default_value = "instructions")]
    clock: Clock,
    /// What to run, as one line of the shell; without it, a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// Everything that guests have in common.
pub(crate) struct Machines {
    architecture: &'static Architecture,
    archive: Archive,
    tools: Tools,
    kernels: PathBuf,
    _lock: File,
}

impl Machines {
    /// Prepares what the machine needs for guests. Only one process at a time prepares; the others wait.
    pub(crate) fn prepare(arch: Arch) -> Result<Self> {
        let (architecture, own) = (Architecture::of(arch), Architecture::of(Arch::host()));
        let all = workspace::cache()?.join("vm");
        let cache = all.join(architecture.debian);
        let kernels = cache.join("kernels");
        fs::create_dir_all(&kernels).with_context(|| format!("cannot create {}", kernels.display()))?;
        let lock = File::create(all.join("lock")).context("cannot create a lock file")?;
        lock.lock().context("cannot lock the cache of kernels")?;
        let archive = Archive::open(cache.join("apt"), architecture)?;
        let machine = Archive::open(all.join(own.debian).join("apt"), own)?;
        let tools = Tools::prepare(&machine, &archive, architecture, &cache)?;
        Ok(Self { architecture, archive, tools, kernels, _lock: lock })
    }

    /// A kernel, fetched when the cache lacks it.
    pub(crate) fn kernel(&self, series: &str) -> Result<Kernel> {
        Kernel::get(series, &self.archive, self.architecture, &self.kernels)
    }

    /// Lets other processes prepare.
    pub(crate) fn ready(self) -> Ready {
        Ready { architecture: self.architecture, tools: self.tools }
    }
}

/// What running guests takes.
pub(crate) struct Ready {
    architecture: &'static Architecture,
    tools: Tools,
}

impl Ready {
    /// Runs a guest to its end.
    pub(crate) fn run(&self, guest: &Guest, each: Option<&mut (dyn FnMut(&str) + Send)>) -> Result<Ended> {
        if guest.root == Root::Host && !command::is_root() {
            bail!(
                "the machine's root is shared with guests by root alone: run this with `sudo -E`, or with --root none"
            );
        }
        guest.run(&self.tools, self.architecture, each)
    }
}

/// Runs the command in a guest; its exit code is ours.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Some(series) = &args.kernel else {
        return write_table().map(|()| ExitCode::SUCCESS);
    };
    if args.command.is_empty() && !std::io::stdin().is_terminal() {
        bail!("there is no terminal for a shell: name a command behind `--`");
    }
    let root = args.root.unwrap_or(if args.arch == Arch::host() { Root::Host } else { Root::None });
    if root == Root::Host && args.arch != Arch::host() {
        bail!("the programs of this machine do not run on {}: use --root none", args.arch.name());
    }
    let machines = Machines::prepare(args.arch)?;
    let kernel = machines.kernel(series)?;
    let ready = machines.ready();
    let is_shell = args.command.is_empty();
    let guest = Guest {
        kernel,
        cpus: args.cpus,
        memory: args.memory,
        parameters: args.append.clone(),
        root,
        accelerator: args.accel,
        clock: args.clock,
        limit: (!is_shell).then(|| Duration::from_secs(args.timeout)),
        // As ssh does it: the words become one line again.
        command: (!is_shell).then(|| args.command.join(" ") + "\n"),
        files: args.files.clone(),
    };
    let ended = ready.run(&guest, None)?;
    match ended.code {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(why) => {
            console::keep(&guest.kernel, &ended.console, &format!("no result: {why}"))?;
            Ok(ExitCode::from(NO_RESULT))
        }
    }
}

/// Writes the table of kernels anew.
fn write_table() -> Result<()> {
    crate::test::build()?;
    let binary = crate::test::binary();
    let script = facts::script(binary.to_str().context("the path of perfprobe is not UTF-8")?);
    let matrix = Matrix::prepare(&["all".to_owned()])?;
    matrix.complain()?;
    let mut table = Table::default();
    for run in matrix.run(&script, Duration::from_secs(300), &|_, _| {})? {
        table.set(&run.column, &Facts::find(&run.lines).context(run.kernel.release)?);
    }
    let own = Facts::parse(&command::read(Command::new(&binary).args(["doctor", "--json"]))?)?;
    table.set(&table::own_column(&own)?, &own);
    table.write()
}
