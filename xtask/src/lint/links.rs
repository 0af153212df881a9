//! Relative links in Markdown files have to lead somewhere.

use super::{Findings, Text};
use crate::workspace;

/// Checks every `](target)` that is no web address and no place in the same page.
pub(crate) fn check(texts: &[Text], findings: &mut Findings) {
    let root = workspace::root();
    for text in texts.iter().filter(|text| text.has_extension("md")) {
        let folder = text.path.parent().map_or_else(|| root.clone(), |folder| root.join(folder));
        for (index, line) in text.text.lines().enumerate() {
            for target in targets(line) {
                if !folder.join(target).exists() {
                    findings.errors.push(format!("{}:{}: the link `{target}` leads nowhere", text.shown(), index + 1));
                }
            }
        }
    }
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#', ' ']).next()?;
        let is_file = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
        is_file.then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn only_files_are_targets() {
        let line = "[a](docs/a.md#part) ![b](b.svg \"title\") [c](https://example.org) [d](#here)";
        assert_eq!(targets(line).collect::<Vec<_>>(), ["docs/a.md", "b.svg"]);
    }
}
