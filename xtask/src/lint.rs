//! `cargo xtask lint`: what the compiler does not check by itself: format, warnings, and the project's own rules.

mod files;
mod links;
mod modules;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// Options of `cargo xtask lint`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only the project's own rules: no rustfmt, no clippy
    #[arg(long)]
    rules: bool,
}

/// A tracked text file.
pub(crate) struct Text {
    /// From the checkout's root.
    path: PathBuf,
    text: String,
}

impl Text {
    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }
}

/// What the rules found: each one sentence that begins with the file.
#[derive(Default)]
pub(crate) struct Findings {
    warnings: Vec<String>,
    errors: Vec<String>,
}

/// Runs every check to its end, then fails when one of them found something.
pub(crate) fn run(args: &Args) -> Result<()> {
    let texts = tracked()?;
    let mut findings = Findings::default();
    files::check(&texts, &mut findings);
    files::check_machine(&texts, &machine_paths(), &mut findings);
    modules::check(&texts, &mut findings);
    links::check(&texts, &mut findings);
    if !args.rules {
        if let Err(error) = command::run(command::cargo().args(["fmt", "--all", "--check"])) {
            findings.errors.push(format!("{error:#}: run `cargo fmt`"));
        }
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        if let Err(error) = command::run(command::cargo().args(clippy)) {
            findings.errors.push(format!("{error:#}"));
        }
        if let Err(error) = command::run(&mut fuzz_check()) {
            findings.errors.push(format!("{error:#}: the fuzz targets do not fit what they call"));
        }
    }
    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    for error in &findings.errors {
        println!("error: {error}");
    }
    if !findings.errors.is_empty() {
        bail!("lint: {} findings to correct", findings.errors.len());
    }
    println!("lint: {} files, no errors", texts.len());
    Ok(())
}

/// The fuzz targets are a workspace of their own, which nothing else here compiles. What they lack without the nightly is the
/// instrumentation, not the types.
fn fuzz_check() -> Command {
    let mut check = command::cargo();
    check.args(["check", "--quiet", "--locked", "--manifest-path"]);
    check.arg(workspace::root().join("tests/fuzz/Cargo.toml"));
    // What clippy has checked need not be checked again.
    check.arg("--target-dir").arg(workspace::target());
    check
}

/// Every text file that git tracks or would add. Binary files are left out.
fn tracked() -> Result<Vec<Text>> {
    let root = workspace::root();
    let mut git = Command::new("git");
    git.arg("-C").arg(&root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = command::read(&mut git).context("lint has to know which files belong to the project")?;
    let mut texts = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // A file that was removed and not yet committed is still listed.
        let Ok(bytes) = fs::read(root.join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            texts.push(Text { path: PathBuf::from(path), text });
        }
    }
    Ok(texts)
}

/// Paths that exist on this machine only: the folder of the checkout and the home.
fn machine_paths() -> Vec<String> {
    let root = workspace::root();
    let mut paths = vec![PathBuf::from("/root")];
    paths.extend(env::var_os("HOME").map(PathBuf::from));
    paths.extend(root.parent().map(Path::to_owned));
    paths.retain(|path| path.components().count() > 1);
    paths.iter().map(|path| format!("{}/", path.display())).collect()
}
