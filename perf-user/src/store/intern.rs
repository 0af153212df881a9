//! What is in the recording already: every text, module, frame, stack and thread is stored once, or, in a recording so
//! long that not all can be remembered, a few times. Readers tell them by what they say, never by their ids.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use perf_ebpf::stack::{STACK_ID_SEED, mix};
use rusqlite::{Transaction, params};

use super::blob::encode_frames;
use crate::{
    symbolize::{Function, Names, Unnamed, build_id},
    task::{LocatedSample, LocatedWindow, Module, ModuleId, ModuleKind, RawFrame},
};

/// A module as it was stored: its row, and a hash of what it says.
#[derive(Clone, Copy, Debug)]
struct StoredModule {
    id: u32,
    hash: u64,
}

/// A frame as it was stored.
#[derive(Clone, Copy, Debug)]
struct StoredFrame {
    id: u32,
    hash: u64,
    /// Whether it is of the kernel's, and only runs because something is recorded.
    traces: bool,
}

/// A stack, or the outermost frames of one, as it was stored.
#[derive(Clone, Copy, Debug)]
struct StoredStack {
    /// Tells it from all others that are remembered.
    node: u32,
    hash: u64,
    /// The row that its last frame is in, and how many frames there are up to that.
    row: u32,
    depth: u32,
    /// The row of the stack that ends here; 0 for none.
    whole: u32,
}

impl StoredStack {
    const EMPTY: Self = Self { node: 0, hash: STACK_ID_SEED, row: 0, depth: 0, whole: 0 };
}

/// The rows of a table that are remembered, by what they say: those that were looked for since some were last forgotten, and
/// those that were looked for before.
#[derive(Debug)]
struct Rows<K, V> {
    known: HashMap<K, V>,
    before: HashMap<K, V>,
    written: u32,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), before: HashMap::new(), written: 0 }
    }
}

impl<K: Eq + Hash, V: Copy> Rows<K, V> {
    fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(row) = self.known.get(key) {
            return Some(*row);
        }
        let (key, row) = self.before.remove_entry(key)?;
        self.known.insert(key, row);
        Some(row)
    }

    fn forget<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.known.remove(key).or_else(|| self.before.remove(key))
    }

    /// Forgets what nobody looked for since this was last asked.
    fn age(&mut self) {
        self.before = std::mem::take(&mut self.known);
    }

    /// The id of the next row, from 1.
    fn next_id(&mut self) -> u32 {
        self.written += 1;
        self.written
    }
}

/// The rows written so far.
#[derive(Debug, Default)]
pub(super) struct Interner {
    strings: Rows<String, u32>,
    modules: Rows<ModuleId, StoredModule>,
    frames: Rows<RawFrame, StoredFrame>,
    /// By the stack of the caller, and the row of the frame on top of it.
    stacks: Rows<(u32, u32), StoredStack>,
    stack_rows: u32,
    threads: Rows<(u32, u32, String, String), u32>,
}

impl Interner {
    /// Forgets rows if there are more than `limit`, those first that were not needed for longest: what comes again is written
    /// again.
    pub(super) fn forget_beyond(&mut self, limit: usize) {
        let Self { strings, modules, frames, stacks, threads, .. } = self;
        let known =
            [strings.known.len(), modules.known.len(), frames.known.len(), stacks.known.len(), threads.known.len()];
        if known.iter().sum::<usize>() > limit / 2 {
            strings.age();
            modules.age();
            frames.age();
            stacks.age();
            threads.age();
        }
    }

