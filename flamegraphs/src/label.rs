//! Labels on their way through inferno's line format and XML, and back.

use std::borrow::Cow;

/// Longest label that is drawn or shown on hover, in characters. A C++ name can have 10,000.
const LONGEST: usize = 500;

// inferno reads lines of `frame;frame;frame count`, where spaces and digits at the end of a name would be taken for a
// second count. Control characters cannot be in XML, so they are free to stand for these two inside the library.
const SEMICOLON: char = '\u{1}';
const SPACE: char = '\u{2}';
// A line that begins with this and a space is a comment to inferno: a thread of this name without frames.
const HASH: char = '\u{3}';

/// `label` as inferno can carry it: one word, never empty.
pub(crate) fn encode(label: &str) -> String {
    let (name, suffix) = split_suffix(label);
    let name = middle_cut(name, LONGEST);
    let name = if name.is_empty() { "[unnamed]" } else { &name };
    let name: String = name.chars().map(printable).chain(suffix.chars()).collect();
    if name == "#" { HASH.into() } else { name.replace(';', "\u{1}").replace(' ', "\u{2}") }
}

/// The picture with all labels as they were.
pub(crate) fn decode(picture: &str) -> String {
    picture.replace(SEMICOLON, ";").replace(SPACE, " ").replace(HASH, "#")
}

/// `text` in one line without characters that XML forbids, at most `longest` characters long.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    middle_cut(text.trim(), longest).chars().map(printable).collect()
}

/// A label as it is shown by scripts: cut, and without what has no shape.
pub(crate) fn shown(label: &str) -> String {
    middle_cut(label, LONGEST).chars().map(printable).collect()
}

/// `text` for use between tags and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars().map(printable) {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The name and the suffix, `_[k]` for example, that tells its kind.
pub(crate) fn split_suffix(label: &str) -> (&str, &str) {
    let at = label.len().wrapping_sub("_[k]".len());
    match label.get(at..) {
        Some("_[k]" | "_[i]" | "_[j]" | "_[p]" | "_[w]") => label.split_at(at),
        _ => (label, ""),
    }
}

/// Cuts out of the middle: the start tells the library, the end tells the function.
fn middle_cut(text: &str, longest: usize) -> Cow<'_, str> {
    let count = text.chars().count();
    if count <= longest {
        return Cow::Borrowed(text);
    }
    let head: String = text.chars().take(longest / 2).collect();
    let tail: String = text.chars().skip(count - (longest - longest / 2 - 1)).collect();
    Cow::Owned(format!("{head}…{tail}"))
}

fn printable(character: char) -> char {
    match character {
        // Not characters of XML 1.0.
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        // They would turn the direction of whatever comes after them.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        other if other.is_whitespace() || other.is_control() => ' ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_inferno_would_misread_comes_back() {
        for label in ["foo 12", "a;b", "<T as U>::f", " lead", "tail ", "x & \"y\" 'z'", "# comment", "[u8; 8] 3"] {
            let encoded = encode(label);
            assert!(!encoded.contains([';', ' ']), "{encoded:?}");
            assert_eq!(decode(&encoded), label);
        }
    }

    #[test]
    fn no_label_begins_a_comment() {
        assert_ne!(encode("#"), "#");
        assert_eq!(decode(&encode("#")), "#");
        assert_eq!(encode("# 1"), "#\u{2}1");
    }

    #[test]
    fn labels_are_never_empty_nor_many_lines() {
        assert_eq!(decode(&encode("")), "[unnamed]");
        assert_eq!(decode(&encode("_[k]")), "[unnamed]_[k]");
        assert_eq!(decode(&encode("a\nb\tc\u{1}d")), "a b c d");
    }

    #[test]
    fn a_long_name_keeps_start_end_and_suffix() {
        let long = format!("start{}end_[i]", "x".repeat(20_000));
        let short = encode(&long);
        assert!(short.starts_with("startx") && short.ends_with("xend_[i]") && short.contains('…'));
        assert_eq!(short.chars().count(), LONGEST + "_[i]".len());
    }

    #[test]
    fn escaping_leaves_no_markup() {
        assert_eq!(escape("<a b=\"c\">&'\u{1}"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39; ");
    }
}
