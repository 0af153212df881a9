//! Keeps the tables by which the kernel half walks stacks up with what processes have mapped.

use std::{
    collections::HashSet,
    os::fd::BorrowedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use perf_ebpf::unwind::{Code, Registers};

use crate::{
    collect::{
        AttachError,
        session::{Session, SessionOptions, Unwind, WalkRoom},
    },
    drain::wait_for_running_programs,
    host::memory::Memory,
    symbolize::goroutine_end,
    task::{CodeMapping, Tasks},
    unwind::{Cache, Loader, Room, Unwinder, by_frame_pointers},
};

/// How long a recording waits for tables before it begins: no longer than for a target on a file system that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The tables, if the kernel half walks by them.
#[derive(Debug)]
pub(super) struct Walks(Option<(Unwinder, Loader)>);

impl Walks {
    pub(super) fn new(session: &Session, options: &SessionOptions) -> Result<Self, AttachError> {
        if options.unwind == Unwind::FramePointers {
            return Ok(Self(None));
        }
        let WalkRoom { rows, pages, code, .. } = WalkRoom::of(&options.target);
        let shared = |name, elements: u32, bytes| session.shared(name, elements as usize * bytes);
        let unwinder = Unwinder::new(
            shared("UNWIND_CODE", code, size_of::<Code>())?,
            shared("UNWIND_PAGES", pages, size_of::<u64>())?,
            shared("UNWIND_ROWS", rows, size_of::<u64>())?,
            Room { rows, pages, code },
        );
        let loader = Loader::start(Cache::open(), goroutine_end).map_err(AttachError::Loader)?;
        Ok(Self(Some((unwinder, loader))))
    }

    /// Readable when [`Self::follow`] has something to do that no task event tells of.
    pub(super) fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|(_, loader)| loader.ready())
    }

    /// Tells the kernel half what has changed.
    pub(super) fn follow(&mut self, session: &mut Session, tasks: &Tasks, mut changed: HashSet<u32>) {
        let Some((unwinder, loader)) = &mut self.0 else { return };
        for (file, table) in loader.take() {
            changed.extend(unwinder.add(file, table.as_ref().ok()));
        }
        if unwinder.should_clear() {
            let known = unwinder.clear();
            known.iter().for_each(|tgid| session.remove_space(*tgid));
            wait_for_running_programs();
            changed.extend(known);
        }
        changed.into_iter().for_each(|tgid| place(unwinder, session, tgid, &tasks.code(tgid)));
        unwinder.take_wanted().into_iter().for_each(|file| loader.want(file));
    }

    /// A program will be executed soon.
    pub(super) fn expect(&mut self, program: PathBuf) {
        if let Some((_, loader)) = &mut self.0 {
            loader.expect(program);
        }
    }

    /// Waits for all tables that are wanted, but not for ever.
    pub(super) fn wait(&mut self, session: &mut Session, tasks: &Tasks) {
        let Some((unwinder, loader)) = &mut self.0 else { return };
        let deadline = Instant::now() + PATIENCE;
        let mut waited = HashSet::new();
        while let Some((file, table)) = loader.wait(deadline) {
            waited.extend(unwinder.add(file, table.as_ref().ok()));
        }
        waited.into_iter().for_each(|tgid| place(unwinder, session, tgid, &tasks.code(tgid)));
    }

    /// Processes have ended.
    pub(super) fn forget(&mut self, session: &mut Session, ended: &[u32]) {
        let Some((unwinder, _)) = &mut self.0 else { return };
        for tgid in ended {
            unwinder.forget(*tgid);
            session.remove_space(*tgid);
        }
    }

    /// The user stack of a thread of a process, walked from outside; `None` if nothing is known of the process.
    pub(super) fn walk(&self, tgid: u32, registers: Registers, memory: &Memory) -> Option<Vec<u64>> {
        match &self.0 {
            Some((unwinder, _)) => unwinder.walk(tgid, registers, memory),
            None => Some(by_frame_pointers(registers, memory)),
        }
    }

    /// No program runs any more that ran when this was last called.
    pub(super) fn settle(&mut self) {
        if let Some((unwinder, _)) = &mut self.0 {
            unwinder.settle();
        }
    }
}

/// Tells what a process has mapped now. Without any mappings, as the kernel's threads are, and where the maps have no room, the
/// kernel's own walk is all there is.
fn place(unwinder: &mut Unwinder, session: &mut Session, tgid: u32, mappings: &[CodeMapping]) {
    let mut space = unwinder.place(tgid, mappings);
    if space.is_none() && !mappings.is_empty() && unwinder.has_retired() {
        // Places that were given up since the window began are free once the programs that run now have ended.
        wait_for_running_programs();
        unwinder.settle();
        space = unwinder.place(tgid, mappings);
    }
    if space.is_none_or(|space| session.set_space(tgid, space).is_err()) {
        unwinder.forget(tgid);
        session.remove_space(tgid);
    }
}
