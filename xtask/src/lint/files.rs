//! Rules for one file at a time: length, first line, `unsafe`, traces of the machine it was written on.

use super::{Findings, Text};

/// Longer files are named.
const LINES_WARN: usize = 250;
/// Longer files are refused.
const LINES_FAIL: usize = 400;
/// Where `unsafe` may stand: the kernel half, and the one file that talks to the kernel by raw calls.
const UNSAFE_PLACES: &[&str] = &["perf-ebpf/src", "perf-user/src/host/sys/"];
/// The only source a dependency may come from, as Cargo.lock writes it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Length, first line and `unsafe` of the Rust files, and the sources in Cargo.lock.
pub(crate) fn check(texts: &[Text], findings: &mut Findings) {
    for text in texts {
        if text.has_extension("rs") {
            check_rust(text, findings);
        }
        if text.path.ends_with("Cargo.lock") {
            check_lock(text, findings);
        }
    }
}

/// No file may name a folder of this machine, or the host of a registry.
pub(crate) fn check_machine(texts: &[Text], paths: &[String], findings: &mut Findings) {
    let host = concat!("index.", "crates.io");
    for text in texts {
        for (number, line) in numbered(&text.text) {
            if let Some(path) = paths.iter().find(|path| names_path(line, path)) {
                findings.errors.push(format!("{}:{number}: names `{path}`, a folder of this machine", text.shown()));
            }
            if line.contains(host) {
                findings.errors.push(format!("{}:{number}: names the registry host `{host}`", text.shown()));
            }
        }
    }
}

fn check_rust(text: &Text, findings: &mut Findings) {
    let path = text.shown();
    let lines = text.text.lines().count();
    if lines > LINES_FAIL {
        findings.errors.push(format!("{path}: {lines} lines, more than {LINES_FAIL}: split it by role"));
    } else if lines > LINES_WARN {
        findings.warnings.push(format!("{path}: {lines} lines, more than {LINES_WARN}"));
    }
    if !text.text.starts_with("//! ") {
        findings.errors.push(format!("{path}:1: the first line is not a `//!` sentence saying what the file owns"));
    }
    if !UNSAFE_PLACES.iter().any(|place| text.path.starts_with(place)) {
        for (number, _) in numbered(&text.text).filter(|(_, line)| is_unsafe(line)) {
            findings.errors.push(format!("{path}:{number}: `unsafe` outside {}", UNSAFE_PLACES.join(" and ")));
        }
    }
}

fn check_lock(text: &Text, findings: &mut Findings) {
    for (number, line) in numbered(&text.text) {
        if let Some(source) = line.strip_prefix("source = ")
            && source.trim_matches('"') != REGISTRY
        {
            findings.errors.push(format!("{}:{number}: {source} is not the public registry", text.shown()));
        }
    }
}

/// The keyword before a block, a function, an implementation or a trait. Attributes and prose do not count.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    code.match_indices("unsafe").any(|(start, word)| {
        let starts_word = !code[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let next = code[start + word.len()..].trim_start();
        starts_word && ["{", "fn ", "impl ", "impl<", "extern ", "trait "].iter().any(|form| next.starts_with(form))
    })
}

/// Does the line hold `path` as an absolute path, not as the tail of a longer one?
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        !line[..start]
            .ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | '-' | '.' | '}' | '>'))
    })
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::{is_unsafe, names_path};

    #[test]
    fn unsafe_code_is_seen_and_prose_is_not() {
        let keyword = "unsafe";
        assert!(is_unsafe(&format!("    let fd = {keyword} {{ open() }};")));
        assert!(is_unsafe(&format!("pub {keyword} fn call()")));
        assert!(!is_unsafe("#![forbid(unsafe_code)]"));
        assert!(!is_unsafe("// unsafe { } is not used here"));
        assert!(!is_unsafe("#[unsafe(no_mangle)]"));
    }

    #[test]
    fn a_path_is_found_only_where_it_begins() {
        assert!(names_path("see /opt/build/x", "/opt/build/"));
        assert!(!names_path("see docs/opt/build/x", "/opt/build/"));
    }
}
