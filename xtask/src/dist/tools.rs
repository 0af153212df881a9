//! The tools that build and pack what is shipped: pinned, installed into the project's cache where they are missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::triple;
use crate::arch::Arch;
use crate::{command, install, pins, toolchain, workspace};

/// A cargo subcommand, from its sources.
pub(super) fn cargo_tool(name: &str, version: &str) -> Result<PathBuf> {
    toolchain::tool(name, version, "some minutes")
}

/// cargo-zigbuild with its zig, from PyPI.
pub(super) struct Zig(PathBuf);

impl Zig {
    /// Finds or installs both.
    pub(super) fn prepare() -> Result<Self> {
        let root = workspace::cache()?.join(format!("zig-{}-zigbuild-{}", pins::ZIG, pins::CARGO_ZIGBUILD));
        let zig = Self(root.clone());
        if !zig.program().exists() || !zig.zigbuild().exists() {
            if command::read(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
                install::packages(&["python3-pip"], "installing zig")?;
            }
            eprintln!("installing zig {} into {}", pins::ZIG, root.display());
            let wanted = [format!("ziglang=={}", pins::ZIG), format!("cargo-zigbuild=={}", pins::CARGO_ZIGBUILD)];
            let mut pip = Command::new("python3");
            command::run(pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&root).args(wanted))?;
        }
        Ok(zig)
    }

    fn program(&self) -> PathBuf {
        self.0.join("ziglang/zig")
    }

    /// The sources of the C library that binaries are linked with.
    pub(super) fn musl(&self) -> PathBuf {
        self.0.join("ziglang/lib/libc/musl")
    }

    fn zigbuild(&self) -> PathBuf {
        self.0.join("bin/cargo-zigbuild")
    }

    /// `cargo rustc` for a static binary, which does not tell where it was built.
    pub(super) fn cargo_rustc(&self, arch: Arch) -> Result<Command> {
        rust_target(&triple(arch))?;
        let mut build = Command::new(self.zigbuild());
        command::forget_cargo(&mut build);
        build.args(["rustc", "--target", &triple(arch)]).env("CARGO_ZIGBUILD_ZIG_PATH", self.program());
        command::run(command::cargo().args(["fetch", "--quiet"]))?;
        build.env("CARGO_ENCODED_RUSTFLAGS", workspace::remap_flags(&[])?.join(&OsString::from("\u{1f}")));
        Ok(build)
    }

    /// Compiles a C program into a static binary with its symbols and frame pointers.
    pub(super) fn compile(&self, arch: Arch, source: &Path, define: &str, output: &Path) -> Result<()> {
        let mut compiler = Command::new(self.program());
        compiler
            .args(["cc", "-target", &format!("{}-linux-musl", arch.name()), "-static", "-O1", "-g"])
            .args(["-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer", define, "-o"])
            .args([output, source]);
        command::run(&mut compiler)
    }
}

/// Rust's own library for a target.
fn rust_target(triple: &str) -> Result<()> {
    let sysroot = command::read(Command::new("rustc").args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(triple).join("lib").exists() {
        return Ok(());
    }
    eprintln!("installing target: {triple}");
    command::run(Command::new("rustup").args(["target", "add", triple]))
}
