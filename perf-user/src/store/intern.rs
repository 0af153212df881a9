//! What is in the recording already: every text, module, frame, stack and thread is stored once, or, in a recording so
//! long that not all can be remembered, a few times. Readers tell them by what they say, never by their ids.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
};

use perf_ebpf::stack::{STACK_ID_SEED, mix};
use rusqlite::{Transaction, params};

use crate::{
    symbolize::{Function, Names, Unnamed, build_id},
    task::{LocatedSample, LocatedWindow, Module, ModuleId, ModuleKind, RawFrame},
};

/// A module, frame or stack as it was stored: its row, and a hash of what it says.
#[derive(Clone, Copy, Debug)]
struct Stored {
    id: u32,
    hash: u64,
}

/// The rows of a table that are remembered, by what they say.
#[derive(Debug)]
struct Rows<K, V> {
    known: HashMap<K, V>,
    written: u32,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), written: 0 }
    }
}

impl<K: Eq + Hash, V> Rows<K, V> {
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
    modules: Rows<ModuleId, Stored>,
    frames: Rows<RawFrame, Stored>,
    stacks: Rows<(u32, u32), Stored>,
    threads: Rows<(u32, u32, String, String), u32>,
    /// Frames of the kernel that only run because something is recorded.
    tracing: HashSet<RawFrame>,
}

impl Interner {
    /// Forgets all rows if there are more than `limit`: what comes again is written again.
    pub(super) fn forget_beyond(&mut self, limit: usize) {
        let Self { strings, modules, frames, stacks, threads, tracing } = self;
        let (strings, threads) = (&mut strings.known, &mut threads.known);
        let (modules, frames, stacks) = (&mut modules.known, &mut frames.known, &mut stacks.known);
        if strings.len() + modules.len() + frames.len() + stacks.len() + threads.len() > limit {
            (*strings, *threads) = Default::default();
            (*modules, *frames, *stacks) = Default::default();
            tracing.clear();
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
            if !self.frames.known.contains_key(frame) {
                let Some(module) = window.modules.get(&frame.module) else { continue };
                let place = mix(self.module(transaction, module)?.hash, frame.address);
                // Where code was generated says nothing of what it is.
                let hash = if frame.code == 0 { place } else { frame.code };
                let id = self.frames.next_id();
                self.frames.known.insert(*frame, Stored { id, hash });
                new.entry(frame.module).or_default().push(*frame);
            }
        }
        for (module, frames) in new {
            let row = self.modules.known[&module].id;
            for (named, frame) in names.name_frames(&window.modules[&module], &frames).iter().zip(&frames) {
                let id = self.frames.known[frame].id;
                if frame.module == ModuleId::KERNEL
                    && named.functions.first().is_some_and(|function| traces(&function.name))
                {
                    self.tracing.insert(*frame);
                }
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
        let Some(Stored { id, .. }) = self.frames.known.remove(frame) else { return Ok(()) };
        let name = string(&mut self.strings, transaction, &function.name)?;
        let file = string(&mut self.strings, transaction, &function.file)?;
        transaction.prepare_cached("UPDATE frame SET unnamed = NULL WHERE id = ?1")?.execute([id])?;
        let sql = "UPDATE line SET function = ?2, file = ?3, line = ?4 WHERE frame = ?1";
        transaction.prepare_cached(sql)?.execute(params![id, name, file, function.line])?;
        Ok(())
    }

    fn module(&mut self, transaction: &Transaction<'_>, module: &Module) -> rusqlite::Result<Stored> {
        if let Some(stored) = self.modules.known.get(&module.id) {
            return Ok(*stored);
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
            ModuleKind::Hidden => "hidden",
            ModuleKind::Jit => "jit",
            ModuleKind::Python => "python",
            ModuleKind::Vdso => "vdso",
            ModuleKind::File => "file",
        };
        let id = self.modules.next_id();
        transaction.execute("INSERT INTO module VALUES (?1, ?2, ?3, ?4)", params![id, kind, module.path, build_id])?;
        self.modules.known.insert(module.id, Stored { id, hash });
        Ok(Stored { id, hash })
    }

    /// The row of a stack given outermost first; 0 for the empty one. `traced` stacks were taken by a program that runs where
    /// an event is traced: the way to it, which is the innermost of the kernel's, is no part of them.
    pub(super) fn stack(
        &mut self,
        transaction: &Transaction<'_>,
        frames: &[RawFrame],
        traced: bool,
    ) -> rusqlite::Result<u32> {
        let mut stack = Stored { id: 0, hash: STACK_ID_SEED };
        for frame in frames {
            if traced && self.tracing.contains(frame) {
                continue;
            }
            let frame = self.frames.known[frame];
            if let Some(stored) = self.stacks.known.get(&(stack.id, frame.id)) {
                stack = *stored;
                continue;
            }
            let stored = Stored { id: self.stacks.next_id(), hash: mix(stack.hash, frame.hash) };
            self.stacks.known.insert((stack.id, frame.id), stored);
            transaction.prepare_cached("INSERT INTO stack VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                stored.id,
                stack.id,
                frame.id,
                stored.hash as i64
            ])?;
            stack = stored;
        }
        Ok(stack.id)
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
        if let Some(id) = self.threads.known.get(&key) {
            return Ok(*id);
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
    if let Some(id) = strings.known.get(text) {
        return Ok(*id);
    }
    let id = strings.next_id();
    transaction.prepare_cached("INSERT INTO string VALUES (?1, ?2)")?.execute(params![id, text])?;
    strings.known.insert(text.to_owned(), id);
    Ok(id)
}
