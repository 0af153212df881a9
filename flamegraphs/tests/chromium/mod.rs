//! A headless Chromium that opens a document and tells what its script said.
#![allow(dead_code, reason = "shared by test executables")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// The browser, if there is one.
pub(crate) fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|file| file.is_file());
    if found.is_none() {
        let required = ["CI", "PERFPROBE_REQUIRE_BROWSER"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!required, "no browser in PATH (looked for {names:?}); install the package `chromium`");
        eprintln!("SKIPPED: no browser in PATH (looked for {names:?}); install the package `chromium`");
    }
    found
}

/// Opens `document`, at this place in it, in `browser` and returns what its script said.
pub(crate) fn run(browser: &PathBuf, name: &str, fragment: &str, document: &str) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, document).unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-dev-shm-usage",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--window-size=1400,900", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}{fragment}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let said = dom.split_once("data-said=\"").map(|(_, rest)| rest.split('"').next().unwrap());
    let said =
        said.unwrap_or_else(|| panic!("the script said nothing\n{}\n{dom}", String::from_utf8_lossy(&output.stderr)));
    said.split('|').filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}
