//! Where things are: the checkout, the build directory, the cache for tools.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result};

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), Into::into);
    manifest.parent().map(Path::to_owned).unwrap_or(manifest)
}

/// Cargo's build directory: `CARGO_TARGET_DIR`, else `target` in the checkout.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Cargo's home: registry and downloaded sources.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(dir));
    }
    Ok(home()?.join(".cargo"))
}

/// The folders of downloaded crate sources: one for each registry, named after its host.
pub(crate) fn crate_sources() -> Result<Vec<PathBuf>> {
    let base = cargo_home()?.join("registry/src");
    let entries = fs::read_dir(&base).with_context(|| format!("cannot list {}", base.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// rustc's flags that give every folder which differs from machine to machine a name that does not: the checkout, the
/// downloaded crates, and `further` ones.
pub(crate) fn remap_flags(further: &[(&Path, &str)]) -> Result<Vec<OsString>> {
    let mut remap = vec![(root(), "perfprobe")];
    remap.extend(further.iter().map(|(from, to)| (from.to_path_buf(), *to)));
    remap.extend(crate_sources()?.into_iter().map(|dir| (dir, "crates")));
    // The last remapping that fits wins, so the outer folders come first.
    remap.sort_by_key(|(from, _)| from.components().count());
    let flag = |(from, to): (PathBuf, &str)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    };
    Ok(remap.into_iter().map(flag).collect())
}

/// The folder for tools this project installs for itself; created when missing.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => home()?.join(".cache"),
    };
    let dir = base.join("perfprobe-dev");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

fn home() -> Result<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).context("HOME is not set: set it, or CARGO_HOME and XDG_CACHE_HOME")
}
