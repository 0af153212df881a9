//! One run of a guest: QEMU and the file server are started, watched and ended, and leave an exit code.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, Result};

use super::architecture::Architecture;
use super::initramfs::Initramfs;
use super::kernel::Kernel;
use super::owned::{Owned, RunFolder, serve_root};
use super::tools::Tools;
use crate::workspace;

const INIT: &str = include_str!("init.sh");
const START: &str = include_str!("start.sh");

/// Four nanoseconds each, as QEMU wants it: the binary logarithm. A slower processor would spend too much of its time on
/// samples, and a faster one takes longer to emulate than its time says.
const NS_PER_INSTRUCTION: &str = "shift=2";

/// What the guest's root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Root {
    /// The machine's own, read-only, with empty /tmp, /run and /var/tmp
    Host,
    /// Nothing but busybox and what --file adds
    None,
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accelerator {
    /// Software, everywhere
    Tcg,
    /// The processor: only where somebody knows that it works, since /dev/kvm opens in places where it does not
    Kvm,
}

/// What the guest's time follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Clock {
    /// The instructions it executes: its processors take turns, and how busy the machine is does not show
    Instructions,
    /// The machine's: its processors run at once, and miss what they cannot keep up with
    Wall,
}

/// A guest to run.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Its kernel.
    pub(crate) kernel: Kernel,
    /// Its processors.
    pub(crate) cpus: u32,
    /// Its memory in MiB.
    pub(crate) memory: u32,
    /// Further kernel parameters.
    pub(crate) parameters: String,
    /// Its root.
    pub(crate) root: Root,
    /// What runs it.
    pub(crate) accelerator: Accelerator,
    /// What its time follows.
    pub(crate) clock: Clock,
    /// When it hangs; `None` for a person at the keyboard.
    pub(crate) limit: Option<Duration>,
    /// A shell script; `None` for an interactive shell.
    pub(crate) command: Option<String>,
    /// Files put into /run/vm/files, which is on the search path.
    pub(crate) files: Vec<PathBuf>,
}

/// How a guest ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The command's exit code, or why there is none.
    pub(crate) code: Result<u8, String>,
    /// What the kernel said.
    pub(crate) console: String,
}

