//! A self-contained HTML page: a heat map of seconds, and the flame graph of what is chosen in it.

use std::fmt::Write as _;
use std::io::Write;

use crate::label::{escape, one_line, shown, split_suffix};
use crate::{Error, Kind, colour};

/// What is on the page.
#[derive(Clone, Debug, Default)]
pub struct HeatMap {
    /// The title of the window and the heading.
    pub title: String,
    /// Lines below the heading.
    pub summary: Vec<String>,
    /// Lines the reader must not miss.
    pub warnings: Vec<String>,
    /// What is counted, `samples` for example; `None` for time.
    pub unit: Option<String>,
    /// The clock's time at 0, in nanoseconds since 1970-01-01 UTC.
    pub started_unix_ns: u64,
    /// The time that is shown, in nanoseconds.
    pub span_ns: std::ops::Range<u64>,
    /// The stacks that events name.
    pub stacks: Tree,
    /// What happened, in the order of time.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it began, in nanoseconds.
    pub start_ns: u64,
    /// How long it took. Where events are counted it is of no matter.
    pub length_ns: u64,
    /// Where: a stack of [`HeatMap::stacks`].
    pub stack: u32,
}

/// Stacks as a tree: each is its caller's stack plus a label.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    labels: Vec<String>,
    label_rows: std::collections::HashMap<String, u32>,
    /// The caller's stack and the row of the label; stacks count from 1.
    stacks: Vec<(u32, u32)>,
    rows: std::collections::HashMap<(u32, u32), u32>,
}

impl Tree {
    /// The stack without labels.
    pub const EMPTY: u32 = 0;

    /// The stack that is `caller` plus a label.
    pub fn push(&mut self, caller: u32, label: &str) -> u32 {
        let next = self.labels.len() as u32;
        let label = *self.label_rows.entry(label.to_owned()).or_insert_with(|| {
            self.labels.push(label.to_owned());
            next
        });
        let next = self.stacks.len() as u32 + 1;
        let stack = *self.rows.entry((caller, label)).or_insert(next);
        if stack == next {
            self.stacks.push((caller, label));
        }
        stack
    }
}

const STYLE: &str = include_str!("page.css");
const HEAT_STYLE: &str = include_str!("heat.css");
const SCRIPT: &str = include_str!("heat.js");
const FLAME_SCRIPT: &str = include_str!("heat_flame.js");
const BODY: &str = include_str!("heat.html");

/// Writes `map` as one HTML file that needs nothing else.
///
/// # Errors
/// When `out` cannot be written.
pub fn heat_map(map: &HeatMap, out: &mut dyn Write) -> Result<(), Error> {
    let title = escape(&one_line(&map.title, 300));
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{HEAT_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )?;
    for line in &map.summary {
        writeln!(out, "<p class=\"summary\">{}</p>", escape(line))?;
    }
    for line in &map.warnings {
        writeln!(out, "<p class=\"warning\">{}</p>", escape(line))?;
    }
    write!(out, "{BODY}<script type=\"application/json\" id=\"data\">{{")?;
    let unit = map.unit.as_ref().map_or_else(|| String::from("null"), |unit| json(unit));
    write!(
        out,
        "\"unit\":{unit},\"started_ms\":{},\"from_us\":{},\"to_us\":{},\"labels\":[",
        map.started_unix_ns / 1_000_000,
        map.span_ns.start / 1_000,
        map.span_ns.end.div_ceil(1_000)
    )?;
    for (at, label) in map.stacks.labels.iter().enumerate() {
        let (comma, colour) = (if at > 0 { ",\n" } else { "" }, colour::of(label));
        let (name, kind) = (json(&shown(split_suffix(label).0)), json(Kind::of(label).caption()));
        write!(out, "{comma}[{name},\"#{:02x}{:02x}{:02x}\",{kind}]", colour.r, colour.g, colour.b)?;
    }
    write!(out, "],\n\"stacks\":\"")?;
    let mut packed = Packed::default();
    for (at, (caller, label)) in map.stacks.stacks.iter().enumerate() {
        // A caller comes before those that it calls.
        packed.push(at as u64 + 1 - u64::from(*caller));
        packed.push(u64::from(*label));
        packed.flush(out)?;
    }
    packed.finish(out)?;
    write!(out, "\",\n\"events\":\"")?;
    let mut before_us = 0;
    for event in &map.events {
        let start_us = (event.start_ns / 1_000).max(before_us);
        packed.push(start_us - before_us);
        packed.push(if map.unit.is_some() { 0 } else { (event.length_ns + 500) / 1_000 });
        packed.push(u64::from(event.stack));
        packed.flush(out)?;
        before_us = start_us;
    }
    packed.finish(out)?;
    write!(out, "\"}}</script>\n<script>\n{FLAME_SCRIPT}{SCRIPT}</script>\n</body>\n</html>\n")?;
    Ok(())
}

/// A text as JSON that cannot end the script it stands in.
fn json(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' | '<' | '&' | '\u{2028}' | '\u{2029}' => _ = write!(quoted, "\\u{:04x}", u32::from(character)),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// Numbers as LEB128 in base64, written as they come.
#[derive(Debug, Default)]
struct Packed {
    bytes: Vec<u8>,
}

impl Packed {
    fn push(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Writes what fills groups of three bytes, if there is much of it.
    fn flush(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        const MUCH: usize = 3 << 12;
        if self.bytes.len() < MUCH {
            return Ok(());
        }
        let whole = self.bytes.len() / 3 * 3;
        out.write_all(base64(&self.bytes[..whole]).as_bytes())?;
        self.bytes.drain(..whole);
        Ok(())
    }

    /// Writes the rest.
    fn finish(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(base64(&self.bytes).as_bytes())?;
        self.bytes.clear();
        Ok(())
    }
}

/// <https://www.rfc-editor.org/rfc/rfc4648#section-4>
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let known = digit <= group.len();
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if known { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn equal_stacks_are_one() {
        let mut tree = Tree::default();
        let main = tree.push(Tree::EMPTY, "main");
        let work = tree.push(main, "work");
        assert_eq!(tree.push(main, "work"), work);
        assert_ne!(tree.push(work, "work"), work);
        assert_eq!((tree.labels.len(), tree.stacks.len()), (2, 3));
    }

    #[test]
    fn no_text_ends_the_script() {
        assert_eq!(json("</script>\"\\"), "\"\\u003c/script>\\u0022\\u005c\"");
    }
}
