//! The flame graph as one SVG file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write;

use inferno::flamegraph::color::{BackgroundColor, PaletteMap};
use inferno::flamegraph::{Direction, Options, TextTruncateDirection, from_lines};

use crate::label::{decode, encode, escape, one_line};
use crate::{Error, Kind, colour, script};

/// Stacks, outermost label first, and how much each of them counts.
pub type Stacks = BTreeMap<Vec<String>, u64>;

/// What stands around the frames.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The heading.
    pub title: String,
    /// One line below it.
    pub subtitle: Option<String>,
    /// What is counted, for the hover line: `samples`.
    pub unit: String,
    /// Draw from the top down, as suits stacks that were given leaf first.
    pub inverted: bool,
    /// Lines below the frames, for what the reader must know to read the picture right.
    pub notes: Vec<String>,
    /// Said in place of the frames when there are none; a default if empty.
    pub when_empty: String,
}

/// Frames narrower than this many percent of the picture are left out.
const MIN_WIDTH_PERCENT: f64 = 0.01;
const WIDTH: usize = 1200;
const LINE_HEIGHT: usize = 18;
const STYLE: &str = "
#title { font-weight:bold; }
#subtitle, #legend text, .note { fill:#555; }
#search { opacity:0.6; }
@media (prefers-color-scheme: dark) {
  #backdrop { fill:#1c1e22; }
  #title, #details, #unzoom, #search, #matched, #reason { fill:#e6e6e6; }
  #subtitle, #legend text, .note { fill:#a8a8a8; }
  #frames > *:hover { stroke:white; }
}
";

