//! What a guest's kernel said, kept when there is reason to read it.

use std::fs;

use anyhow::{Context as _, Result};

use super::kernel::Kernel;
use crate::workspace;

/// Lines that are shown.
const LINES: usize = 60;

/// Keeps the log in a file, and shows why and the log's end.
pub(crate) fn keep(kernel: &Kernel, console: &str, why: &str) -> Result<()> {
    let folder = workspace::target().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("console-{}.log", kernel.series));
    fs::write(&path, console).with_context(|| format!("cannot write {}", path.display()))?;
    let lines: Vec<&str> = console.lines().collect();
    eprintln!("{}: {why}; its console is in {} and ends so:", kernel.release, path.display());
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        eprintln!("  {line}");
    }
    Ok(())
}
