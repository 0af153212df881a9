//! The tables that all threads share: frames, functions, stacks, and the texts they name.

use std::collections::BTreeMap;
use std::io::Write;

use super::{column, index};
use crate::output::OutputError;
use crate::output::tracks::quoted;
use crate::profile::{FrameKind, IDLE, Profile, StringId};
use crate::report::human::file_name;

/// Categories of code, with the colours that the profiler has names for. The first one is its default.
const CODE: [(&str, &str); 5] =
    [("Other", "grey"), ("User", "yellow"), ("Kernel", "orange"), ("Generated code", "green"), ("Python", "blue")];

/// The colour of a reason of waits.
fn colour(reason: &str) -> &'static str {
    match reason {
        "waiting for a CPU" => "red",
        "futex" | "kernel lock" => "purple",
        "disk or kernel lock" | "asynchronous I/O" => "brown",
        "page fault" => "magenta",
        "pipe/socket/terminal" | "socket" => "lightred",
        idle if IDLE.contains(&idle) => "lightblue",
        _ => "darkgrey",
    }
}

/// A function: its name, module and source file.
type Function = (StringId, StringId, StringId);

pub(super) struct Tables<'profile> {
    profile: &'profile Profile,
    /// Every function and its row.
    functions: BTreeMap<Function, usize>,
    /// Every module and its row.
    modules: BTreeMap<StringId, usize>,
    /// Every source file and its row.
    sources: BTreeMap<StringId, usize>,
    /// Reasons of waits, and the category of each.
    reasons: BTreeMap<&'profile str, usize>,
    /// Every text and its row.
    strings: BTreeMap<&'profile str, usize>,
}

/// Gives every one a row, in its order.
fn rows<T: Ord>(all: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut rows: BTreeMap<T, usize> = all.map(|one| (one, 0)).collect();
    rows.values_mut().enumerate().for_each(|(at, row)| *row = at);
    rows
}

impl<'profile> Tables<'profile> {
    pub(super) fn new(profile: &'profile Profile) -> Self {
        let text = |id: StringId| profile.strings.get(id);
        let functions = rows(profile.frames.iter().map(|frame| (frame.function, frame.module, frame.file)));
        let code = || profile.frames.iter().filter(|frame| frame.kind != FrameKind::Wait);
        let modules = rows(code().map(|frame| frame.module));
        let sources = rows(profile.frames.iter().map(|frame| frame.file).filter(|file| !text(*file).is_empty()));
        let waits = profile.frames.iter().filter(|frame| frame.kind == FrameKind::Wait);
        let mut reasons = rows(waits.map(|frame| text(frame.function)));
        reasons.values_mut().for_each(|category| *category += CODE.len());
        let named = functions.keys().map(|(function, ..)| text(*function));
        let files = sources.keys().map(|file| text(*file));
        let strings = rows(named.chain(files).chain(modules.keys().map(|module| file_name(text(*module)))).chain([""]));
        Self { profile, functions, modules, sources, reasons, strings }
    }

    /// The row of a text that is in the tables.
    pub(super) fn string(&self, text: &str) -> usize {
        self.strings.get(text).copied().unwrap_or(0)
    }

    /// The category of waits for this reason.
    pub(super) fn category_of_reason(&self, reason: &str) -> usize {
        self.reasons.get(reason).copied().unwrap_or(0)
    }

    pub(super) fn write_categories(&self, out: &mut dyn Write) -> Result<(), OutputError> {
        let reasons = self.reasons.keys().map(|reason| (*reason, colour(reason)));
        for (at, (name, colour)) in CODE.into_iter().chain(reasons).enumerate() {
            let (begin, name) = (if at > 0 { "," } else { "[" }, quoted(name)?);
            write!(out, "{begin}{{\"name\":{name},\"color\":\"{colour}\",\"subcategories\":[\"Other\"]}}")?;
        }
        write!(out, "]")?;
        Ok(())
    }