    pub(super) fn name_frames(
        &mut self,
        transaction: &Transaction<'_>,
        window: &LocatedWindow,
        names: &mut Names,
    ) -> rusqlite::Result<()> {
        let mut new: BTreeMap<ModuleId, Vec<RawFrame>> = BTreeMap::new();
        for frame in window.samples().flat_map(|sample| &sample.frames) {
            if self.frames.get(frame).is_none() {
                let Some(module) = window.modules.get(&frame.module) else { continue };
                let place = mix(self.module(transaction, module)?.hash, frame.address);
                // Where code was generated says nothing of what it is.
                let hash = if frame.code == 0 { place } else { frame.code };
                let id = self.frames.next_id();
                self.frames.known.insert(*frame, StoredFrame { id, hash, traces: false });
                new.entry(frame.module).or_default().push(*frame);
            }
        }
        for (module, frames) in new {
            let row = self.modules.known[&module].id;
            for (named, frame) in names.name_frames(&window.modules[&module], &frames).iter().zip(&frames) {
                let Some(stored) = self.frames.known.get_mut(frame) else { continue };
                let id = stored.id;
                stored.traces = frame.module == ModuleId::KERNEL
                    && named.functions.first().is_some_and(|function| traces(&function.name));
                transaction.prepare_cached("INSERT INTO frame VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                    id,
                    row,
                    frame.address as i64,
                    named.unnamed.map(Unnamed::name)
                ])?;
                for (depth, function) in named.functions.iter().enumerate() {
                    let name = string(&mut self.strings, transaction, &function.name)?;
                    let file = string(&mut self.strings, transaction, &function.file)?;
                    transaction.prepare_cached("INSERT INTO line VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                        id,
                        depth as i64,
                        name,
                        file,
                        function.line
                    ])?;
                }
            }
        }
        Ok(())
    }

    /// Gives a frame that had none a name, and forgets it. One whose row is not remembered stays as it is.
    pub(super) fn rename(
        &mut self,
        transaction: &Transaction<'_>,
        frame: &RawFrame,
        function: &Function,
    ) -> rusqlite::Result<()> {
        let Some(StoredFrame { id, .. }) = self.frames.forget(frame) else { return Ok(()) };
        let name = string(&mut self.strings, transaction, &function.name)?;
        let file = string(&mut self.strings, transaction, &function.file)?;
        transaction.prepare_cached("UPDATE frame SET unnamed = NULL WHERE id = ?1")?.execute([id])?;
        let sql = "UPDATE line SET function = ?2, file = ?3, line = ?4 WHERE frame = ?1";
        transaction.prepare_cached(sql)?.execute(params![id, name, file, function.line])?;
        Ok(())
    }

    fn module(&mut self, transaction: &Transaction<'_>, module: &Module) -> rusqlite::Result<StoredModule> {
        if let Some(stored) = self.modules.get(&module.id) {
            return Ok(stored);
        }
        let build_id = module.symbols_path.as_ref().and_then(|path| build_id(path));
        let identity = build_id.as_deref().unwrap_or(&module.path);
        // A file has many code objects.
        let name = module.code.as_ref().map_or("", |code| &code.name);
        let hash = identity.bytes().chain(name.bytes()).fold(STACK_ID_SEED, |hash, byte| mix(hash, u64::from(byte)));
        let kind = match module.kind {
            ModuleKind::Kernel => "kernel",
            ModuleKind::Unmapped => "unmapped",
            ModuleKind::CutOff => "cut off",
            ModuleKind::Did => "scheduler",
            ModuleKind::Waker => "waker",
            ModuleKind::Touched => "touched",
            ModuleKind::Lock => "lock",
            ModuleKind::Hidden => "hidden",
            ModuleKind::Jit => "jit",
            ModuleKind::Python => "python",
            ModuleKind::Vdso => "vdso",
            ModuleKind::File => "file",
        };
        let id = self.modules.next_id();
        transaction.execute("INSERT INTO module VALUES (?1, ?2, ?3, ?4)", params![id, kind, module.path, build_id])?;
        let stored = StoredModule { id, hash };
        self.modules.known.insert(module.id, stored);
        Ok(stored)
    }

    /// The row of a stack given outermost first; 0 for the empty one. `traced` stacks were taken by a program that runs where
    /// an event is traced: the way to it, which is the innermost of the kernel's, is no part of them.
    pub(super) fn stack(
        &mut self,
        transaction: &Transaction<'_>,
        frames: &[RawFrame],
        traced: bool,
    ) -> rusqlite::Result<u32> {
        let frames = frames.iter().map(|frame| self.frames.known[frame]).filter(|frame| !(traced && frame.traces));
        let mut frames = frames.peekable();
        let (mut key, mut stack) = (None, StoredStack::EMPTY);
        while let Some(frame) = frames.peek() {
            let Some(stored) = self.stacks.get(&(stack.node, frame.id)) else { break };
            (key, stack) = (Some((stack.node, frame.id)), stored);
            frames.next();
        }
        if frames.peek().is_none() && (stack.whole != 0 || stack.node == 0) {
            return Ok(stack.whole);
        }
        self.stack_rows += 1;
        let (row, caller, kept) = (self.stack_rows, stack.row, stack.depth);
        let mut new = Vec::new();
        for frame in frames {
            new.push(frame.id);
            let at = (stack.node, frame.id);
            key = Some(at);
            let (node, hash) = (self.stacks.next_id(), mix(stack.hash, frame.hash));
            stack = StoredStack { node, hash, row, depth: stack.depth + 1, whole: 0 };
            self.stacks.known.insert(at, stack);
        }
        if let Some(ended) = key.and_then(|key| self.stacks.known.get_mut(&key)) {
            ended.whole = row;
        }
        transaction.prepare_cached("INSERT INTO stack VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            row,
            caller,
            kept,
            encode_frames(&new),
            stack.hash as i64
        ])?;
        Ok(row)
    }

    /// The row of a text.
    pub(super) fn text(&mut self, transaction: &Transaction<'_>, text: &str) -> rusqlite::Result<u32> {
        string(&mut self.strings, transaction, text)
    }

    /// The rows of some texts.
    pub(super) fn texts<const N: usize>(
        &mut self,
        transaction: &Transaction<'_>,
        texts: [&str; N],
    ) -> rusqlite::Result<[u32; N]> {
        let mut rows = [0; N];
        for (row, text) in rows.iter_mut().zip(texts) {
            *row = self.text(transaction, text)?;
        }
        Ok(rows)
    }

    /// The row of a sample's thread.
    pub(super) fn thread(&mut self, transaction: &Transaction<'_>, sample: &LocatedSample) -> rusqlite::Result<u32> {
        let key = (sample.tgid, sample.tid, sample.comm.clone(), sample.process.clone());
        if let Some(id) = self.threads.get(&key) {
            return Ok(id);
        }
        let comm = string(&mut self.strings, transaction, &key.2)?;
        let process = string(&mut self.strings, transaction, &key.3)?;
        let id = self.threads.next_id();
        transaction
            .execute("INSERT INTO thread VALUES (?1, ?2, ?3, ?4, ?5)", params![id, key.0, key.1, comm, process])?;
        self.threads.known.insert(key, id);
        Ok(id)
    }
}

/// Whether a function of the kernel is on the way from a tracepoint to a BPF program, or the program.
fn traces(name: &str) -> bool {
    ["bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_trampoline_"]
        .iter()
        .any(|start| name.starts_with(start))
}

fn string(strings: &mut Rows<String, u32>, transaction: &Transaction<'_>, text: &str) -> rusqlite::Result<u32> {
    if let Some(id) = strings.get(text) {
        return Ok(id);
    }
    let id = strings.next_id();
    transaction.prepare_cached("INSERT INTO string VALUES (?1, ?2)")?.execute(params![id, text])?;
    strings.known.insert(text.to_owned(), id);
    Ok(id)
}
