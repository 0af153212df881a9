//! A self-contained HTML page: the flame graph and tables.

use std::fmt::Write as _;
use std::io::Write;

use crate::label::{escape, one_line};
use crate::picture::fragment;
use crate::{Error, Picture, Stacks};

/// What is on the page, from top to bottom.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The title of the window and the heading.
    pub title: String,
    /// Lines below the heading.
    pub summary: Vec<String>,
    /// Lines the reader must not miss.
    pub warnings: Vec<String>,
    /// The flame graph.
    pub picture: Picture,
    /// What it shows.
    pub stacks: Stacks,
    /// The tables below it.
    pub sections: Vec<Section>,
}

/// A heading with text, a table, or both.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// Paragraphs above the table.
    pub text: Vec<String>,
    /// The columns of the table; none means no table.
    pub columns: Vec<Column>,
    /// The cells, row by row; a row that is too short is filled up with empty cells.
    pub rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// Numbers: aligned to the right.
    pub numeric: bool,
    /// Cells hold function names: a click searches for the name in the flame graph.
    pub searchable: bool,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub fn text(name: &str) -> Self {
        Self { name: name.into(), numeric: false, searchable: false }
    }

    /// A column of numbers.
    #[must_use]
    pub fn number(name: &str) -> Self {
        Self { name: name.into(), numeric: true, searchable: false }
    }

    /// A column of function names.
    #[must_use]
    pub fn function(name: &str) -> Self {
        Self { name: name.into(), numeric: false, searchable: true }
    }
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes `page` as one HTML file that needs nothing else.
///
/// # Errors
/// When `out` cannot be written.
pub fn html(page: &Page, out: &mut dyn Write) -> Result<(), Error> {
    let title = escape(&one_line(&page.title, 300));
    let picture = fragment(&page.stacks, &page.picture)?.replacen(" onload=\"init(evt)\"", "", 1);
    // Finding on the page belongs to the browser here: there is more on it than the picture.
    let picture = picture.replacen("(e.ctrlKey && e.keyCode === 70)", "false", 1);
    let mut body = String::new();
    for line in &page.summary {
        let _ = writeln!(body, "<p class=\"summary\">{}</p>", escape(line));
    }
    for line in &page.warnings {
        let _ = writeln!(body, "<p class=\"warning\">{}</p>", escape(line));
    }
    let _ = writeln!(body, "<div id=\"picture\">{picture}</div>");
    for section in &page.sections {
        write_section(&mut body, section);
    }
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         {body}<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )?;
    Ok(())
}

fn write_section(body: &mut String, section: &Section) {
    let _ = writeln!(body, "<section>\n<h2>{}</h2>", escape(&section.heading));
    for line in &section.text {
        let _ = writeln!(body, "<p>{}</p>", escape(line));
    }
    if !section.columns.is_empty() {
        body.push_str("<table>\n<thead><tr>");
        for column in &section.columns {
            let _ = write!(body, "<th{}>{}</th>", class(column), escape(&column.name));
        }
        body.push_str("</tr></thead>\n<tbody>\n");
        for row in &section.rows {
            body.push_str("<tr>");
            for (index, column) in section.columns.iter().enumerate() {
                let cell = row.get(index).map_or("", String::as_str);
                let _ = write!(body, "<td{}>{}</td>", class(column), escape(cell));
            }
            body.push_str("</tr>\n");
        }
        body.push_str("</tbody>\n</table>\n");
    }
    body.push_str("</section>\n");
}

fn class(column: &Column) -> &'static str {
    match (column.numeric, column.searchable) {
        (true, _) => " class=\"number\"",
        (false, true) => " class=\"function\"",
        (false, false) => "",
    }
}
