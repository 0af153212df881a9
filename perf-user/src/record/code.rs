//! What the kernel half is told of the code that processes have mapped, and what it tells of it.

use std::{os::fd::BorrowedFd, path::PathBuf};

use perf_ebpf::{sample::Key, sched::Thread, unwind::Registers};

use super::{pythons::Pythons, walks::Walks};
use crate::{
    collect::{
        AttachError,
        session::{Session, SessionOptions, Sides},
    },
    drain::Walked,
    host::{found_call::entry, memory::Memory},
    task::Tasks,
};

/// Tables by which stacks are walked, and interpreters of Python.
pub(super) struct CodeFollower {
    walks: Walks,
    pythons: Pythons,
    /// Whether user stacks are kept.
    of_user: bool,
}

impl CodeFollower {
    pub(super) fn new(session: &mut Session, options: &SessionOptions) -> Result<Self, AttachError> {
        let of_user = options.sides != Sides::Kernel;
        Ok(Self { walks: Walks::new(session, options)?, pythons: Pythons::new(session)?, of_user })
    }

    /// Readable when [`Self::follow`] has something to do that no task event tells of.
    pub(super) fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.walks.ready()
    }

    /// Tells what has changed.
    pub(super) fn follow(&mut self, session: &mut Session, tasks: &mut Tasks) {
        let changed = tasks.take_changed();
        self.pythons.follow(session, tasks, &changed);
        self.walks.follow(session, tasks, changed);
        self.read(tasks);
    }

    /// The same, and waits for the tables that it takes, but not for ever: before the first event.
    pub(super) fn follow_whole(&mut self, session: &mut Session, tasks: &mut Tasks) {
        self.follow(session, tasks);
        self.walks.wait(session, tasks);
    }

    /// A program will be executed soon: what it maps then is read before.
    pub(super) fn expect(&mut self, program: PathBuf) {
        self.walks.expect(program);
    }

    /// Takes what was told: of the code of every sample, before that was counted.
    pub(super) fn read(&mut self, tasks: &mut Tasks) {
        self.pythons.read(tasks);
    }

    /// The user stack of a thread that waits, walked from outside; `None` if it does not wait any more, or cannot be walked.
    pub(super) fn walk_waiting(&self, tasks: &Tasks, thread: &Thread) -> Option<Walked> {
        let Key { tgid, tid, .. } = thread.wait.key;
        let before = entry(tgid, tid).filter(|_| self.of_user)?;
        let [sp, ip] = before.place;
        let memory = Memory::of(tgid, tid)?;
        let user = self.walks.walk(tgid, Registers { ip, sp, fp: thread.fp }, &memory)?;
        let python = self.pythons.walk(tasks, tgid, tid, &memory);
        // What was read is its stack if it has been there all the time.
        if entry(tgid, tid)? != before {
            return None;
        }
        Some(Walked { user, python: python.map(|frames| self.pythons.keep(frames)) })
    }

    /// A window has been located: no program runs any more that ran in it. These processes have ended.
    pub(super) fn end_window(&mut self, session: &mut Session, tasks: &mut Tasks, ended: &[u32]) {
        self.walks.settle();
        self.walks.forget(session, ended);
        self.pythons.settle(session, tasks);
        self.pythons.forget(session, tasks, ended);
    }
}
