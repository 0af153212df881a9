//! What must hold of every output, whatever is in the profile.

use std::collections::HashSet;

use perf_user::output::{ExportOptions, Format, write};
use perf_user::profile::Profile;
use serde_json::Value;

/// Elements that pictures are made of.
const ELEMENTS: [&str; 11] =
    ["svg", "title", "desc", "defs", "linearGradient", "stop", "style", "script", "rect", "text", "g"];

/// Writes `profile` in the format that a number chooses, and checks that no name got out of its place.
pub fn check_one_output(profile: &Profile, choice: usize) {
    let options = ExportOptions { per_thread: choice % 2 == 1, reverse: choice % 3 == 1, ..ExportOptions::default() };
    check_output(profile, Format::ALL[choice % Format::ALL.len()], &options);
}

fn check_output(profile: &Profile, format: Format, options: &ExportOptions) {
    let mut out = Vec::new();
    if write(format, profile, options, &mut out).is_ok() {
        check(format, profile, &out);
    }
}

fn check(format: Format, profile: &Profile, out: &[u8]) {
    if format == Format::Pprof {
        return;
    }
    let text = std::str::from_utf8(out).expect("text in UTF-8");
    match format {
        Format::Svg => check_svg(text),
        Format::Latency => check_latency_maps(text),
        Format::Html => check_html(text),
        Format::Json | Format::Speedscope | Format::Firefox | Format::Trace => {
            serde_json::from_str::<Value>(text).expect("JSON");
            assert!(!text.contains(is_escape), "control characters in JSON");
        }
        Format::Heat => {
            check_html(text);
            assert!(!text.contains(is_escape), "control characters in the page");
        }
        Format::Text => assert!(!text.contains(is_escape), "control characters in text: {text:?}"),
        Format::Folded => {
            let count = |line: &str| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok());
            let counts = text.split_terminator('\n').map(|line| count(line).expect("a stack and a count"));
            let sum = profile.series.first().map_or(0, |series| series.total());
            assert_eq!(counts.sum::<u64>(), sum, "the lines hold every value");
            assert!(!text.contains(is_escape), "control characters in folded stacks");
        }
        Format::Recording | Format::Pprof => {}
    }
}

/// What a terminal could take for a command, or for an order to write from right to left.
fn is_escape(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && character != '\n')
}

/// Asserts that this is a picture without scripts.
fn check_latency_maps(text: &str) {
    let document = roxmltree::Document::parse(text).expect("XML");
    for element in document.descendants().filter(roxmltree::Node::is_element) {
        let name = element.tag_name().name();
        assert!(["svg", "title", "style", "text", "tspan", "rect", "line"].contains(&name), "an element <{name}>");
        assert!(element.attributes().all(|it| !it.name().starts_with("on") && it.name() != "href"), "{element:?}");
    }
}

/// A picture is XML with one script, and nothing that came in through a name.
pub fn check_svg(text: &str) {
    let document = roxmltree::Document::parse(text).expect("XML");
    let mut scripts = 0;
    let mut handlers = HashSet::new();
    for element in document.descendants().filter(roxmltree::Node::is_element) {
        let name = element.tag_name().name();
        assert!(ELEMENTS.contains(&name), "an element <{name}>");
        scripts += usize::from(name == "script");
        handlers.extend(element.attributes().filter(|it| it.name().starts_with("on")).map(|it| it.value().to_owned()));
        assert!(element.attributes().all(|it| it.name() != "href"), "a link");
    }
    assert_eq!(scripts, 1, "scripts");
    assert!(handlers.iter().all(|handler| handler == "init(evt)"), "{handlers:?}");
}

/// A page holds as many scripts as it was written with, however its names read.
pub fn check_html(text: &str) {
    let lower = text.to_lowercase();
    for (tag, expected) in [("<script", 2), ("</script", 2), ("<img", 0), ("<iframe", 0), ("<object", 0)] {
        assert_eq!(lower.matches(tag).count(), expected, "{tag}");
    }
}