impl Guest {
    /// Runs it to its end. `each` gets every line of the command's output; without it the output goes to ours.
    ///
    /// The thread that calls this must live until it returns: QEMU dies with it.
    pub(crate) fn run(
        &self,
        tools: &Tools,
        architecture: &Architecture,
        each: Option<&mut (dyn FnMut(&str) + Send)>,
    ) -> Result<Ended> {
        let folder = RunFolder::create(&self.kernel.series)?;
        let file = |name: &str| folder.0.join(name);
        let path = |name: &str| file(name).display().to_string();
        fs::write(file("initramfs"), self.initramfs(tools, architecture)?)?;
        let mut arguments = self.machine(tools, architecture);
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-initrd", &path("initramfs")]);
        add(&["-serial", &format!("file:{}", path("console"))]);
        add(&["-chardev", "stdio,id=output,signal=off"]);
        add(&["-chardev", &format!("file,id=result,path={}", path("result"))]);
        for port in ["output", "result"] {
            match architecture.port_device {
                None => add(&["-serial", &format!("chardev:{port}")]),
                Some(device) => add(&["-device", &format!("{device},chardev={port}")]),
            }
        }
        let mut server = None;
        if self.root == Root::Host {
            let socket = file("root.sock");
            server = Some(serve_root(&tools.virtiofsd, &socket, &file("server"))?);
            add(&["-object", &format!("memory-backend-memfd,id=memory,size={}M,share=on", self.memory)]);
            add(&["-numa", "node,memdev=memory"]);
            add(&["-chardev", &format!("socket,id=root,path={}", socket.display())]);
            add(&["-device", "vhost-user-fs-pci,chardev=root,tag=host"]);
        }
        let interactive = self.command.is_none();
        let piped = each.is_some();
        let mut qemu = Owned::start(&tools.qemu, |command| {
            command.args(&arguments).stdin(if interactive { Stdio::inherit() } else { Stdio::null() });
            command.stdout(if piped { Stdio::piped() } else { Stdio::inherit() })
        })?;
        let output = qemu.0.stdout.take();
        let status = thread::scope(|scope| {
            if let (Some(output), Some(each)) = (output, each) {
                scope.spawn(move || {
                    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                        each(String::from_utf8_lossy(&line).trim_end_matches('\r'));
                    }
                });
            }
            let started = Instant::now();
            loop {
                if let Some(status) = qemu.0.try_wait()? {
                    return Ok::<_, std::io::Error>(Some(status));
                }
                if self.limit.is_some_and(|limit| started.elapsed() > limit) {
                    qemu.0.kill()?;
                    qemu.0.wait()?;
                    return Ok(None);
                }
                thread::sleep(Duration::from_millis(20));
            }
        })?;
        drop(server);
        let result = fs::read_to_string(file("result")).unwrap_or_default();
        let code = result.lines().rev().find_map(|line| line.trim().strip_prefix("exit ")?.parse().ok());
        let code = code.ok_or_else(|| match status {
            None => format!("it did not end within {} seconds", self.limit.unwrap_or_default().as_secs()),
            Some(status) if status.success() => "it ended before the command did (a panic, or a reboot)".to_owned(),
            Some(status) => format!("QEMU failed ({status})"),
        });
        let console = fs::read(file("console")).unwrap_or_default();
        let _ = std::io::stdout().flush();
        Ok(Ended { code, console: String::from_utf8_lossy(&console).replace('\r', "") })
    }

    /// QEMU's machine, without its ports and root.
    fn machine(&self, tools: &Tools, architecture: &Architecture) -> Vec<String> {
        let cpus = if tools.many_cpus || self.clock == Clock::Instructions { self.cpus } else { 1 };
        let accelerator = match self.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg if self.clock == Clock::Instructions => "tcg,thread=single",
            Accelerator::Tcg => "tcg,thread=multi",
        };
        let parameters = format!(
            "console={} panic=-1 loglevel=4 {} {}",
            architecture.ports.console, architecture.parameters, self.parameters
        );
        let (memory, cpus) = (self.memory.to_string(), cpus.to_string());
        let image = self.kernel.image.display().to_string();
        let arguments = [
            ["-machine", architecture.machine],
            ["-accel", accelerator],
            ["-cpu", architecture.cpu],
            ["-m", &memory],
            ["-smp", &cpus],
            ["-display", "none"],
            ["-monitor", "none"],
            ["-kernel", &image],
            ["-append", &parameters],
        ];
        let switches = ["-nodefaults", "-no-user-config", "-no-reboot"];
        let counted = self.clock == Clock::Instructions && self.accelerator == Accelerator::Tcg;
        let clock: &[&str] = if counted { &["-icount", NS_PER_INSTRUCTION] } else { &[] };
        arguments.iter().flatten().chain(&switches).chain(clock).map(|word| (*word).to_owned()).collect()
    }

    fn initramfs(&self, tools: &Tools, architecture: &Architecture) -> Result<Vec<u8>> {
        let mut files = Initramfs::default();
        files.copy("/bin/busybox", &tools.busybox)?;
        files.add("/init", INIT.as_bytes());
        files.add("/run/vm/start", START.as_bytes());
        files.add("/run/vm/settings", self.settings(architecture)?.as_bytes());
        files.add("/run/vm/command", self.command.as_deref().unwrap_or_default().as_bytes());
        if self.root == Root::Host {
            for module in &self.kernel.modules {
                files.copy(&format!("/run/vm/modules/{}", name(module)), module)?;
            }
        }
        for file in &self.files {
            files.copy(&format!("/run/vm/files/{}", name(file)), file)?;
        }
        Ok(files.finish())
    }

    /// What the guest's first process is told, as assignments of the shell.
    fn settings(&self, architecture: &Architecture) -> Result<String> {
        let (root, path) = match self.root {
            Root::Host => ("host", env::var("PATH").context("PATH is not set")?),
            Root::None => ("none", "/bin".to_owned()),
        };
        let interactive = if self.command.is_none() { "yes" } else { "no" };
        let path = format!("/run/vm/files:{path}");
        let folder = env::current_dir()?.display().to_string();
        let workspace = workspace::root().display().to_string();
        let term = env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        let settings = [
            ("ROOT", root),
            ("OUTPUT", architecture.ports.output),
            ("RESULT", architecture.ports.result),
            ("INTERACTIVE", interactive),
            ("GUEST_PATH", &path),
            ("GUEST_TERM", &term),
            ("FOLDER", &folder),
            ("WORKSPACE", &workspace),
        ];
        Ok(settings.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect())
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// As one word of the shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
