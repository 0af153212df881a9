//! `cargo xtask vm`: a command on another kernel, in a guest of QEMU.

mod architecture;
mod archive;
pub(crate) mod guest;
mod initramfs;
mod kernel;
mod owned;
mod sources;
mod tools;

use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::{command, workspace};
use architecture::Architecture;
use archive::Archive;
use guest::{Accelerator, Ended, Guest, Root};
use kernel::Kernel;
use tools::Tools;

/// The exit code of a guest that ended without the command's own.
const NO_RESULT: u8 = 125;
/// Lines of the console that are shown then.
const CONSOLE_LINES: usize = 60;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel's series, such as 6.1; 7.x is the newest of that number
    #[arg(long, value_name = "SERIES")]
    kernel: String,
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
    if args.command.is_empty() && !std::io::stdin().is_terminal() {
        bail!("there is no terminal for a shell: name a command behind `--`");
    }
    let root = args.root.unwrap_or(if args.arch == Arch::host() { Root::Host } else { Root::None });
    if root == Root::Host && args.arch != Arch::host() {
        bail!("the programs of this machine do not run on {}: use --root none", args.arch.name());
    }
    let machines = Machines::prepare(args.arch)?;
    let kernel = machines.kernel(&args.kernel)?;
    let ready = machines.ready();
    let is_shell = args.command.is_empty();
    let guest = Guest {
        kernel,
        cpus: args.cpus,
        memory: args.memory,
        parameters: args.append.clone(),
        root,
        accelerator: args.accel,
        limit: (!is_shell).then(|| Duration::from_secs(args.timeout)),
        // As ssh does it: the words become one line again.
        command: (!is_shell).then(|| args.command.join(" ") + "\n"),
        files: args.files.clone(),
    };
    let ended = ready.run(&guest, None)?;
    match ended.code {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(why) => {
            eprintln!("error: the guest {} has no result: {why}", guest.kernel.release);
            keep_console(&guest.kernel, &ended.console)?;
            Ok(ExitCode::from(NO_RESULT))
        }
    }
}

/// Keeps what the guest's kernel said, and shows its end.
fn keep_console(kernel: &Kernel, console: &str) -> Result<()> {
    let folder = workspace::target().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("console-{}.log", kernel.series));
    fs::write(&path, console).with_context(|| format!("cannot write {}", path.display()))?;
    let lines: Vec<&str> = console.lines().collect();
    eprintln!("the end of its console, all of which is in {}:", path.display());
    for line in &lines[lines.len().saturating_sub(CONSOLE_LINES)..] {
        eprintln!("  {line}");
    }
    Ok(())
}
