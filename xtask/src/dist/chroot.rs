//! The Debian package in a clean chroot, where nothing but Debian's smallest system is installed, and what the README
//! shows, there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::tools::Zig;
use super::{Dist, shares};
use crate::{command, install, workspace};

/// Runs inside, after the package was installed. Recordings are left in the folder `/example`.
const PROLOGUE: &str = "set -eu\ncd /example\ndpkg --install package.deb\n";
/// Runs at the end: they are root's, and read by whoever runs this.
const EPILOGUE: &str = "chmod a+r *.perfprobe\n";
/// What ends a line of the README that has no end of its own.
const CTRL_C: &str = "timeout --preserve-status --signal INT 20";
/// Runs in a namespace whose mounts end with it.
const ENTER: &str = r#"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --bind /dev "$1/dev"
exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh /example/run
"#;

/// Installs, records and, after all of that is deleted, reports.
pub(super) fn run(dist: &Dist, zig: &Zig) -> Result<()> {
    install::packages(&["debootstrap", "util-linux"], "a clean chroot")?;
    let kept = workspace::target().join("dist/recordings");
    let _ = fs::remove_dir_all(&kept);
    fs::create_dir_all(&kept).with_context(|| format!("cannot create {}", kept.display()))?;
    let root = workspace::target().join("dist/chroot");
    remove(&root)?;
    command::run(install::as_root("cp")?.arg("-a").arg(base()?).arg(&root))?;
    let outcome = example(dist, zig, &root, &kept);
    remove(&root)?;
    outcome?;
    for name in super::files(&kept)? {
        shares::check(&dist.native, &kept.join(name))?;
    }
    Ok(())
}

/// Runs the example in `root` and copies its recordings of one program into `kept`.
fn example(dist: &Dist, zig: &Zig, root: &Path, kept: &Path) -> Result<()> {
    let work = kept.join("example");
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    shares::compile(zig, dist.arch, &work.join(shares::PROGRAM))?;
    fs::copy(dist.package(".deb")?, work.join("package.deb")).context("cannot copy the package")?;
    let readme = fs::read_to_string(workspace::root().join("README.md")).context("cannot read README.md")?;
    fs::write(work.join("run"), script(&readme)?).context("cannot write the example")?;
    command::run(install::as_root("mv")?.arg(&work).arg(root.join("example")))?;

    let mut enter = install::as_root("unshare")?;
    command::run(enter.args(["--mount", "--propagation", "private", "sh", "-euc", ENTER, "sh"]).arg(root))?;

    let made = root.join("example");
    for name in super::files(&made)?.iter().filter(|name| name.ends_with(".perfprobe")) {
        fs::copy(made.join(name), kept.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let page = fs::metadata(made.join("all.html")).context("the README's example left no all.html")?;
    if super::files(kept)?.len() != 2 || page.len() == 0 {
        bail!("the README's example was to leave two recordings and a page with something in it");
    }
    Ok(())
}

/// The README's own lines about the program, with a program that runs and the recording of it filled in.
fn script(readme: &str) -> Result<String> {
    let mut script = PROLOGUE.to_owned();
    let mut lines = 0;
    for line in readme.lines().filter(|line| line.contains("target/release/perfprobe ")) {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let line = line.trim_start_matches("sudo ").replace("target/release/", "");
        let line = line.replace("1234", "$!").replace("FILE.perfprobe", "\"$(ls *.perfprobe | head -n 1)\"");
        // The recordings that are left are of where time goes.
        let line = if line.contains("-e syscalls") { format!("{line} -o calls.svg") } else { line };
        if line.contains("$!") {
            script.push_str("./program &\n");
        }
        script.push_str(&format!("{CTRL_C} {line}\n"));
        lines += 1;
    }
    script.push_str(EPILOGUE);
    if lines < 4 {
        bail!(
            "README.md shows no example any more: its lines begin with target/release/perfprobe, or sudo before that"
        );
    }
    Ok(script)
}

/// Debian's smallest system, of this machine's release and from its mirror; made once and kept.
fn base() -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("/etc/os-release names no Debian release")?;
    let base = workspace::cache()?.join(format!("debian-{codename}"));
    if base.exists() {
        return Ok(base);
    }
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]);
    let targets = command::read(&mut targets)?;
    let prefix = format!("{codename} main ");
    let mirror = targets.lines().find_map(|line| line.strip_prefix(&prefix));
    let mirror = mirror.with_context(|| format!("no package source of this machine is one of Debian {codename}"))?;
    let unfinished = base.with_extension("unfinished");
    remove(&unfinished)?;
    let mut debootstrap = install::as_root("debootstrap")?;
    command::run(debootstrap.args(["--variant=minbase", codename]).arg(&unfinished).arg(mirror))?;
    command::run(install::as_root("mv")?.arg(&unfinished).arg(&base))?;
    Ok(base)
}

/// Removes a chroot, and nothing of what may be mounted in it.
fn remove(root: &Path) -> Result<()> {
    command::read(install::as_root("rm")?.args(["-rf", "--one-file-system"]).arg(root)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::script;

    #[test]
    fn lines_of_the_readme_become_a_script() {
        let readme = "x\nsudo target/release/perfprobe record --pid 1234 -d 10s   # a process\n\
            target/release/perfprobe report FILE.perfprobe\ntarget/release/perfprobe a\ntarget/release/perfprobe b\n";
        let script = script(readme).unwrap_or_default();
        assert!(script.contains("./program &\n"), "{script}");
        assert!(script.contains(" perfprobe record --pid $! -d 10s\n"), "{script}");
        assert!(script.contains(" perfprobe report \"$(ls"), "{script}");
        assert!(super::script("no example").is_err());
    }
}