/// Draws `stacks` as an SVG document that zooms on a click and searches.
///
/// The same stacks give the same bytes. No stacks give a picture that says why it is empty.
///
/// # Errors
/// When `out` cannot be written.
pub fn svg(stacks: &Stacks, picture: &Picture, out: &mut dyn Write) -> Result<(), Error> {
    out.write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n")?;
    out.write_all(fragment(stacks, picture)?.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

/// The `<svg>` element.
pub(crate) fn fragment(stacks: &Stacks, picture: &Picture) -> Result<String, Error> {
    let mut labels: HashMap<&str, String> = HashMap::new();
    for label in stacks.keys().flatten() {
        labels.entry(label).or_insert_with(|| encode(label));
    }
    // Encoding can make two labels one, so the stacks are merged again. They must be in the order of their labels:
    // in that of whole lines, `a;b(c)` comes between `a;b` and `a;b;c` and would tear `b` in two.
    let mut encoded: BTreeMap<Vec<&str>, u64> = BTreeMap::new();
    let no_stack = encode("[no stack]");
    for (stack, value) in stacks.iter().filter(|(_, value)| **value > 0) {
        let stack = if stack.is_empty() {
            vec![no_stack.as_str()]
        } else {
            stack.iter().map(|label| labels[label.as_str()].as_str()).collect()
        };
        *encoded.entry(stack).or_default() += value;
    }
    if encoded.is_empty() {
        return Ok(empty(picture));
    }
    let mut palette = PaletteMap::default();
    palette.insert("", colour::ALL);
    palette.insert(&no_stack, colour::of("[no stack]"));
    for label in labels.values() {
        palette.insert(label, colour::of(&decode(label)));
    }
    let drawn = draw(&encoded, &mut palette, picture)?;
    let (_, drawn) = drawn.split_once("<svg ").ok_or(Error::Unexpected("<svg "))?;
    let (header, body) = drawn.split_once('>').ok_or(Error::Unexpected(">"))?;
    let height = attribute(header, "height=\"").ok_or(Error::Unexpected("height"))?;
    let body = replace_once(&script::amend(body)?, "</style>", &format!("{STYLE}</style>"))?;
    let backdrop = format!("<rect x=\"0\" y=\"0\" width=\"100%\" height=\"{height}\" fill=\"url(#background)\"/>");
    if !body.contains(&backdrop) {
        return Err(Error::Unexpected("<rect x=\"0\" y=\"0\" width=\"100%\""));
    }
    let body = body.replacen(
        &backdrop,
        "<rect id=\"backdrop\" x=\"0\" y=\"0\" width=\"100%\" height=\"100%\" fill=\"url(#background)\"/>",
        1,
    );
    let body = decode(body.strip_suffix("</svg>").ok_or(Error::Unexpected("</svg>"))?);
    // The suffixes that inferno itself knows it has taken off, but for this one.
    let body = body.replace("_[p] (", " (").replace("_[p]</text>", "</text>");

    let kinds: BTreeSet<Kind> = labels.keys().map(|label| Kind::of(label)).collect();
    let (footer, footer_height) = footer(height, &kinds, &picture.notes);
    Ok(format!("{}{}{}</svg>", open(height + footer_height, picture), body, footer))
}

fn draw(encoded: &BTreeMap<Vec<&str>, u64>, palette: &mut PaletteMap, picture: &Picture) -> Result<String, Error> {
    let mut options = Options::default();
    options.title = one_line(&picture.title, 90);
    options.subtitle = picture.subtitle.as_deref().map(|subtitle| one_line(subtitle, 150));
    options.count_name = one_line(&picture.unit, 40);
    options.name_type = String::new();
    options.direction = if picture.inverted { Direction::Inverted } else { Direction::Straight };
    options.bgcolors = Some(BackgroundColor::Grey);
    options.min_width = MIN_WIDTH_PERCENT;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.palette_map = Some(palette);
    // Only a flame chart is left in the order it is given in; it is given backwards.
    options.flame_chart = true;
    let lines: Vec<String> =
        encoded.iter().rev().map(|(labels, value)| format!("{} {value}", labels.join(";"))).collect();
    let mut drawn = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut drawn).map_err(Error::Layout)?;
    String::from_utf8(drawn).map_err(|_| Error::Unexpected("text in UTF-8"))
}

fn open(height: usize, picture: &Picture) -> String {
    let title = escape(&one_line(&picture.title, 300));
    let description = escape(&one_line(picture.subtitle.as_deref().unwrap_or_default(), 300));
    format!(
        "<svg version=\"1.1\" width=\"{WIDTH}\" height=\"{height}\" onload=\"init(evt)\" viewBox=\"0 0 {WIDTH} {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" \
         xmlns:fg=\"http://github.com/jonhoo/inferno\" aria-label=\"{title}\"><title>{title}</title>\
         <desc>{description}</desc>\
         <!--Flame graph: the width of a frame is its share; frames under {MIN_WIDTH_PERCENT}% are not drawn. \
         Laid out by inferno, https://github.com/jonhoo/inferno, CDDL-1.0.-->"
    )
}

/// The legend and the notes below a picture of this height, and their height.
fn footer(top: usize, kinds: &BTreeSet<Kind>, notes: &[String]) -> (String, usize) {
    let mut footer = String::from("<g id=\"legend\">");
    let mut x = 10;
    let mut baseline = top + 8;
    for kind in kinds {
        let colour = kind.typical();
        let (r, g, b, y, text_x, caption) = (colour.r, colour.g, colour.b, baseline - 10, x + 16, kind.caption());
        let _ = write!(
            footer,
            "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"rgb({r},{g},{b})\"/><text x=\"{text_x}\" y=\"{baseline}\">{caption}</text>"
        );
        x = text_x + caption.len() * 8 + 14;
    }
    footer.push_str("</g>");
    for note in notes {
        baseline += LINE_HEIGHT;
        let _ =
            write!(footer, "<text class=\"note\" x=\"10\" y=\"{baseline}\">{}</text>", escape(&one_line(note, 160)));
    }
    (footer, baseline + 8 - top)
}

fn empty(picture: &Picture) -> String {
    let reason = if picture.when_empty.is_empty() {
        "Nothing was sampled, so there is nothing to draw."
    } else {
        &picture.when_empty
    };
    let mut lines = vec![("title", one_line(&picture.title, 90), 24)];
    lines.extend(picture.subtitle.as_deref().map(|subtitle| ("subtitle", one_line(subtitle, 150), 48)));
    lines.push(("reason", one_line(reason, 160), 84));
    let mut text = String::new();
    for (id, line, y) in &lines {
        let _ = write!(text, "<text id=\"{id}\" x=\"50%\" y=\"{y}\">{}</text>", escape(line));
    }
    let (notes, notes_height) = footer(100, &BTreeSet::new(), &picture.notes);
    let style = format!(
        "<style type=\"text/css\">text {{ font-family:monospace; font-size:12px }} #title {{ font-size:17px }} \
         #title, #subtitle, #reason {{ text-anchor:middle }}{STYLE}</style>\
         <script type=\"text/ecmascript\">function init() {{ \
         var svg = document.getElementsByTagName(\"svg\")[0]; \
         svg.removeAttribute(\"width\"); svg.removeAttribute(\"viewBox\"); }}</script>\
         <rect id=\"backdrop\" x=\"0\" y=\"0\" width=\"100%\" height=\"100%\" fill=\"#f4f4f4\"/>"
    );
    format!("{}{style}{text}{notes}</svg>", open(100 + notes_height, picture))
}

fn attribute(header: &str, name: &str) -> Option<usize> {
    header.split_once(name)?.1.split('"').next()?.parse().ok()
}

fn replace_once(text: &str, from: &'static str, to: &str) -> Result<String, Error> {
    if text.contains(from) { Ok(text.replacen(from, to, 1)) } else { Err(Error::Unexpected(from)) }
}
