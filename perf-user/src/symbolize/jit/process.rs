//! What one process has told of the code it generates.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    sync::Arc,
    time::Instant,
};

use super::{JitDump, MOST_CODE, PerfMap, code::Code};
use crate::{
    symbolize::{Function, Unnamed},
    task::{GeneratedCode, GrowingFile, Module, OwnFiles, RawFrame, is_hang_up},
};

/// Addresses that are remembered until a jitdump tells of them.
const MOST_LATE: usize = 10_000;

/// A virtual machine is not made to write perf maps for more than one part in so many of its time, nor of ours.
const ASKING_SHARE: u32 = 10;

/// When so many virtual machines have not answered, no more are asked: each made the recorder wait.
const MOST_SILENT: usize = 8;

/// The Java virtual machines.
#[derive(Debug, Default)]
pub(super) struct Java {
    /// Whether they are asked what they have compiled.
    pub(super) wanted: bool,
    /// What processes said instead of telling it.
    pub(super) refused: BTreeMap<u32, String>,
    /// How many did not answer.
    silent: usize,
}

/// A process that generates code, from one exec to the next.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) module: Arc<Module>,
    /// The window in which it was last sampled.
    pub(super) window: u64,
    dumps: Vec<(Arc<File>, JitDump)>,
    perf_map: Option<(GrowingFile, PerfMap)>,
    /// Whether a perf map may not be opened.
    denied: bool,
    /// When its virtual machine is asked again; `None` once it has not answered.
    ask_at: Option<Instant>,
    /// The functions of this window, by address and the code that lay there.
    functions: HashMap<(u64, Code), Option<Function>>,
    /// Addresses without a name, and when they were first and last seen: runtimes keep back what they write to jitdumps, and
    /// its times tell later what lay there. `None` once there were too many.
    late: Option<HashMap<u64, (u64, u64)>>,
}

impl Process {
    pub(super) fn new(module: &Arc<Module>) -> Self {
        Self {
            module: Arc::clone(module),
            window: 0,
            dumps: Vec::new(),
            perf_map: None,
            denied: false,
            ask_at: Some(Instant::now()),
            functions: HashMap::new(),
            late: Some(HashMap::new()),
        }
    }

    /// Reads what it has told since the window before.
    pub(super) fn read(&mut self, code: GeneratedCode, java: &mut Java, window_start_ns: u64) {
        self.functions.clear();
        self.denied = code.denied;
        let mut perf_map = code.perf_map;
        if let Some(files) = &code.java
            && self.ask(java, files)
        {
            // All of it was written anew.
            (self.perf_map, perf_map) = (None, files.perf_map().ok());
        }
        if let Some(now) = perf_map {
            let before = self.perf_map.take().filter(|(before, _)| Arc::ptr_eq(&before.file, &now.file));
            let mut map = before.map(|(_, map)| map).unwrap_or_default();
            map.read(&now.file, now.bytes);
            self.perf_map = Some((now, map));
        }
        for file in code.dumps {
            if !self.dumps.iter().any(|(before, _)| Arc::ptr_eq(before, &file)) {
                self.dumps.push((file, JitDump::default()));
            }
        }
        self.read_dumps();
        if self.len() > MOST_CODE / 2 {
            self.late = None;
        }
        let late = self.late.iter().flatten().map(|(_, (first_ns, _))| *first_ns).min();
        let needed_ns = window_start_ns.min(late.unwrap_or(window_start_ns));
        self.dumps.iter_mut().for_each(|(_, dump)| dump.forget_before(needed_ns));
    }

    /// Reads jitdumps as far as they are written: what is told later than it happened has its time all the same.
    fn read_dumps(&mut self) {
        for (file, dump) in &mut self.dumps {
            if let Ok(now) = GrowingFile::now(Arc::clone(file)) {
                dump.read(file, now.bytes);
            }
        }
    }

