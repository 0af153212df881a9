//! `cargo xtask dist`: the release binary, its man page and shell completions in one folder.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{command, test, workspace};

/// Shells and the names their completion folders expect.
const COMPLETIONS: &[(&str, &str)] = &[("bash", "perfprobe.bash"), ("zsh", "_perfprobe"), ("fish", "perfprobe.fish")];
const LICENCES: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL2"];

/// Builds everything that is installed on a machine into `target/dist`.
pub(crate) fn run() -> Result<()> {
    command::run(command::cargo().args(["build", "--release", "-p", "perf-user"]))?;
    let binary = test::binary();
    let dir = workspace::target().join("dist");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let write = |name: &str, text: String| {
        fs::write(dir.join(name), text).with_context(|| format!("cannot write {}", dir.join(name).display()))
    };
    command::read(Command::new(&binary).arg("man").arg(dir.join("man1")))?;
    for (shell, name) in COMPLETIONS {
        write(name, command::read(Command::new(&binary).args(["completions", shell]))?)?;
    }
    for name in LICENCES {
        fs::copy(workspace::root().join(name), dir.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    fs::copy(&binary, dir.join("perfprobe")).with_context(|| format!("cannot copy {}", binary.display()))?;
    println!("{}", dir.display());
    Ok(())
}
