//! What one process has told of the code it generates.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{JitDump, PerfMap, code::Code};
use crate::{
    symbolize::{Function, Unnamed},
    task::{GeneratedCode, GrowingFile, Module, OwnFiles},
};

/// A process that generates code, from one exec to the next.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) module: Arc<Module>,
    /// The window in which it was last sampled.
    pub(super) window: u64,
    dumps: Vec<(GrowingFile, JitDump)>,
    perf_map: Option<(GrowingFile, PerfMap)>,
    /// Whether a perf map may not be opened.
    denied: bool,
    /// Whether its virtual machine has not answered.
    silent: bool,
    /// The functions of this window, by address and the code that lay there.
    functions: HashMap<(u64, Code), Option<Function>>,
}

impl Process {
    pub(super) fn new(module: &Arc<Module>) -> Self {
        Self {
            module: Arc::clone(module),
            window: 0,
            dumps: Vec::new(),
            perf_map: None,
            denied: false,
            silent: false,
            functions: HashMap::new(),
        }
    }

    /// Reads what it has told since the window before.
    pub(super) fn read(
        &mut self,
        code: GeneratedCode,
        ask_java: bool,
        window_start_ns: u64,
        refused: &mut BTreeSet<String>,
    ) {
        self.functions.clear();
        self.denied = code.denied;
        let mut perf_map = code.perf_map;
        if let Some(files) = code.java.filter(|_| ask_java)
            && self.ask_java(&files, refused)
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
        for now in code.dumps {
            let before = self.dumps.iter().position(|(before, _)| Arc::ptr_eq(&before.file, &now.file));
            let mut dump = before.map(|at| self.dumps.swap_remove(at).1).unwrap_or_default();
            dump.read(&now.file, now.bytes);
            dump.forget_before(window_start_ns);
            self.dumps.push((now, dump));
        }
    }

    /// Has a virtual machine write its perf map; whether it did.
    fn ask_java(&mut self, files: &OwnFiles, refused: &mut BTreeSet<String>) -> bool {
        if self.silent {
            return false;
        }
        let asked = files.ask_java();
        if let Err(error) = &asked {
            self.silent = true;
            if files.is_running() {
                refused.insert(format!("process {} does not name its compiled Java code: {error}", files.tgid()));
            }
        }
        asked.is_ok()
    }

    /// The function that lay at an address at a time. Jitdumps tell the time, so they are believed first.
    pub(super) fn function(&mut self, address: u64, time_ns: u64) -> Option<&Function> {
        let Self { dumps, perf_map, functions, .. } = self;
        for (file, dump) in dumps {
            if let Some(code) = dump.find(address, time_ns) {
                let name = || dump.function(&file.file, address, time_ns);
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
