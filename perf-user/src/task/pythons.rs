//! The interpreters in processes, the code they run, and the places of their frames.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    sync::Arc,
};

use perf_ebpf::python::{CodeKey, Ending, Process};

use super::{CodeMapping, Module, ModuleId, RawFrame, Tasks};
use crate::python::{Code, Interpreter, groups, may_be_interpreter, merge};

/// Memory that code objects may take: beyond, all are forgotten, and told anew as they are met.
const MAX_CODE_BYTES: usize = 64 << 20;

/// A process that runs an interpreter.
#[derive(Clone, Debug)]
struct Running {
    /// Names its code objects, and no other process's.
    number: u32,
    runtime: u64,
    interpreter: Arc<Interpreter>,
    /// The file it is in.
    module: ModuleId,
}

impl Running {
    /// As the kernel half is told of it.
    fn told(&self) -> Process {
        Process { runtime: self.runtime, layout: self.interpreter.layout, number: self.number, reserved: 0 }
    }
}

/// The interpreters in processes, and the code objects they have run.
#[derive(Debug, Default)]
pub(super) struct Pythons {
    /// Files called like an interpreter, with the one that is in them.
    files: HashMap<ModuleId, Option<Arc<Interpreter>>>,
    processes: HashMap<u32, Running>,
    /// By their numbers: those in `processes`, and some that were.
    numbers: HashMap<u32, Running>,
    retired: Vec<u32>,
    last_number: u32,
    codes: HashMap<CodeKey, Arc<Module>>,
    /// Code objects that say the same are one module, in however many processes they are.
    modules: HashMap<Arc<Code>, Arc<Module>>,
    bytes: usize,
}

impl Pythons {
    /// Looks for an interpreter in what a process has mapped; what the kernel half has to be told, if anything changed:
    /// `None` in it for a process that has none.
    fn place(&mut self, tgid: u32, mappings: &[CodeMapping]) -> Option<Option<Process>> {
        let found = mappings.iter().find_map(|mapping| {
            let interpreter = self.interpreter(&mapping.module)?;
            if !interpreter.has_loop(mapping.offset, mapping.end - mapping.start) {
                return None;
            }
            let runtime = interpreter.runtime(mapping.start, mapping.offset)?;
            Some((runtime, interpreter, mapping.module.id))
        });
        let known = self.processes.get(&tgid).map(|running| (running.runtime, running.module));
        if known == found.as_ref().map(|(runtime, _, module)| (*runtime, *module)) {
            return None;
        }
        self.retire(tgid);
        let Some((runtime, interpreter, module)) = found else { return Some(None) };
        let running = Running { number: 0, runtime, interpreter, module };
        Some(Some(self.begin(tgid, running)))
    }

    fn begin(&mut self, tgid: u32, running: Running) -> Process {
        self.last_number = self.last_number.wrapping_add(1);
        let running = Running { number: self.last_number, ..running };
        let told = running.told();
        self.numbers.insert(running.number, running.clone());
        self.processes.insert(tgid, running);
        told
    }

    fn retire(&mut self, tgid: u32) -> Option<Running> {
        let running = self.processes.remove(&tgid)?;
        self.retired.push(running.number);
        Some(running)
    }

    fn interpreter(&mut self, module: &Arc<Module>) -> Option<Arc<Interpreter>> {
        if !may_be_interpreter(&module.path) {
            return None;
        }
        let read = || Interpreter::read(&File::open(module.symbols_path.as_ref()?).ok()?).ok().map(Arc::new);
        self.files.entry(module.id).or_insert_with(read).clone()
    }

    /// Nothing refers to what was retired before any more.
    fn settle(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        self.retired.drain(..).for_each(|number| _ = self.numbers.remove(&number));
        self.codes.retain(|key, _| self.numbers.contains_key(&key.number));
        self.modules.retain(|_, module| Arc::strong_count(module) > 1);
        self.bytes = self.modules.keys().map(|code| code.bytes()).sum();
    }
}

impl Tasks {
    /// What the kernel half has to be told of a process, now that it has this mapped: nothing, that it runs an interpreter,
    /// or that it does not.
    pub fn place_python(&mut self, tgid: u32, mappings: &[CodeMapping]) -> Option<Option<Process>> {
        self.pythons.place(tgid, mappings)
    }

    /// The interpreter that a process runs.
    #[must_use]
    pub fn python(&self, tgid: u32) -> Option<Process> {
        self.pythons.processes.get(&tgid).map(Running::told)
    }

