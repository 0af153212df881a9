//! `cargo xtask demo`: builds perfprobe, profiles real programs for five seconds, says where the flame graph is.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, install, test, workspace};

/// Programs that every machine has, at work on its own files: short-lived children, and much for the kernel to do.
const WORK: &str =
    "while :; do find /usr -size +100k -newer /etc/passwd; grep -r main /usr/include /usr/share/doc; done";

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to record
    #[arg(long, default_value = "5s")]
    duration: String,
}

/// Builds, records, and prints the files.
pub(crate) fn run(args: &Args) -> Result<()> {
    install::compiler()?;
    command::run(command::cargo().args(["build", "--release", "-p", "perf-user"]))?;
    let dir = workspace::target().join("demo");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let work = Work::start()?;
    let picture = dir.join("demo.svg");
    let recording = dir.join("demo.perfprobe");
    let mut record = install::as_root(&test::binary().display().to_string())?;
    record.args(["record", "--pid", &work.0.id().to_string(), "--duration", &args.duration, "--frequency", "499"]);
    command::run(record.arg("-o").arg(&recording).arg("-o").arg(&picture))?;
    if !picture.exists() {
        bail!("the recording left no {}", picture.display());
    }
    println!("\nOpen the flame graph in a browser: {}", picture.display());
    println!("The same as text: {} report {}", test::binary().display(), recording.display());
    Ok(())
}

/// The shell that is profiled. Ended when dropped.
struct Work(Child);

impl Work {
    fn start() -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", WORK]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(shell.spawn().context("cannot start `sh`")?))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What it runs at this moment is short, and ends by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
