//! The licences of what others wrote: every text once, under the crates it covers, as most of them ask for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::crates::Crate;
use crate::workspace;

/// Files that hold a licence begin so, in any case.
const NAMES: &[&str] = &["licen", "copying", "copyright", "notice", "unlicense"];

/// The text for these crates. `musl` is the folder of the C library's sources.
pub(super) fn text(crates: &[Crate], musl: &Path) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut bare = Vec::new();
    for Crate { name, version, licence, .. } in crates.iter().filter(|one| !one.own) {
        let found = licences(&format!("{name}-{version}"))?;
        let title = format!("{name} {version}: {licence}");
        if found.is_empty() {
            bare.push(title.clone());
        }
        for text in found {
            texts.entry(text).or_default().push(title.clone());
        }
    }
    for text in licence_files(musl)? {
        texts.entry(text).or_default().push("musl: MIT".to_owned());
    }
    let mut out = String::from("The program perfprobe contains code of these projects, under their licences.\n");
    let _ = write!(out, "\nWithout a text of their own:\n{}\n", bare.join("\n"));
    for (text, crates) in texts {
        let _ = write!(out, "\n{}\n{}\n\n{}\n", "=".repeat(80), crates.join("\n"), text.trim());
    }
    Ok(out)
}

/// The licence texts of a crate as it was downloaded.
fn licences(folder: &str) -> Result<Vec<String>> {
    let dir = workspace::crate_sources()?.into_iter().map(|sources| sources.join(folder)).find(|dir| dir.is_dir());
    dir.map_or_else(|| Ok(Vec::new()), |dir| licence_files(&dir))
}

fn licence_files(dir: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot list {}", dir.display());
    let mut texts = Vec::new();
    for entry in fs::read_dir(dir).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if NAMES.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
            let text = fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
            texts.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(texts)
}
