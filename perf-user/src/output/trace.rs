//! Chrome's trace event format, which Perfetto and `chrome://tracing` open: what threads waited for, and their samples.
//!
//! Between two waits a thread ran or waited too short to be told, so nothing is said of that time. The format is described in
//! "Trace Event Format", <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use std::collections::BTreeSet;
use std::io::Write;

use super::tracks::{function, quoted, reason, tracks};
use super::{ExportOptions, OutputError};
use crate::profile::{Moment, Profile, StackId, Thread};

pub(super) fn write(profile: &Profile, options: &ExportOptions, out: &mut dyn Write) -> Result<(), OutputError> {
    let tracks = tracks(profile, options)?;
    let recording = &profile.recording;
    writeln!(
        out,
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"target\":{},\"host\":{},\"started_unix_ns\":\"{}\",\"recorder\":\"perfprobe {}\"}},",
        quoted(&recording.target_label)?,
        quoted(&recording.host)?,
        recording.started_unix_ns,
        env!("CARGO_PKG_VERSION"),
    )?;
    writeln!(out, "\"stackFrames\":{{")?;
    for (at, (node, caller, frame)) in profile.stacks.nodes().enumerate() {
        let comma = if at > 0 { ",\n" } else { "" };
        let frame = profile.frames.get(frame.0 as usize);
        let name = quoted(frame.map_or("[?]", |frame| profile.strings.get(frame.function)))?;
        let module = quoted(frame.map_or("", |frame| profile.strings.get(frame.module)))?;
        write!(out, "{comma}\"{}\":{{\"name\":{name},\"category\":{module}", node.0)?;
        if caller.0 > 0 {
            write!(out, ",\"parent\":\"{}\"", caller.0)?;
        }
        write!(out, "}}")?;
    }
    writeln!(out, "}},\n\"traceEvents\":[")?;
    let mut named = BTreeSet::new();
    let mut comma = "";
    for track in &tracks {
        let Thread { tgid, tid, comm, process } = track.thread;
        if named.insert(*tgid) {
            let process = quoted(profile.strings.get(*process))?;
            write!(
                out,
                "{comma}{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{tgid},\"tid\":{tgid},\"ts\":0,\"args\":{{\"name\":{process}}}}}"
            )?;
            comma = ",\n";
        }
        let comm = quoted(profile.strings.get(*comm))?;
        write!(
            out,
            "{comma}{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{tgid},\"tid\":{tid},\"ts\":0,\"args\":{{\"name\":{comm}}}}}"
        )?;
        for wait in &track.waits {
            let (start, length) = (microseconds(wait.start_ns), microseconds(wait.length_ns));
            let (why, function) = (quoted(reason(profile, wait).unwrap_or("waiting"))?, function(profile, wait)?);
            write!(
                out,
                "{comma}{{\"ph\":\"X\",\"cat\":\"wait\",\"name\":{why},\"pid\":{tgid},\"tid\":{tid},\"ts\":{start},\"dur\":{length}{},\
                 \"args\":{{\"function\":{function}}}}}",
                stack_frame(wait)
            )?;
        }
        for sample in &track.samples {
            let (start, function) = (microseconds(sample.start_ns), function(profile, sample)?);
            write!(
                out,
                "{comma}{{\"ph\":\"i\",\"s\":\"t\",\"cat\":\"sample\",\"name\":{function},\"pid\":{tgid},\"tid\":{tid},\"ts\":{start}{}}}",
                stack_frame(sample)
            )?;
        }
    }
    writeln!(out, "\n]}}")?;
    Ok(())
}

/// The innermost frame, by its key in the dictionary of frames; nothing for a stack without any.
fn stack_frame(moment: &Moment) -> String {
    if moment.stack == StackId::EMPTY { String::new() } else { format!(",\"sf\":{}", moment.stack.0) }
}

/// Nanoseconds as the microseconds that the format counts in, exactly.
fn microseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000, ns % 1_000)
}
