//! Keeps the tables by which the kernel half walks stacks up with what processes have mapped.

use perf_ebpf::unwind::Code;

use crate::{
    collect::{
        AttachError,
        session::{Session, SessionOptions, Unwind, WalkRoom},
    },
    task::Tasks,
    unwind::{Room, Unwinder},
};

/// The tables, if the kernel half walks by them.
#[derive(Debug)]
pub(super) struct Walks(Option<Unwinder>);

impl Walks {
    pub(super) fn new(session: &Session, options: &SessionOptions) -> Result<Self, AttachError> {
        if options.unwind == Unwind::FramePointers {
            return Ok(Self(None));
        }
        let WalkRoom { rows, pages, code, .. } = WalkRoom::of(&options.target);
        let shared = |name, elements: u32, bytes| session.shared(name, elements as usize * bytes);
        Ok(Self(Some(Unwinder::new(
            shared("UNWIND_CODE", code, size_of::<Code>())?,
            shared("UNWIND_PAGES", pages, size_of::<u64>())?,
            shared("UNWIND_ROWS", rows, size_of::<u64>())?,
            Room { rows, pages, code },
        ))))
    }

    /// Tells the kernel half what has changed.
    pub(super) fn follow(&mut self, session: &mut Session, tasks: &mut Tasks) -> Result<(), AttachError> {
        let changed = tasks.take_changed();
        let Some(unwinder) = &mut self.0 else { return Ok(()) };
        for (tgid, mappings) in changed {
            // Without any the kernel's own walk is better; the kernel's threads have none.
            let space = if mappings.is_empty() { None } else { unwinder.place(tgid, &mappings) };
            match space {
                Some(space) => session.set_space(tgid, space)?,
                None => session.remove_space(tgid),
            }
        }
        Ok(())
    }

    /// Processes have ended.
    pub(super) fn forget(&mut self, session: &mut Session, ended: &[u32]) {
        let Some(unwinder) = &mut self.0 else { return };
        for tgid in ended {
            unwinder.forget(*tgid);
            session.remove_space(*tgid);
        }
    }

    /// No program runs any more that ran when this was last called.
    pub(super) fn settle(&mut self) {
        if let Some(unwinder) = &mut self.0 {
            unwinder.settle();
        }
    }
}
