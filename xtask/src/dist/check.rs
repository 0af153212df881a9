//! What has to hold of the files that are shipped, each found out with the tool that its users have.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{BILL, Dist, SIZE_LIMIT_BYTES, SUMS};
use crate::arch::Arch;
use crate::{command, install, workspace};

/// What a package holds, as the RPM's paths.
const INSTALLED: &[&str] = &[
    "/usr/bin/perfprobe",
    "/usr/share/bash-completion/completions/perfprobe",
    "/usr/share/doc/perfprobe/perfprobe.spdx.json",
    "/usr/share/fish/vendor_completions.d/perfprobe.fish",
    "/usr/share/licenses/perfprobe/LICENSE-APACHE",
    "/usr/share/licenses/perfprobe/LICENSE-GPL2",
    "/usr/share/licenses/perfprobe/LICENSE-MIT",
    "/usr/share/licenses/perfprobe/THIRD-PARTY",
    "/usr/share/man/man1/perfprobe-record.1",
    "/usr/share/man/man1/perfprobe.1",
    "/usr/share/zsh/site-functions/_perfprobe",
];

/// The binary is static, position-independent, stripped, small, and for the architecture that was asked for.
pub(super) fn binary(dist: &Dist) -> Result<()> {
    install::packages(&["file"], "looking at the binary")?;
    let path = dist.binary();
    let bytes = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if bytes >= SIZE_LIMIT_BYTES {
        bail!("{} has {bytes} bytes: {SIZE_LIMIT_BYTES} are too many", path.display());
    }
    let kind = command::read(Command::new("file").arg("-b").arg(&path))?;
    if !kind.contains("static-pie linked") || !kind.contains(dist.arch.file()) || kind.contains("not stripped") {
        bail!(
            "{} is not a static, stripped, position-independent program for {}: {kind}",
            path.display(),
            dist.arch.name()
        );
    }
    // Where it was built is nobody's business, and differs from build to build.
    let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for folder in [workspace::root(), workspace::cargo_home()?] {
        let folder = folder.display().to_string();
        if content.windows(folder.len()).any(|window| window == folder.as_bytes()) {
            bail!("{} holds the folder {folder}, which --remap-path-prefix does not cover", path.display());
        }
    }
    if dist.arch == Arch::host() {
        // It fails for what the dynamic linker has nothing to do with.
        let output = Command::new("ldd").arg(&path).output().context("cannot start `ldd`")?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if !said.contains("statically linked") && !said.contains("not a dynamic executable") {
            bail!("{} asks for the dynamic linker: {said}", path.display());
        }
    }
    println!("{}: {bytes} bytes, {}", path.display(), kind.trim());
    Ok(())
}

/// Checksums, bill of materials, man pages, and what the packages hold.
pub(super) fn files(dist: &Dist) -> Result<()> {
    install::packages(&["groff-base", "rpm"], "looking at man pages and packages")?;
    command::run(Command::new("sha256sum").args(["--check", "--strict", "--quiet", SUMS]).current_dir(&dist.dir))?;
    bill(dist)?;
    for page in super::files(&dist.dir.join("man1"))? {
        man_page(dist, &page)?;
    }
    rpm(dist)?;
    deb(dist)
}

fn bill(dist: &Dist) -> Result<()> {
    let path = dist.dir.join(BILL);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let bill: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    let packages = bill["packages"].as_array().context("the bill of materials has no packages")?;
    let licence = |name: &str| packages.iter().find(|one| one["name"] == name).map(|one| &one["licenseDeclared"]);
    for (name, wanted) in [("perf-user", "MIT OR Apache-2.0"), ("inferno", "CDDL-1.0"), ("libsqlite3-sys", "MIT")] {
        if bill["spdxVersion"] != "SPDX-2.3" || licence(name).is_none_or(|licence| licence != wanted) {
            bail!("{} does not say as SPDX 2.3 that {name} is under {wanted}", path.display());
        }
    }
    if let Some(nameless) = packages.iter().find(|one| one["licenseDeclared"].as_str().is_none_or(str::is_empty)) {
        bail!("{} gives no licence for {}", path.display(), nameless["name"]);
    }
    println!("{BILL}: {} packages", packages.len());
    Ok(())
}

/// groff formats the page without a warning, and it has the sections that every page has.
fn man_page(dist: &Dist, page: &str) -> Result<()> {
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Tascii", "-ww", "-P-cbou"]).arg(dist.dir.join("man1").join(page));
    let output = groff.output().context("cannot start `groff`")?;
    let (text, warnings) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let has = |heading: &str| text.lines().any(|line| line.trim() == heading);
    if !warnings.is_empty() || !has("NAME") || !has("SYNOPSIS") {
        bail!("the man page {page} is not well formed: {warnings}");
    }
    Ok(())
}

fn rpm(dist: &Dist) -> Result<()> {
    let package = dist.package(".rpm")?;
    let query = |what: &str| command::read(Command::new("rpm").args(["-qp", what]).arg(&package));
    let listed = query("--list")?;
    for file in INSTALLED {
        if !listed.lines().any(|line| line == *file) {
            bail!("{} lacks {file}", package.display());
        }
    }
    let needed = query("--requires")?;
    if needed.lines().any(|line| !line.starts_with("rpmlib(")) {
        bail!("{} depends on other packages, though the binary is static: {needed}", package.display());
    }
    let arch = query("--queryformat=%{ARCH}")?;
    if arch != dist.arch.name() {
        bail!("{} is for {arch}", package.display());
    }
    println!("{}: {} files", package.display(), listed.lines().count());
    Ok(())
}

/// What the chroot cannot tell: it is for the right architecture and depends on nothing.
fn deb(dist: &Dist) -> Result<()> {
    let package = dist.package(".deb")?;
    let field = |name: &str| command::read(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name));
    if field("Architecture")?.trim() != dist.arch.debian() || !field("Depends")?.trim().is_empty() {
        bail!("{} is for another architecture, or depends on other packages", package.display());
    }
    let listed = command::read(Command::new("dpkg-deb").arg("--contents").arg(&package))?;
    println!("{}: {} files", package.display(), listed.lines().filter(|line| !line.ends_with('/')).count());
    Ok(())
}
