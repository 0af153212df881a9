//! Names of generated code, as the processes that generate it tell them.

mod code;
mod dump;
mod perf_map;
mod process;
mod window;

pub use dump::JitDump;
pub use perf_map::PerfMap;

use std::{collections::HashMap, sync::Arc};

use perf_ebpf::stack::{STACK_ID_SEED, mix};

use super::{Function, Named, Names, Unnamed, unnamed};
use crate::task::{LocatedSample, LocatedWindow, Module, ModuleId, ModuleKind, RawFrame};
use process::{Java, Process};

/// Pieces of code that are remembered of one file, some 50 MB.
const MOST_CODE: usize = 500_000;

/// And of all together: beyond, those of the process that was sampled the longest time ago are forgotten, and read again if
/// it is sampled again.
const MOST_CODE_OF_ALL: usize = 1_000_000;

/// A name is cut behind this.
const MOST_NAME_BYTES: usize = 4096;

/// What is known of the generated code of all processes.
#[derive(Debug, Default)]
pub(super) struct Generated {
    processes: HashMap<ModuleId, Process>,
    /// The functions of the window that was located last, by their frames.
    functions: HashMap<RawFrame, Function>,
    /// Frames of windows before that have a name by now.
    late: Vec<(RawFrame, Function)>,
    java: Java,
    /// How many windows there were.
    windows: u64,
}

impl Names {
    /// Whether Java virtual machines are to be asked for what they have compiled.
    #[must_use]
    pub fn asking_java(mut self, java_map: bool) -> Self {
        self.generated.java.wanted = java_map;
        self
    }

    /// Finds out which generated code the frames of a window are in; has to be called before they are named.
    pub fn locate_generated(&mut self, window: &mut LocatedWindow) {
        self.generated.locate(window);
    }

    /// Names many frames of one module at once, in their order.
    #[must_use]
    pub fn name_frames(&mut self, module: &Arc<Module>, frames: &[RawFrame]) -> Vec<Named> {
        if module.kind == ModuleKind::Jit {
            return frames.iter().map(|frame| self.generated.name(module, frame)).collect();
        }
        let addresses: Vec<u64> = frames.iter().map(|frame| frame.address).collect();
        self.name(module, &addresses)
    }

    /// Takes the frames that were named without a name, and have one by now.
    #[must_use]
    pub fn take_late(&mut self) -> Vec<(RawFrame, Function)> {
        std::mem::take(&mut self.generated.late)
    }

    /// The same, when no window comes any more.
    #[must_use]
    pub fn take_last(&mut self) -> Vec<(RawFrame, Function)> {
        let processes = self.generated.processes.values_mut();
        self.generated.late.extend(processes.flat_map(Process::named_at_end));
        self.take_late()
    }

    /// Why virtual machines that were asked have not told what they have compiled.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        let refused = self.generated.java.refused.iter();
        refused.map(|(tgid, why)| format!("process {tgid} does not name the Java code it compiles: {why}")).collect()
    }
}

impl Generated {
    fn locate(&mut self, window: &mut LocatedWindow) {
        self.windows += 1;
        self.functions.clear();
        let mut places: HashMap<ModuleId, Vec<(usize, usize)>> = HashMap::new();
        let LocatedWindow { kinds, timeline, modules, generated, start_ns, .. } = window;
        let samples = kinds.iter_mut().flat_map(|kind| &mut kind.samples);
        let happened = timeline.iter_mut().flat_map(|timeline| &mut timeline.places).map(|(_, place)| place);
        let mut samples: Vec<&mut LocatedSample> = samples.chain(happened).collect();
        for (at, sample) in samples.iter().enumerate() {
            for (depth, frame) in sample.frames.iter().enumerate() {
                if modules.get(&frame.module).is_some_and(|module| module.kind == ModuleKind::Jit) {
                    places.entry(frame.module).or_default().push((at, depth));
                }
            }
        }
        // One after another, so that no more than one has to be remembered beyond what all may take.
        for code in std::mem::take(generated) {
            let id = code.module.id;
            let mut process = self.processes.remove(&id).unwrap_or_else(|| Process::new(&code.module));
            process.window = self.windows;
            process.read(code, &mut self.java, *start_ns);
            self.late.extend(process.named_late());
            for (at, depth) in places.remove(&id).unwrap_or_default() {
                let sample = &mut samples[at];
                let frame = &mut sample.frames[depth];
                match process.function(frame.address, sample.first_ns) {
                    Some(function) => {
                        frame.code = hash(function);
                        self.functions.entry(*frame).or_insert_with(|| function.clone());
                    }
                    None => process.note_unnamed(frame.address, sample.first_ns),
                }
            }
            self.processes.insert(id, process);
            self.forget(id);
        }
        // What nothing else knows any more has ended.
        let ended = |_: &ModuleId, process: &mut Process| Arc::strong_count(&process.module) == 1;
        let ended = self.processes.extract_if(ended);
        self.late.extend(ended.flat_map(|(_, mut process)| process.named_at_end()));
    }

    fn name(&self, module: &Module, frame: &RawFrame) -> Named {
        if let Some(function) = self.functions.get(frame) {
            return Named { functions: vec![function.clone()], unnamed: None };
        }
        let why = self.processes.get(&frame.module).map_or(Unnamed::Jit, Process::why_unnamed);
        unnamed(module, frame.address, why)
    }

    /// Forgets what was sampled the longest time ago, until the rest fits; `last` stays.
    fn forget(&mut self, last: ModuleId) {
        while self.processes.values().map(Process::len).sum::<usize>() > MOST_CODE_OF_ALL {
            let others = self.processes.iter_mut().filter(|(id, process)| **id != last && process.len() > 0);
            let Some((_, oldest)) = others.min_by_key(|(_, process)| process.window) else { break };
            oldest.forget();
        }
    }
}

/// A name as it is told, without what could be taken for an order to a terminal; `None` if there is none.
fn name_of(bytes: &[u8]) -> Option<String> {
    let kept = &bytes[..bytes.len().min(MOST_NAME_BYTES)];
    let mut name: String = String::from_utf8_lossy(kept).chars().map(printable).collect();
    if kept.len() < bytes.len() {
        name.push('\u{2026}');
    }
    (!name.is_empty()).then_some(name)
}

fn printable(character: char) -> char {
    if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }
}

/// What tells a function from others at its place, the same in every recording; never 0, which stands for none.
fn hash(function: &Function) -> u64 {
    let Function { name, file, line } = function;
    let bytes = name.bytes().chain([0]).chain(file.bytes()).map(u64::from);
    bytes.chain([u64::from(*line)]).fold(STACK_ID_SEED, mix) | 1
}

#[cfg(test)]
mod tests;