    pub(super) fn write_libs(&self, out: &mut dyn Write) -> Result<(), OutputError> {
        write!(out, "[")?;
        for (at, module) in self.modules.keys().enumerate() {
            let path = self.profile.strings.get(*module);
            let (comma, name, path) = (if at > 0 { "," } else { "" }, quoted(file_name(path))?, quoted(path)?);
            write!(
                out,
                "{comma}{{\"arch\":\"\",\"name\":{name},\"path\":{path},\"debugName\":{name},\"debugPath\":{path},\
                 \"breakpadId\":\"\",\"codeId\":null}}"
            )?;
        }
        write!(out, "]")?;
        Ok(())
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> Result<(), OutputError> {
        let Self { profile, functions, modules, sources, strings, .. } = self;
        let text = |id: StringId| profile.strings.get(id);
        write!(out, "\"stackTable\":{{")?;
        column(out, "frame", profile.stacks.nodes().map(|(.., frame)| frame.0))?;
        column(out, "prefix", profile.stacks.nodes().map(|(_, caller, _)| index(caller)))?;
        writeln!(out, "\"length\":{}}},\"frameTable\":{{", profile.stacks.node_count() - 1)?;
        let frames = || profile.frames.iter();
        column(out, "address", frames().map(|_| -1))?;
        column(out, "inlineDepth", frames().map(|_| 0))?;
        column(
            out,
            "category",
            frames().map(|frame| match frame.kind {
                FrameKind::User | FrameKind::Inlined => 1,
                FrameKind::Kernel => 2,
                FrameKind::Jit => 3,
                FrameKind::Python => 4,
                FrameKind::Wait => self.category_of_reason(text(frame.function)),
                // In no timeline.
                FrameKind::Waker => 0,
            }),
        )?;
        column(out, "subcategory", frames().map(|_| 0))?;
        column(out, "func", frames().map(|frame| functions[&(frame.function, frame.module, frame.file)]))?;
        column(out, "nativeSymbol", frames().map(|_| "null"))?;
        column(out, "innerWindowID", frames().map(|_| 0))?;
        let line = |line: u32| if line == 0 { String::from("null") } else { line.to_string() };
        column(out, "line", frames().map(|frame| line(frame.line)))?;
        column(out, "column", frames().map(|_| "null"))?;
        writeln!(out, "\"length\":{}}},\"funcTable\":{{", profile.frames.len())?;
        let row = |row: Option<&usize>, none: &str| row.map_or_else(|| none.to_owned(), ToString::to_string);
        column(out, "name", functions.keys().map(|(function, ..)| self.string(text(*function))))?;
        column(out, "isJS", functions.keys().map(|_| false))?;
        column(out, "relevantForJS", functions.keys().map(|_| false))?;
        column(out, "resource", functions.keys().map(|(_, module, _)| row(modules.get(module), "-1")))?;
        column(out, "source", functions.keys().map(|(.., file)| row(sources.get(file), "null")))?;
        column(out, "lineNumber", functions.keys().map(|_| "null"))?;
        column(out, "columnNumber", functions.keys().map(|_| "null"))?;
        writeln!(out, "\"length\":{}}},\"resourceTable\":{{", functions.len())?;
        column(out, "lib", modules.values())?;
        column(out, "name", modules.keys().map(|module| self.string(file_name(text(*module)))))?;
        column(out, "host", modules.keys().map(|_| "null"))?;
        // A library.
        column(out, "type", modules.keys().map(|_| 1))?;
        writeln!(
            out,
            "\"length\":{}}},\"nativeSymbols\":{{\"libIndex\":[],\"address\":[],\"name\":[],\"functionSize\":[],\"length\":0}},",
            modules.len()
        )?;
        write!(out, "\"sources\":{{")?;
        column(out, "filename", sources.keys().map(|file| self.string(text(*file))))?;
        for name in ["id", "sourceMapURL"] {
            column(out, name, sources.keys().map(|_| "null"))?;
        }
        for name in ["startLine", "startColumn"] {
            column(out, name, sources.keys().map(|_| 1))?;
        }
        writeln!(out, "\"length\":{}}},\"stringArray\":[", sources.len())?;
        for (at, text) in strings.keys().enumerate() {
            write!(out, "{}{}", if at > 0 { "," } else { "" }, quoted(text)?)?;
        }
        writeln!(out, "]")?;
        Ok(())
    }
}
