//! `cargo xtask ebpf`: the kernel half's sources become the checked-in objects, the same bytes on every machine.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::toolchain::Toolchain;
use crate::{command, workspace};

/// Architectures and their checked-in objects, from the checkout's root: saved registers differ between architectures.
const OBJECTS: &[(&str, &str)] =
    &[("x86_64", "perf-user/bpf/perfprobe.bpf.o"), ("aarch64", "perf-user/bpf/perfprobe.aarch64.bpf.o")];
/// More would be felt in the repository and in the time to load.
const SIZE_LIMIT_BYTES: usize = 256 * 1024;
/// Anything of this in the object is a path of the machine that built it.
const FORBIDDEN: &[&str] = &["/root", "/home", "/tmp", "/usr", "/.cargo", "/.rustup", "registry/src", "index."];

/// Options of `cargo xtask ebpf`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build beside the checked-in objects and fail unless they are the same, byte for byte
    #[arg(long)]
    pub(crate) check: bool,
}

/// Builds the objects, then writes them or compares them.
pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = Toolchain::prepare()?;
    fetch(&toolchain)?;
    for (arch, object) in OBJECTS {
        let built = build(&toolchain, arch)?;
        if args.check {
            compare(&built, object)?;
        } else {
            write(&built, object)?;
        }
    }
    Ok(())
}

fn write(built: &[u8], object: &str) -> Result<()> {
    let path = workspace::root().join(object);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    fs::write(&path, built).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{object}: {} bytes", built.len());
    Ok(())
}

fn compare(built: &[u8], object: &str) -> Result<()> {
    let path = workspace::root().join(object);
    let checked_in = fs::read(path).with_context(|| format!("cannot read {object}: run `cargo xtask ebpf`"))?;
    if built != checked_in {
        bail!(
            "{object} ({} bytes) is not what the sources give ({} bytes): run `cargo xtask ebpf` and commit the objects",
            checked_in.len(),
            built.len()
        );
    }
    println!("{object}: {} bytes, exactly what the sources give", built.len());
    Ok(())
}

/// An object's bytes: compiled, linked, stripped of DWARF, and searched for what must not be inside.
fn build(toolchain: &Toolchain, arch: &str) -> Result<Vec<u8>> {
    let target = workspace::target().join("ebpf").join(arch);
    let mut cargo = pinned_cargo(toolchain);
    cargo
        .args(["build", "--release", "-Z", "build-std=core", "--target", "bpfel-unknown-none"])
        .args(["-p", "perf-ebpf", "--bin", "perf-ebpf", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, &target, arch)?)
        .env("PATH", path_with(&toolchain.linker_dir)?)
        .envs(PROFILE.iter().copied());
    command::run(&mut cargo)?;

    let linked = target.join("bpfel-unknown-none/release/perf-ebpf");
    let stripped = target.join("perfprobe.bpf.o");
    // Relocations of BTF are for linkers: what they would put in place is there.
    let unused = [".rel.BTF", ".rel.BTF.ext"].map(|section| format!("--remove-section={section}"));
    command::run(Command::new(&toolchain.strip).arg("-g").args(unused).arg("-o").arg(&stripped).arg(&linked))?;
    remove_lines(toolchain, &stripped)?;
    let bytes = fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    inspect(&bytes)?;
    Ok(bytes)
}

/// Removes what tells the lines of instructions: a third of an object, which kernels only show to who reads their verifier's
/// log. What tells its functions stays: callbacks need it.
fn remove_lines(toolchain: &Toolchain, object: &Path) -> Result<()> {
    const SECTION: &str = ".BTF.ext";
    let section = object.with_extension("btf-ext");
    let told = |way: &str| format!("--{way}-section={SECTION}={}", section.display());
    command::run(Command::new(&toolchain.objcopy).arg(told("dump")).arg(object))?;
    let data = fs::read(&section).with_context(|| format!("cannot read {}", section.display()))?;
    let data = without_lines(data).with_context(|| format!("{SECTION} is not as Linux describes it"))?;
    fs::write(&section, data).with_context(|| format!("cannot write {}", section.display()))?;
    command::run(Command::new(&toolchain.objcopy).arg(told("update")).arg(object))
}

