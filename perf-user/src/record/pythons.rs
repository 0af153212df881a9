//! Keeps the kernel half up with which processes run a Python interpreter, and takes what it tells of their code.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use aya::maps::{MapData, RingBuf};
use perf_ebpf::python::CodeKey;

use crate::{
    collect::{AttachError, session::Session},
    host::{memory::Memory, proc},
    python::{
        Code,
        outside::{self, Frames},
    },
    task::Tasks,
};

/// The ring of code objects, if the kernel half reads Python frames.
pub(super) struct Pythons {
    ring: Option<RingBuf<MapData>>,
    /// Code objects that were met from outside, and are still to be told.
    met: RefCell<HashMap<CodeKey, Code>>,
}

impl Pythons {
    pub(super) fn new(session: &mut Session) -> Result<Self, AttachError> {
        Ok(Self { ring: session.take_python_ring()?, met: RefCell::default() })
    }

    /// The Python frames of a thread that waits; `None` if it has none.
    pub(super) fn walk(&self, tasks: &Tasks, tgid: u32, tid: u32, memory: &Memory) -> Option<Frames> {
        let process = tasks.python(tgid).filter(|_| self.ring.is_some())?;
        let met = self.met.borrow();
        let is_new = |key: &CodeKey| !met.contains_key(key) && !tasks.knows_whole(key);
        outside::read(&process, u64::from(proc::own_tid(tgid, tid)), memory, is_new)
    }

    /// The stack that they are, of which the code will be known.
    pub(super) fn keep(&self, Frames { id, words, codes }: Frames) -> (u64, Arc<[u64]>) {
        self.met.borrow_mut().extend(codes);
        (id, words.into())
    }

    /// Tells the kernel half what has changed.
    pub(super) fn follow(&mut self, session: &mut Session, tasks: &mut Tasks, changed: &HashSet<u32>) {
        if self.ring.is_none() {
            return;
        }
        for tgid in changed {
            let mappings = tasks.code(*tgid);
            match tasks.place_python(*tgid, &mappings) {
                Some(Some(process)) => session.set_python(*tgid, process),
                Some(None) => session.remove_python(*tgid),
                None => {}
            }
        }
    }

    /// Takes what was told of code objects.
    pub(super) fn read(&mut self, tasks: &mut Tasks) {
        let Some(ring) = &mut self.ring else { return };
        while let Some(record) = ring.next() {
            if let Some((key, code)) = Code::parse(&record) {
                tasks.learn_code(key, code);
            }
        }
        // After that: from outside, pages are read that the kernel half found missing.
        self.met.get_mut().drain().for_each(|(key, code)| tasks.learn_code(key, code));
    }

    /// Processes have ended.
    pub(super) fn forget(&mut self, session: &mut Session, tasks: &mut Tasks, ended: &[u32]) {
        for tgid in ended {
            if tasks.forget_python(*tgid) {
                session.remove_python(*tgid);
            }
        }
    }

    /// The last window has been located: nothing refers any more to what was forgotten before it ended.
    pub(super) fn settle(&mut self, session: &mut Session, tasks: &mut Tasks) {
        tasks.settle_pythons().into_iter().for_each(|(tgid, process)| session.set_python(tgid, process));
    }
}
