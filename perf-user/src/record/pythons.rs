//! Keeps the kernel half up with which processes run a Python interpreter, and takes what it tells of their code.

use std::collections::HashSet;

use aya::maps::{MapData, RingBuf};

use crate::{
    collect::{AttachError, session::Session},
    task::Tasks,
};

/// The ring of code objects, if the kernel half reads Python frames.
pub(super) struct Pythons(Option<RingBuf<MapData>>);

impl Pythons {
    pub(super) fn new(session: &mut Session) -> Result<Self, AttachError> {
        Ok(Self(session.take_python_ring()?))
    }

    /// Tells the kernel half what has changed.
    pub(super) fn follow(&mut self, session: &mut Session, tasks: &mut Tasks, changed: &HashSet<u32>) {
        if self.0.is_none() {
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
        let Some(ring) = &mut self.0 else { return };
        while let Some(record) = ring.next() {
            tasks.learn_code(&record);
        }
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
