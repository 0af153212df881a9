//! `cargo xtask deny`: licences, sources, duplicates and known weaknesses of what is linked in, as `deny.toml` says.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{command, pins, toolchain, workspace};

/// Where the fuzz targets keep a lock file of their own.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "tests/fuzz/Cargo.toml"];

/// Checks everything that can be checked here. Advisories need a database from the network: where it cannot be had, that
/// is said, and the rest decides.
pub(crate) fn run() -> Result<()> {
    let tool = toolchain::tool("cargo-deny", pins::CARGO_DENY, "three minutes")?;
    for manifest in MANIFESTS {
        command::run(deny(&tool, manifest).args(["check", "bans", "licenses", "sources"]))?;
    }
    if let Err(error) = command::read(deny(&tool, MANIFESTS[0]).args(["fetch", "db"])) {
        println!("deny: advisories were NOT checked, only licences, bans and sources: {error:#}");
        return Ok(());
    }
    for manifest in MANIFESTS {
        command::run(deny(&tool, manifest).args(["check", "--disable-fetch", "advisories"]))?;
    }
    Ok(())
}

/// Is the program here already?
pub(crate) fn is_installed() -> bool {
    toolchain::installed("cargo-deny", pins::CARGO_DENY).is_ok_and(|found| found.is_some())
}

fn deny(tool: &Path, manifest: &str) -> Command {
    let root = workspace::root();
    let mut deny = Command::new(tool);
    command::forget_cargo(&mut deny);
    deny.arg("--manifest-path").arg(root.join(manifest)).arg("--config").arg(root.join("deny.toml"));
    deny.args(["--log-level", "error"]);
    deny
}