    /// Remembers that an address had no name at a time.
    pub(super) fn note_unnamed(&mut self, address: u64, time_ns: u64) {
        let Some(late) = &mut self.late else { return };
        let seen = late.entry(address).or_insert((time_ns, time_ns));
        *seen = (seen.0.min(time_ns), seen.1.max(time_ns));
        if late.len() > MOST_LATE {
            self.late = None;
        }
    }

    /// The frames without a name that have one by now: the same code lay there whenever they were seen.
    pub(super) fn named_late(&mut self) -> Vec<(RawFrame, Function)> {
        let Self { module, dumps, late, .. } = self;
        let name = |address: u64, first_ns: u64, last_ns: u64| {
            let (file, dump) = dumps.iter().find(|(_, dump)| dump.find(address, first_ns).is_some())?;
            let same = dump.find(address, first_ns) == dump.find(address, last_ns);
            if same { dump.function(file, address, first_ns) } else { None }
        };
        let mut named = Vec::new();
        let still_unnamed = |address: &u64, (first_ns, last_ns): &mut (u64, u64)| {
            let function = name(*address, *first_ns, *last_ns);
            let frame = RawFrame { module: module.id, address: *address, code: 0 };
            let unnamed = function.is_none();
            named.extend(function.map(|function| (frame, function)));
            unnamed
        };
        if let Some(late) = late {
            late.retain(still_unnamed);
        }
        named
    }

    /// The same, once the process has ended and told all that it had kept back.
    pub(super) fn named_at_end(&mut self) -> Vec<(RawFrame, Function)> {
        self.read_dumps();
        self.named_late()
    }

    /// Has a virtual machine write its perf map, if that does not take too much of its time; whether it did.
    fn ask(&mut self, java: &mut Java, files: &OwnFiles) -> bool {
        let begin = Instant::now();
        if !java.wanted || java.silent >= MOST_SILENT || self.ask_at.is_none_or(|at| begin < at) {
            return false;
        }
        let asked = files.ask_java();
        self.ask_at = Some(begin + begin.elapsed() * ASKING_SHARE);
        match &asked {
            Ok(()) => _ = java.refused.remove(&files.tgid()),
            // It has told what it compiled, and is on its way out.
            Err(error) if self.perf_map.is_some() && is_hang_up(error) => {}
            Err(error) if files.is_running() => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.ask_at = None;
                    java.silent += 1;
                }
                java.refused.insert(files.tgid(), error.to_string());
            }
            Err(_) => self.ask_at = None,
        }
        asked.is_ok()
    }

    /// The function that lay at an address at a time. Jitdumps tell the time, so they are believed first.
    pub(super) fn function(&mut self, address: u64, time_ns: u64) -> Option<&Function> {
        let Self { dumps, perf_map, functions, .. } = self;
        for (file, dump) in dumps {
            if let Some(code) = dump.find(address, time_ns) {
                let name = || dump.function(file, address, time_ns);
                return functions.entry((address, *code)).or_insert_with(name).as_ref();
            }
        }
        let (file, map) = perf_map.as_ref()?;
        let code = map.find(address)?;
        let name = || Some(Function { name: map.name(&file.file, address)?, ..Function::default() });
        functions.entry((address, *code)).or_insert_with(name).as_ref()
    }

    /// Why places that it did not tell of have no name.
    pub(super) fn why_unnamed(&self) -> Unnamed {
        let too_much = self.perf_map.as_ref().is_some_and(|(_, map)| map.is_too_much())
            || self.dumps.iter().any(|(_, dump)| dump.is_too_much());
        match (too_much, self.denied) {
            (true, _) => Unnamed::TooMuchCode,
            (_, true) => Unnamed::FileDenied,
            _ => Unnamed::Jit,
        }
    }

    /// How many pieces of code are remembered.
    pub(super) fn len(&self) -> usize {
        let dumps = self.dumps.iter().map(|(_, dump)| dump.len());
        dumps.sum::<usize>() + self.perf_map.as_ref().map_or(0, |(_, map)| map.len())
    }

    /// Forgets them: they are read again when the process is sampled again.
    pub(super) fn forget(&mut self) {
        self.dumps.clear();
        self.perf_map = None;
    }
}
