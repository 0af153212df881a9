//! What is in the recording already: every text, module, frame, stack and thread is stored once.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use perf_ebpf::stack::{STACK_ID_SEED, mix};
use rusqlite::{Transaction, params};

use crate::{
    symbolize::{Names, Unnamed},
    task::{LocatedSample, LocatedWindow, Module, ModuleId, ModuleKind, RawFrame},
};

/// A frame or stack as it was stored.
#[derive(Clone, Copy, Debug)]
struct Stored {
    id: u32,
    hash: u64,
}

/// The rows written so far, by what they say.
#[derive(Debug, Default)]
pub(super) struct Interner {
    strings: HashMap<String, u32>,
    module_hashes: Vec<u64>,
    frames: HashMap<RawFrame, Stored>,
    stacks: HashMap<(u32, u32), Stored>,
    threads: HashMap<(u32, u32, String, String), u32>,
}

impl Interner {
    pub(super) fn modules(&mut self, transaction: &Transaction<'_>, modules: &[Arc<Module>]) -> rusqlite::Result<()> {
        for module in &modules[self.module_hashes.len().min(modules.len())..] {
            let build_id = module.symbols_path.as_ref().and_then(|path| build_id(path));
            let identity = build_id.as_deref().unwrap_or(&module.path);
            self.module_hashes.push(identity.bytes().fold(STACK_ID_SEED, |hash, byte| mix(hash, u64::from(byte))));
            let kind = match module.kind {
                ModuleKind::Kernel => "kernel",
                ModuleKind::Unmapped => "unmapped",
                ModuleKind::Jit => "jit",
                ModuleKind::Vdso => "vdso",
                ModuleKind::File => "file",
            };
            transaction.execute(
                "INSERT INTO module VALUES (?1, ?2, ?3, ?4)",
                params![module.id.0, kind, module.path, build_id],
            )?;
        }
        Ok(())
    }

    pub(super) fn name_frames(
        &mut self,
        transaction: &Transaction<'_>,
        window: &LocatedWindow,
        names: &Names,
    ) -> rusqlite::Result<()> {
        let mut new: BTreeMap<ModuleId, Vec<u64>> = BTreeMap::new();
        for frame in window.samples.iter().flat_map(|sample| &sample.frames) {
            if !self.frames.contains_key(frame) {
                let id = self.frames.len() as u32 + 1;
                let module = self.module_hashes.get(frame.module.0 as usize).copied().unwrap_or(0);
                self.frames.insert(*frame, Stored { id, hash: mix(module, frame.address) });
                new.entry(frame.module).or_default().push(frame.address);
            }
        }
        for (module, addresses) in new {
            let Some(named_module) = window.modules.get(module.0 as usize) else { continue };
            for (named, address) in names.name(named_module, &addresses).iter().zip(addresses) {
                let id = self.frames[&RawFrame { module, address }].id;
                transaction.prepare_cached("INSERT INTO frame VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                    id,
                    module.0,
                    address as i64,
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

    /// The row of a stack given outermost first; 0 for the empty one.
    pub(super) fn stack(&mut self, transaction: &Transaction<'_>, frames: &[RawFrame]) -> rusqlite::Result<u32> {
        let mut stack = Stored { id: 0, hash: STACK_ID_SEED };
        for frame in frames {
            let frame = self.frames[frame];
            if let Some(stored) = self.stacks.get(&(stack.id, frame.id)) {
                stack = *stored;
                continue;
            }
            let stored = Stored { id: self.stacks.len() as u32 + 1, hash: mix(stack.hash, frame.hash) };
            self.stacks.insert((stack.id, frame.id), stored);
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

    /// The row of a sample's thread.
    pub(super) fn thread(&mut self, transaction: &Transaction<'_>, sample: &LocatedSample) -> rusqlite::Result<u32> {
        let key = (sample.tgid, sample.tid, sample.comm.clone(), sample.process.clone());
        if let Some(id) = self.threads.get(&key) {
            return Ok(*id);
        }
        let id = self.threads.len() as u32;
        let comm = string(&mut self.strings, transaction, &key.2)?;
        let process = string(&mut self.strings, transaction, &key.3)?;
        transaction
            .execute("INSERT INTO thread VALUES (?1, ?2, ?3, ?4, ?5)", params![id, key.0, key.1, comm, process])?;
        self.threads.insert(key, id);
        Ok(id)
    }
}

fn string(ids: &mut HashMap<String, u32>, transaction: &Transaction<'_>, text: &str) -> rusqlite::Result<u32> {
    if let Some(id) = ids.get(text) {
        return Ok(*id);
    }
    let id = ids.len() as u32 + 1;
    transaction.prepare_cached("INSERT INTO string VALUES (?1, ?2)")?.execute(params![id, text])?;
    ids.insert(text.to_owned(), id);
    Ok(id)
}

/// The build id in hexadecimal, if the file has one.
fn build_id(path: &Path) -> Option<String> {
    let bytes = blazesym::helper::read_elf_build_id(&path).ok()??;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
