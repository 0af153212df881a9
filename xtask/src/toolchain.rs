//! The kernel half's toolchain: finds the pinned nightly, linker and `llvm-strip`, and installs what is missing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, install, pins, workspace};

/// Programs and folders the build of the object needs.
pub(crate) struct Toolchain {
    /// The pinned nightly, by the name rustup knows it under here.
    pub(crate) name: String,
    /// The nightly's sysroot.
    pub(crate) sysroot: PathBuf,
    /// The folder with the pinned `bpf-linker`.
    pub(crate) linker_dir: PathBuf,
    /// `llvm-strip` of the pinned LLVM.
    pub(crate) strip: PathBuf,
    /// And its `llvm-objcopy`.
    pub(crate) objcopy: PathBuf,
}

impl Toolchain {
    /// Finds or installs everything.
    pub(crate) fn prepare() -> Result<Self> {
        let name = nightly()?;
        let sysroot = command::read(Command::new("rustc").arg(format!("+{name}")).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim());
        rust_src(&name, &sysroot)?;
        let [strip, objcopy] = ["strip", "objcopy"]
            .map(|name| PathBuf::from(format!("/usr/lib/llvm-{}/bin/llvm-{name}", pins::LLVM_MAJOR)));
        if !strip.exists() {
            install_llvm()?;
            if !strip.exists() {
                bail!("{} is missing although llvm-{}-dev is installed", strip.display(), pins::LLVM_MAJOR);
            }
        }
        Ok(Self { name, sysroot, linker_dir: linker()?, strip, objcopy })
    }
}

/// Is the pinned nightly here already?
pub(crate) fn has_nightly() -> bool {
    installed_nightly().is_some()
}

/// The pinned nightly, installed when it is missing; by the name rustup knows it under here.
pub(crate) fn nightly() -> Result<String> {
    if let Some(name) = installed_nightly() {
        return Ok(name);
    }
    let wanted = pins::NIGHTLY_TOOLCHAIN;
    if command::find("rustup").is_none() {
        bail!("the kernel half needs {}, and there is no rustup to install it", pins::NIGHTLY_VERSION);
    }
    eprintln!("installing toolchain: {wanted} ({})", pins::NIGHTLY_VERSION);
    command::run(Command::new("rustup").args(["toolchain", "install", wanted, "--profile", "minimal"]))
        .with_context(|| format!("the kernel half needs {}", pins::NIGHTLY_VERSION))?;
    installed_nightly().with_context(|| format!("{wanted} is not {}: correct xtask/src/pins.rs", pins::NIGHTLY_VERSION))
}

fn installed_nightly() -> Option<String> {
    [pins::NIGHTLY_TOOLCHAIN, "nightly"].into_iter().map(str::to_owned).find(|name| {
        command::read(Command::new("rustc").arg(format!("+{name}")).arg("-vV").env("RUSTUP_AUTO_INSTALL", "0"))
            .is_ok_and(|version| version.contains(pins::NIGHTLY_COMMIT))
    })
}

fn rust_src(name: &str, sysroot: &std::path::Path) -> Result<()> {
    if sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists() {
        return Ok(());
    }
    eprintln!("installing component: rust-src for {name}");
    command::run(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", name]))
}

fn install_llvm() -> Result<()> {
    install::packages(pins::LLVM_PACKAGES, "bpf-linker for the kernel half")
}

fn linker() -> Result<PathBuf> {
    let root = workspace::cache()?.join(format!("bpf-linker-{}-llvm-{}", pins::BPF_LINKER, pins::LLVM_MAJOR));
    let dir = root.join("bin");
    let program = dir.join("bpf-linker");
    let version = format!("bpf-linker {}", pins::BPF_LINKER);
    if program.exists() && command::read(Command::new(&program).arg("--version"))?.starts_with(&version) {
        return Ok(dir);
    }
    install_llvm()?;
    eprintln!("installing {version} into {} (about three minutes)", root.display());
    let prefix = format!("/usr/lib/llvm-{}", pins::LLVM_MAJOR);
    let feature = format!("llvm-{}", pins::LLVM_MAJOR);
    command::run(
        command::cargo()
            .args(["install", "bpf-linker", "--version", pins::BPF_LINKER, "--no-default-features"])
            .args(["--features", &feature, "--root"])
            .arg(&root)
            .env_remove("CARGO_TARGET_DIR")
            .env("LLVM_PREFIX", &prefix)
            .env(pins::LLVM_SYS_PREFIX, &prefix),
    )?;
    Ok(dir)
}

/// A program that cargo builds from the registry, installed into the project's own cache when it is missing.
pub(crate) fn tool(name: &str, version: &str, takes: &str) -> Result<PathBuf> {
    if let Some(program) = installed(name, version)? {
        return Ok(program);
    }
    install::compiler()?;
    let root = tool_root(name, version)?;
    eprintln!("installing {name} {version} into {} (about {takes})", root.display());
    let mut cargo = command::cargo();
    cargo.args(["install", name, "--version", version, "--locked", "--root"]).arg(&root);
    command::run(cargo.env_remove("CARGO_TARGET_DIR"))?;
    Ok(root.join("bin").join(name))
}

/// The same program, if it is there already.
pub(crate) fn installed(name: &str, version: &str) -> Result<Option<PathBuf>> {
    let program = tool_root(name, version)?.join("bin").join(name);
    Ok(program.exists().then_some(program))
}

fn tool_root(name: &str, version: &str) -> Result<PathBuf> {
    Ok(workspace::cache()?.join(format!("{name}-{version}")))
}
