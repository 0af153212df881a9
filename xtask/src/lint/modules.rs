//! The order of the user half's modules: data flows one way, so a module may use only those before it.

use super::{Findings, Text};

/// The modules of `perf-user/src`, in the order data flows through them. `record` drives what comes before it; `output`
/// stands behind `report` because pictures and pages show the report's figures.
const ORDER: &[&str] = &[
    "host",
    "collect",
    "drain",
    "python",
    "task",
    "unwind",
    "unwind",
    "symbolize",
    "profile",
    "store",
    "record",
    "report",
    "output",
    "compare",
    "cli",
];
const SOURCES: &str = "perf-user/src/";

/// Checks every `crate::module` path against the order.
pub(crate) fn check(texts: &[Text], findings: &mut Findings) {
    for text in texts.iter().filter(|text| text.has_extension("rs")) {
        let path = text.path.to_string_lossy();
        let Some(inside) = path.strip_prefix(SOURCES) else { continue };
        let own = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
        if matches!(own, "main" | "lib") {
            continue;
        }
        let Some(place) = position(own) else {
            findings.errors.push(format!("{path}: module `{own}` has no place in the order: {}", ORDER.join(", ")));
            continue;
        };
        for (index, line) in text.text.lines().enumerate() {
            for used in used_modules(line) {
                let complaint = match position(used) {
                    Some(other) if other <= place => continue,
                    Some(_) => format!("`{own}` uses `{used}`, which comes after it"),
                    None => format!("`crate::{used}` is no module of the order"),
                };
                findings.errors.push(format!("{path}:{}: {complaint}", index + 1));
            }
        }
    }
}

fn position(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module)
}

/// The first path segments after `crate::` in a line of code, braces resolved.
fn used_modules(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or(line);
    let mut used = Vec::new();
    for (start, word) in code.match_indices("crate::") {
        if code[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &code[start + word.len()..];
        match rest.strip_prefix('{') {
            Some(list) => used.extend(outer_names(list)),
            None => used.push(name(rest)),
        }
    }
    used.retain(|name| !name.is_empty());
    used
}

/// `a::{b, c}, d::e}` names `a` and `d`.
fn outer_names(list: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let mut begins = true;
    let mut names = Vec::new();
    for (index, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            ' ' => {}
            _ if begins && depth == 0 => {
                names.push(name(&list[index..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

fn name(path: &str) -> &str {
    path.split(|character: char| !character.is_alphanumeric() && character != '_').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::used_modules;

    #[test]
    fn paths_and_lists_are_resolved() {
        assert_eq!(used_modules("use crate::host::Host;"), ["host"]);
        assert_eq!(used_modules("use crate::{drain::{Raw, Loss}, task, profile as p};"), ["drain", "task", "profile"]);
        assert_eq!(used_modules("let x = crate::store::open(path)?; // crate::cli"), ["store"]);
        assert!(used_modules("pub(crate) fn open() {}").is_empty());
        assert!(used_modules("use other_crate::host;").is_empty());
    }
}
