//! `profile.proto` in gzip, which `pprof`, Grafana and others read.

pub(super) mod proto;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message;

use crate::profile::{Frame, FrameId, FrameKind, Profile, Series, StackId, StringId, ThreadIndex};
use crate::report::accounting_line;
use crate::report::human::{file_name, line};

/// Writes the values of each stack of each thread, summed over time.
pub(super) fn write(profile: &Profile, series: &Series, out: &mut dyn Write) -> io::Result<()> {
    let mut compressed = GzEncoder::new(out, Compression::default());
    compressed.write_all(&message(profile, series).encode_to_vec())?;
    compressed.finish()?;
    Ok(())
}

fn message(profile: &Profile, series: &Series) -> proto::Profile {
    let mut builder = Builder::new(profile);
    builder.add_types(series);
    builder.add_mappings();
    let mut sums: BTreeMap<(ThreadIndex, StackId), u64> = BTreeMap::new();
    for sample in &series.samples {
        *sums.entry((sample.thread, sample.stack)).or_default() += sample.value;
    }
    for ((thread, stack), value) in sums {
        builder.add_sample(series, thread, stack, value);
    }
    let recording = &profile.recording;
    for comment in [&recording.target_label, &recording.host, &accounting_line(&series.accounting, &series.unit)] {
        let comment = builder.text(comment);
        builder.message.comment.push(comment);
    }
    for warning in &recording.warnings {
        let comment = builder.text(warning);
        builder.message.comment.push(comment);
    }
    builder.message.time_nanos = number(recording.started_unix_ns);
    builder.message.duration_nanos = number(profile.covered_ns());
    builder.message
}

struct Builder<'a> {
    profile: &'a Profile,
    message: proto::Profile,
    texts: HashMap<String, i64>,
    mappings: HashMap<StringId, u64>,
    functions: HashMap<(StringId, StringId), u64>,
    locations: HashMap<Vec<FrameId>, u64>,
}

impl<'a> Builder<'a> {
    fn new(profile: &'a Profile) -> Self {
        let mut builder = Self {
            profile,
            message: proto::Profile::default(),
            texts: HashMap::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        builder.text("");
        builder
    }

    /// The index of `text` in the string table. `pprof` prints what it finds there.
    fn text(&mut self, text: &str) -> i64 {
        if let Some(index) = self.texts.get(text) {
            return *index;
        }
        let index = self.message.string_table.len() as i64;
        self.message.string_table.push(line(text));
        self.texts.insert(text.into(), index);
        index
    }

    fn value_type(&mut self, r#type: &str, unit: &str) -> proto::ValueType {
        proto::ValueType { r#type: self.text(r#type), unit: self.text(unit) }
    }

    fn add_types(&mut self, series: &Series) {
        let first = match series.unit.as_str() {
            "samples" => self.value_type("samples", "count"),
            "ns" => self.value_type(&series.event, "nanoseconds"),
            unit => self.value_type(&series.event, unit),
        };
        self.message.sample_type.push(first);
        self.message.period_type = Some(first);
        self.message.period = 1;
        self.message.default_sample_type = first.r#type;
        if series.period_ns > 0 {
            let time = self.value_type(&series.event, "nanoseconds");
            self.message.sample_type.push(time);
            self.message.period_type = Some(time);
            self.message.period = number(series.period_ns);
            self.message.default_sample_type = time.r#type;
        }
    }

    /// One mapping a module. The viewers take the first for the program itself.
    fn add_mappings(&mut self) {
        let mut modules: BTreeMap<StringId, (u64, u64)> = BTreeMap::new();
        for frame in &self.profile.frames {
            let (start, last) = modules.entry(frame.module).or_insert((frame.address, frame.address));
            *start = frame.address.min(*start);
            *last = frame.address.max(*last);
        }
        let process = self.profile.threads.first().map_or("", |thread| self.profile.strings.get(thread.process));
        let mut modules: Vec<_> = modules.into_iter().collect();
        modules.sort_by_key(|(module, _)| {
            let name = self.profile.strings.get(*module);
            // The kernel cuts the names of processes to 15 bytes.
            let is_program = !process.is_empty() && file_name(name).starts_with(process);
            (!is_program, name.starts_with('['), *module)
        });
        for (index, (module, (start, last))) in modules.into_iter().enumerate() {
            let id = index as u64 + 1;
            let filename = self.text(self.profile.strings.get(module));
            self.mappings.insert(module, id);
            self.message.mapping.push(proto::Mapping {
                id,
                memory_start: start,
                memory_limit: last.saturating_add(1),
                filename,
                // All that can be named has been: keeps the viewers from looking for the file.
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            });
        }
    }

    fn add_sample(&mut self, series: &Series, thread: ThreadIndex, stack: StackId, value: u64) {
        let frames: Vec<FrameId> = self.profile.stacks.leaf_to_root(stack).collect();
        let location_id = group(&self.profile.frames, &frames).map(|frames| self.location(frames)).collect();
        let mut label = Vec::new();
        if let Some(thread) = self.profile.threads.get(thread.0 as usize) {
            let texts = [("thread", thread.comm), ("process", thread.process)];
            for (key, text) in texts {
                let (key, str) = (self.text(key), self.text(self.profile.strings.get(text)));
                label.push(proto::Label { key, str, num: 0 });
            }
            for (key, num) in [("tid", thread.tid), ("tgid", thread.tgid)] {
                label.push(proto::Label { key: self.text(key), str: 0, num: i64::from(num) });
            }
        }
        let mut values = vec![number(value)];
        if series.period_ns > 0 {
            values.push(number(value.saturating_mul(series.period_ns)));
        }
        self.message.sample.push(proto::Sample { location_id, value: values, label });
    }

    /// The location of `frames`, which share an address, innermost first.
    fn location(&mut self, frames: &[FrameId]) -> u64 {
        if let Some(id) = self.locations.get(frames) {
            return *id;
        }
        let id = self.message.location.len() as u64 + 1;
        let mut location = proto::Location { id, ..proto::Location::default() };
        for frame in frames {
            let Some(&frame) = self.profile.frames.get(frame.0 as usize) else { continue };
            location.mapping_id = self.mappings.get(&frame.module).copied().unwrap_or_default();
            location.address = frame.address;
            let function_id = self.function(frame);
            location.line.push(proto::Line { function_id, line: i64::from(frame.line) });
        }
        self.message.location.push(location);
        self.locations.insert(frames.into(), id);
        id
    }

    fn function(&mut self, frame: Frame) -> u64 {
        if let Some(id) = self.functions.get(&(frame.function, frame.file)) {
            return *id;
        }
        let id = self.message.function.len() as u64 + 1;
        let name = self.text(self.profile.strings.get(frame.function));
        let filename = self.text(self.profile.strings.get(frame.file));
        self.message.function.push(proto::Function { id, name, system_name: name, filename });
        self.functions.insert((frame.function, frame.file), id);
        id
    }
}

/// Cuts a stack, leaf first, into its addresses: inlined frames stay with the function they were inlined into.
fn group<'a>(frames: &'a [Frame], stack: &'a [FrameId]) -> impl Iterator<Item = &'a [FrameId]> {
    stack.chunk_by(|&inner, &outer| {
        let (inner, outer) = (frames.get(inner.0 as usize), frames.get(outer.0 as usize));
        inner.zip(outer).is_some_and(|(inner, outer)| {
            inner.kind == FrameKind::Inlined && (inner.module, inner.address) == (outer.module, outer.address)
        })
    })
}

/// The signed numbers of the format; what is too large stays the largest.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