    /// Whether all is known of a code object.
    #[must_use]
    pub fn knows_whole(&self, key: &CodeKey) -> bool {
        let module = self.pythons.codes.get(key);
        module.and_then(|module| module.code.as_ref()).is_some_and(|code| code.is_whole())
    }

    /// A process has ended; whether it ran an interpreter.
    pub fn forget_python(&mut self, tgid: u32) -> bool {
        self.pythons.retire(tgid).is_some()
    }

    /// Takes note of a code object.
    pub fn learn_code(&mut self, key: CodeKey, code: Code) {
        let pythons = &mut self.pythons;
        if !pythons.numbers.contains_key(&key.number) {
            return;
        }
        let code = Arc::new(code);
        let module = match pythons.modules.entry(Arc::clone(&code)) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => {
                pythons.bytes += code.bytes();
                Arc::clone(new.insert(self.modules.python(code)))
            }
        };
        pythons.codes.insert(key, module);
    }

    /// Forgets interpreters that ended before the last window did. When there is too much code, all of it is forgotten: the
    /// kernel half has to be told of these processes anew, and will tell their code again.
    pub fn settle_pythons(&mut self) -> Vec<(u32, Process)> {
        let pythons = &mut self.pythons;
        pythons.settle();
        let keys = pythons.codes.len() * size_of::<(CodeKey, Arc<Module>)>();
        if pythons.bytes + keys <= MAX_CODE_BYTES {
            return Vec::new();
        }
        let tgids: Vec<u32> = pythons.processes.keys().copied().collect();
        let renew = |tgid| pythons.retire(tgid).map(|running| (tgid, pythons.begin(tgid, running)));
        tgids.into_iter().filter_map(renew).collect()
    }

    /// Puts Python frames in their places among the native ones of a stack, outermost first.
    pub(super) fn with_python(
        &self,
        native: Vec<RawFrame>,
        words: &[u64],
        place: &mut impl FnMut(&Arc<Module>, u64) -> RawFrame,
    ) -> Vec<RawFrame> {
        let Some((header, groups)) = groups(words) else { return native };
        let running = self.pythons.numbers.get(&header.number);
        let is_loop = |frame: &RawFrame| {
            running.is_some_and(|running| running.module == frame.module && running.interpreter.is_loop(frame.address))
        };
        let native: Vec<_> = native.into_iter().map(|frame| (frame, is_loop(&frame))).collect();
        let groups = groups.into_iter().map(|group| {
            let located = group.frames.into_iter().map(|frame| {
                let key = CodeKey { number: header.number, check: frame.check, code: frame.code };
                match self.pythons.codes.get(&key) {
                    Some(module) => place(module, u64::try_from(frame.offset).unwrap_or(0)),
                    None => place(self.modules.python_unread(), 0),
                }
            });
            located.collect()
        });
        let groups = groups.collect();
        let more = if header.ending == Ending::Deep as u32 { PYTHON_DEEP } else { PYTHON_UNREADABLE };
        let (gap, more) = (mark(NATIVE_GAP), mark(more));
        let merged = merge(&native, (header.ending, groups), |frame| frame.module == ModuleId::CUT_OFF, gap, more);
        merged.iter().filter(|frame| frame.module == ModuleId::CUT_OFF).for_each(|frame| {
            place(self.modules.cut_off(), frame.address);
        });
        merged
    }
}

/// Why frames are missing, as addresses in [`ModuleId::CUT_OFF`]: native ones between Python frames that stand outermost.
pub const NATIVE_GAP: u64 = 0x100;
/// More Python frames than are kept.
pub const PYTHON_DEEP: u64 = 0x101;
/// Python frames that could not be read.
pub const PYTHON_UNREADABLE: u64 = 0x102;