/// `struct btf_ext_header` (Documentation/bpf/btf.rst): magic, version and flags, its length, then place and length of what
/// tells functions, of what tells lines and of relocations, counted from its end. Of the last there are none, and where they
/// would be has to be a place.
fn without_lines(mut data: Vec<u8>) -> Option<Vec<u8>> {
    const MAGIC: [u8; 2] = [0x9f, 0xeb];
    let number = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?) as usize);
    let (header, lines, lines_bytes) = (number(4)?, number(16)?, number(20)?);
    let ends_so = header + lines + lines_bytes == data.len();
    if !data.starts_with(&MAGIC) || !ends_so {
        return None;
    }
    data[20..24].fill(0);
    if header >= 32 {
        data.copy_within(16..20, 24);
    }
    data.truncate(header + lines);
    Some(data)
}

/// The profile of the kernel half, apart from the user half's: bpf-linker does the link-time optimization itself.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
    ("CARGO_INCREMENTAL", "0"),
];

/// Downloads the sources first: the folders to remap have to exist before they can be listed.
fn fetch(toolchain: &Toolchain) -> Result<()> {
    command::run(pinned_cargo(toolchain).args(["fetch", "--quiet"]))
}

fn pinned_cargo(toolchain: &Toolchain) -> Command {
    let mut cargo = Command::new("cargo");
    command::forget_cargo(&mut cargo);
    for name in ["CARGO", "RUSTC", "RUSTC_WRAPPER", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUSTDOC", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    cargo.arg(format!("+{}", toolchain.name)).current_dir(workspace::root());
    cargo
}

fn path_with(dir: &Path) -> Result<OsString> {
    let old = env::var_os("PATH").unwrap_or_default();
    env::join_paths([dir.to_owned()].into_iter().chain(env::split_paths(&old)))
        .context("PATH holds a colon in a folder")
}

/// rustc's flags. Every folder that differs from machine to machine gets a name that does not.
fn flags(toolchain: &Toolchain, target: &Path, arch: &str) -> Result<OsString> {
    let mut flags: Vec<OsString> = vec![
        format!("--cfg=bpf_target_arch=\"{arch}\"").into(),
        // The linker is found on PATH: its folder in a flag would change the crates' hashes.
        "-Clinker=bpf-linker".into(),
        "-Clink-arg=--btf".into(),
    ];
    flags.extend(workspace::remap_flags(&[
        (target, "target"),
        (&toolchain.sysroot, "sysroot"),
        (&toolchain.sysroot.join("lib/rustlib/src/rust"), "rust"),
    ])?);
    Ok(flags.join(&OsString::from("\u{1f}")))
}

/// Refuses an object that is too large, has no BTF, or says where it was built.
fn inspect(object: &[u8]) -> Result<()> {
    if object.len() > SIZE_LIMIT_BYTES {
        bail!(
            "the object has {} bytes, more than {SIZE_LIMIT_BYTES}: find what grew before raising the limit",
            object.len()
        );
    }
    if !contains(object, b".BTF\0") {
        bail!("the object has no BTF: bpf-linker ran without --btf, or llvm-strip removed it");
    }
    if contains(object, b"panicking") {
        bail!("the object has code that panics, which kernels refuse: find the index that may be out of bounds");
    }
    let mut inside: Vec<String> = FORBIDDEN.iter().map(|text| (*text).to_owned()).collect();
    inside.push(workspace::root().display().to_string());
    inside.extend(
        workspace::crate_sources()?.iter().filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned())),
    );
    inside.retain(|text| contains(object, text.as_bytes()));
    if !inside.is_empty() {
        bail!("the object holds `{}`: a path that --remap-path-prefix does not cover", inside.join("`, `"));
    }
    Ok(())
}

fn contains(object: &[u8], text: &[u8]) -> bool {
    object.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::without_lines;

    #[test]
    fn only_what_tells_lines_is_removed() {
        let header = |lines| [0x0001_eb9f_u32, 32, 0, 8, 8, lines, 8 + lines, 0].map(u32::to_le_bytes).concat();
        let (functions, lines) = ([1_u8; 8], [2_u8; 12]);
        let whole = [header(12), functions.to_vec(), lines.to_vec()].concat();
        assert_eq!(without_lines(whole.clone()), Some([header(0), functions.to_vec()].concat()));
        assert_eq!(without_lines(whole[..whole.len() - 1].to_vec()), None);
        assert_eq!(without_lines(Vec::new()), None);
    }
}
