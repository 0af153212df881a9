//! What is changed in the script that inferno puts into pictures, and why.

use crate::Error;

const ADDITIONS: &str = include_str!("script.js");

/// Each text of inferno's script, all of its occurrences, and what stands there instead.
const CHANGES: [(&str, &str); 8] = [
    // An exception here would end a search before it shows what it found.
    ("history.replaceState(", "save_state("),
    // The selector finds nothing where the picture is part of an HTML page, whose attributes have no namespaces.
    (
        r#"zoom(find_group(document.querySelector('[*|x="' + params.x + '"][y="' + params.y + '"]')));"#,
        "restore_zoom(params);",
    ),
    ("var re = new RegExp(term);", "var re = search_expression(term);"),
    // A search without a match looked like a search that does not work.
    ("if (!searching)\n        return;", "if (!searching)\n        return show_no_match();"),
    // Search in names only: the text goes on with the numbers of the frame.
    ("return (func);", "return func.replace(/ \\([^(]*\\)$/, \"\");"),
    // A frame that has only room for two dots says more without them.
    ("if (w < 2 * known_font_width) {", "if (w < 4 * known_font_width) {"),
    // Long titles ran into the buttons of narrow windows.
    (
        "var svgWidth = svg.width.baseVal.value;",
        "var svgWidth = svg.width.baseVal.value;\n            fit_headings(svgWidth);",
    ),
    (
        "var substringLength = Math.floor(w / known_font_width) - 2;",
        "txt = short_name(txt, Math.floor(w / known_font_width));
        if (txt.length * known_font_width <= w) {
            textElemNewAttributes.push([newX, txt]);
            continue;
        }
        var substringLength = Math.floor(w / known_font_width) - 2;",
    ),
];

const END: &str = "]]></script>";

/// The picture with the amended script.
pub(crate) fn amend(picture: &str) -> Result<String, Error> {
    let (before, after) = picture.split_once(END).ok_or(Error::Unexpected(END))?;
    let mut script = String::from(before);
    for (from, to) in CHANGES {
        if !script.contains(from) {
            return Err(Error::Unexpected(from));
        }
        script = script.replace(from, to);
    }
    Ok([&script, ADDITIONS, END, after].concat())
}
