//! `cargo xtask dist`: one static binary, and around it all that is installed on a machine, in `target/dist/ARCH`.

mod bill;
mod check;
mod chroot;
mod crates;
mod guest;
mod notices;
mod shares;
mod tools;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::{command, pins, workspace};

/// Shells and the names their completion folders expect.
const COMPLETIONS: &[(&str, &str)] = &[("bash", "perfprobe.bash"), ("zsh", "_perfprobe"), ("fish", "perfprobe.fish")];
const LICENCES: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL2"];
const NOTICES: &str = "THIRD-PARTY";
const SUMS: &str = "SHA256SUMS";
const BILL: &str = "perfprobe.spdx.json";
/// The profile of `Cargo.toml` it is built with.
const PROFILE: &str = "shipped";
const SIZE_LIMIT_BYTES: u64 = 20_000_000;

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the binary is for; default: this machine
    #[arg(long, value_enum, default_value_t = Arch::host())]
    arch: Arch,
    /// Also check it all, and record: with the Debian package in a clean chroot, or for another architecture in a guest
    #[arg(long)]
    check: bool,
}

/// As Rust calls static Linux programs for it.
fn triple(arch: Arch) -> String {
    format!("{}-unknown-linux-musl", arch.name())
}

/// What was built, and where.
struct Dist {
    arch: Arch,
    dir: PathBuf,
    /// The same program for this machine.
    native: PathBuf,
}

impl Dist {
    fn binary(&self) -> PathBuf {
        self.dir.join("perfprobe")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The one file with this ending.
    fn package(&self, ending: &str) -> Result<PathBuf> {
        let mut found = files(&self.dir)?.into_iter().filter(|file| file.ends_with(ending));
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(self.dir.join(file)),
            _ => bail!("{} has not exactly one file *{ending}", self.dir.display()),
        }
    }
}

/// Builds everything into an empty folder, and checks it if asked to.
pub(crate) fn run(args: &Args) -> Result<()> {
    let arch = args.arch;
    let zig = tools::Zig::prepare()?;
    let built = build(&zig, arch)?;
    let native = if arch == Arch::host() { built.clone() } else { build(&zig, Arch::host())? };
    let dist = Dist { arch, dir: empty_folder(arch, &built)?, native: native.join("perfprobe") };
    fs::copy(built.join("perfprobe"), dist.binary()).context("cannot copy the binary")?;
    documents(&dist)?;
    let crates = crates::of_binary(arch)?;
    dist.write(NOTICES, &notices::text(&crates, &zig.musl())?)?;
    dist.write(BILL, &bill::text(&crates)?)?;
    packages(&dist)?;
    sums(&dist)?;
    check::binary(&dist)?;
    if args.check {
        check::files(&dist)?;
        if arch == Arch::host() {
            chroot::run(&dist, &zig)?;
        } else {
            guest::run(&dist, &zig)?;
        }
    }
    println!("{}", dist.dir.display());
    Ok(())
}

/// The folder with the binary.
fn build(zig: &tools::Zig, arch: Arch) -> Result<PathBuf> {
    let mut rustc = zig.cargo_rustc(arch)?;
    rustc.args(["-p", "perf-user", "--bin", "perfprobe", "--profile", PROFILE]);
    // zig would link it to a fixed address, where attackers would find everything.
    command::run(rustc.args(["--", "-C", "link-arg=-pie"]))?;
    Ok(workspace::target().join(triple(arch)).join(PROFILE))
}

/// The packers look for files beside what cargo built: there is a link to the folder.
fn empty_folder(arch: Arch, built: &Path) -> Result<PathBuf> {
    let dir = workspace::target().join("dist").join(arch.name());
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let link = built.join("package");
    let _ = fs::remove_file(&link);
    symlink(&dir, &link).with_context(|| format!("cannot link {}", link.display()))?;
    Ok(dir)
}

/// Man pages, completions and licences: the same for every architecture.
fn documents(dist: &Dist) -> Result<()> {
    command::read(Command::new(&dist.native).arg("man").arg(dist.dir.join("man1")))?;
    for (shell, name) in COMPLETIONS {
        dist.write(name, &command::read(Command::new(&dist.native).args(["completions", shell]))?)?;
    }
    for name in LICENCES {
        fs::copy(workspace::root().join(name), dist.dir.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

fn packages(dist: &Dist) -> Result<()> {
    let packer = |name, version| -> Result<Command> {
        let mut packer = Command::new(tools::cargo_tool(name, version)?);
        command::forget_cargo(&mut packer);
        packer.current_dir(workspace::root());
        Ok(packer)
    };
    let triple = triple(dist.arch);
    command::run(
        packer("cargo-deb", pins::CARGO_DEB)?
            .args([
                "deb",
                "-p",
                "perf-user",
                "--profile",
                PROFILE,
                "--target",
                &triple,
                "--no-build",
                "--no-strip",
                "-o",
            ])
            .arg(&dist.dir),
    )?;
    command::run(
        packer("cargo-generate-rpm", pins::CARGO_GENERATE_RPM)?
            .args([
                "generate-rpm",
                "-p",
                "perf-user",
                "--profile",
                PROFILE,
                "--target",
                &triple,
                "--auto-req",
                "disabled",
            ])
            .arg("--target-dir")
            .arg(workspace::target())
            .arg("-o")
            .arg(&dist.dir),
    )
}

/// `sha256sum -c SHA256SUMS` checks them.
fn sums(dist: &Dist) -> Result<()> {
    let mut sums = Command::new("sha256sum");
    let text = command::read(sums.arg("--").args(files(&dist.dir)?).current_dir(&dist.dir))?;
    dist.write(SUMS, &text)
}

/// The files of a folder and its folders, as paths inside it, sorted.
fn files(dir: &Path) -> Result<Vec<String>> {
    let found = command::read(Command::new("find").args([".", "-type", "f", "-printf", "%P\\n"]).current_dir(dir))?;
    let mut files: Vec<String> = found.lines().map(str::to_owned).collect();
    files.sort();
    Ok(files)
}
