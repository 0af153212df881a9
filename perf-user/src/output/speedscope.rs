//! Files for <https://www.speedscope.app>; the format is that of its `file-format-schema.json`.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use serde::Serialize;

use super::{ExportOptions, OutputError, json};
use crate::profile::{FrameId, Profile, Sample, Series, ThreadIndex};

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: String,
    exporter: String,
    active_profile_index: usize,
    shared: Shared,
    profiles: Vec<Sampled>,
}

#[derive(Serialize)]
struct Shared {
    frames: Vec<NamedFrame>,
}

// Without the line: speedscope would take each line of a function for a function.
#[derive(Clone, Serialize, PartialEq, Eq, Hash)]
struct NamedFrame {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    file: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

/// Writes one profile, or one a thread. The samples stay in the order of their windows.
pub(super) fn write(
    profile: &Profile,
    series: &Series,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<(), OutputError> {
    let mut frames = Frames::default();
    let mut profiles = Vec::new();
    if options.per_thread {
        let mut threads: BTreeMap<ThreadIndex, Vec<&Sample>> = BTreeMap::new();
        for sample in &series.samples {
            threads.entry(sample.thread).or_default().push(sample);
        }
        for (index, samples) in threads {
            let Some(thread) = profile.threads.get(index.0 as usize) else { continue };
            let mut sampled = Sampled::new(series, profile.thread_label(thread));
            for sample in samples {
                sampled.push(series, frames.stack(profile, sample), sample.value);
            }
            profiles.push(sampled);
        }
        profiles.sort_by_key(|sampled| std::cmp::Reverse(sampled.end_value));
    }
    if profiles.is_empty() {
        let mut sampled = Sampled::new(series, format!("{}: {}", profile.recording.target_label, series.event));
        for sample in &series.samples {
            let comm = profile.threads.get(sample.thread.0 as usize).map(|thread| thread.comm);
            let comm = comm.map_or("", |comm| profile.strings.get(comm)).into();
            // The thread's name at the bottom, as in folded stacks.
            let mut stack = vec![frames.index(NamedFrame { name: comm, file: String::new() })];
            stack.extend(frames.stack(profile, sample));
            sampled.push(series, stack, sample.value);
        }
        profiles.push(sampled);
    }
    let file = File {
        schema: SCHEMA,
        name: profile.recording.target_label.clone(),
        exporter: format!("perfprobe@{}", env!("CARGO_PKG_VERSION")),
        active_profile_index: 0,
        shared: Shared { frames: frames.all },
        profiles,
    };
    json(&serde_json::to_string(&file)?, out)?;
    Ok(())
}

impl Sampled {
    fn new(series: &Series, name: String) -> Self {
        let unit = match series.unit.as_str() {
            _ if series.period_ns > 0 => "nanoseconds",
            "ns" => "nanoseconds",
            "bytes" => "bytes",
            _ => "none",
        };
        Self { r#type: "sampled", name, unit, start_value: 0, end_value: 0, samples: Vec::new(), weights: Vec::new() }
    }

    fn push(&mut self, series: &Series, stack: Vec<usize>, value: u64) {
        let weight = value.saturating_mul(series.period_ns.max(1));
        self.samples.push(stack);
        self.weights.push(weight);
        self.end_value = self.end_value.saturating_add(weight);
    }
}

#[derive(Default)]
struct Frames {
    all: Vec<NamedFrame>,
    indices: HashMap<NamedFrame, usize>,
    by_id: HashMap<FrameId, usize>,
}

impl Frames {
    fn index(&mut self, frame: NamedFrame) -> usize {
        let next = self.all.len();
        let index = *self.indices.entry(frame.clone()).or_insert(next);
        if index == next {
            self.all.push(frame);
        }
        index
    }

    /// The frames of `sample`, outermost first.
    fn stack(&mut self, profile: &Profile, sample: &Sample) -> Vec<usize> {
        let ids = profile.stacks.root_to_leaf(sample.stack);
        ids.into_iter().map(|id| self.by_id.get(&id).copied().unwrap_or_else(|| self.add(profile, id))).collect()
    }

    fn add(&mut self, profile: &Profile, id: FrameId) -> usize {
        let file = profile.frames.get(id.0 as usize).map_or("", |frame| match profile.strings.get(frame.file) {
            "" => profile.strings.get(frame.module),
            file => file,
        });
        let index = self.index(NamedFrame { name: profile.frame_label(id), file: file.into() });
        self.by_id.insert(id, index);
        index
    }
}