fn mark(reason: u64) -> RawFrame {
    RawFrame { module: ModuleId::CUT_OFF, address: reason, code: 0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use perf_ebpf::python::{CodeHead, FILE_BYTES, Frame, Header, NAME_BYTES};

    use super::*;
    use crate::task::Modules;

    /// A process that runs an interpreter; its number.
    fn running(tasks: &mut Tasks, tgid: u32) -> u32 {
        let interpreter = Arc::default();
        tasks.pythons.begin(tgid, Running { number: 0, runtime: 0x1000, interpreter, module: ModuleId(99) }).number
    }

    /// What the kernel half tells of a code object without lines.
    fn record(number: u32, code: u64, name: &str) -> Vec<u8> {
        let mut record = [&number.to_ne_bytes()[..], &1_u32.to_ne_bytes(), &code.to_ne_bytes(), &[0; 8]].concat();
        for (text, bytes) in [(name, NAME_BYTES), ("a.py", FILE_BYTES)] {
            record.extend([1_u32.to_ne_bytes(), (text.len() as u32).to_ne_bytes()].concat());
            record.extend(text.bytes().chain(std::iter::repeat(0)).take(bytes));
        }
        assert_eq!(record.len(), size_of::<CodeHead>());
        record
    }

    fn name(tasks: &Tasks, number: u32, code: u64) -> Option<String> {
        let module = tasks.pythons.codes.get(&CodeKey { number, check: 1, code })?;
        Some(module.code.as_ref().unwrap().name.clone())
    }

    fn learn(tasks: &mut Tasks, record: &[u8]) {
        let (key, code) = Code::parse(record).unwrap();
        tasks.learn_code(key, code);
    }

    #[test]
    fn code_is_known_by_the_process_that_runs_it_until_its_last_window_is_over() {
        let mut tasks = Tasks::default();
        let (one, two) = (running(&mut tasks, 1), running(&mut tasks, 2));
        learn(&mut tasks, &record(one, 0x10, "f"));
        learn(&mut tasks, &record(two, 0x20, "f"));
        learn(&mut tasks, &record(two, 0x10, "g"));
        learn(&mut tasks, &record(two + 1, 0x10, "of nobody"));
        assert_eq!((name(&tasks, one, 0x10).as_deref(), name(&tasks, two, 0x10).as_deref()), (Some("f"), Some("g")));
        assert_eq!((name(&tasks, one, 0x20), name(&tasks, two + 1, 0x10)), (None, None));
        assert_eq!(tasks.pythons.modules.len(), 2, "f is one module");
        assert!(tasks.forget_python(1) && !tasks.forget_python(1));
        assert!(name(&tasks, one, 0x10).is_some());
        assert_eq!(tasks.settle_pythons(), []);
        assert_eq!(name(&tasks, one, 0x10), None);
        assert!(tasks.forget_python(2));
        assert_eq!(tasks.settle_pythons(), []);
        assert_eq!((tasks.pythons.modules.len(), tasks.pythons.bytes), (0, 0));
    }

    #[test]
    fn too_much_code_is_forgotten_and_asked_for_again() {
        let mut tasks = Tasks::default();
        let first = running(&mut tasks, 1);
        learn(&mut tasks, &record(first, 0x10, "f"));
        tasks.pythons.bytes = MAX_CODE_BYTES + 1;
        let [(1, process)] = tasks.settle_pythons()[..] else { panic!("one process is told anew") };
        assert!(process.number != first && process.runtime == 0x1000);
        assert!(name(&tasks, first, 0x10).is_some(), "the window that is filled now may have it");
        assert_eq!(tasks.settle_pythons(), []);
        assert_eq!((name(&tasks, first, 0x10), tasks.pythons.bytes), (None, 0));
        learn(&mut tasks, &record(process.number, 0x10, "f"));
        assert_eq!(name(&tasks, process.number, 0x10).as_deref(), Some("f"));
    }

    #[test]
    fn frames_of_unknown_code_and_marks_keep_their_places_and_their_modules() {
        let mut tasks = Tasks::default();
        let number = running(&mut tasks, 1);
        learn(&mut tasks, &record(number, 0x10, "f"));
        let header = Header { number, ending: Ending::Unreadable as u32 }.word();
        let frame = |code, offset| Frame { code, outermost: false, check: 1, offset }.words();
        let words = [&[header][..], &frame(0x10, 6), &frame(0x30, -2)].concat();
        let mut modules = HashMap::new();
        let mut place = |module: &Arc<Module>, address| {
            modules.insert(module.id, Arc::clone(module));
            RawFrame { module: module.id, address, code: 0 }
        };
        let native = place(Modules::default().unmapped(), 0);
        let frames = tasks.with_python(vec![native], &words, &mut place);
        let f = tasks.pythons.codes[&CodeKey { number, check: 1, code: 0x10 }].id;
        let expected = [
            mark(PYTHON_UNREADABLE),
            RawFrame { module: ModuleId::PYTHON_UNREAD, address: 0, code: 0 },
            RawFrame { module: f, address: 6, code: 0 },
            mark(NATIVE_GAP),
            native,
        ];
        assert_eq!(frames, expected);
        assert!(frames.iter().all(|frame| modules.contains_key(&frame.module)));
    }
}
