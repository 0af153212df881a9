//! User stacks of threads that wait, walked from outside: of those that waited before the recording, and of those whose stacks could
//! not be walked when the wait began, because the tables were not there yet.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use perf_ebpf::{
    sched::{State, Thread},
    unwind::{EXACT, Stop, why_cut_off},
};

use crate::collect::before::stack_of;

/// How often one wait's stack is tried.
const TRIES: u8 = 3;
/// How long this may take in a window; the rest is for the next one.
const PATIENCE: Duration = Duration::from_millis(200);

/// The user stack of a thread, walked from outside.
#[derive(Clone, Debug)]
pub struct Walked {
    /// Its frames, leaf first.
    pub user: Vec<u64>,
    /// The id and the words of its Python frames, if it has any.
    pub python: Option<(u64, Arc<[u64]>)>,
}

/// How the stack of a thread that waits is walked now; `None` if it does not wait any more, or cannot be.
pub type WalkWaiting<'walk> = &'walk dyn Fn(&Thread) -> Option<Walked>;

/// What is known of one wait.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    /// How often it was tried.
    tries: u8,
    /// The ids of the stacks that were found, user and Python; 0 for none.
    stacks: [u64; 2],
}

/// What was found, by thread and beginning of the wait.
#[derive(Debug, Default)]
pub(super) struct Again {
    found: HashMap<(u32, u64), Tried>,
    until: Option<Instant>,
    /// Whether stacks are walked by tables, and marked.
    by_tables: bool,
}

impl Again {
    /// Nothing was found yet.
    pub(super) fn new(by_tables: bool) -> Self {
        Self { by_tables, ..Self::default() }
    }

    /// A new window.
    pub(super) fn begin(&mut self) {
        self.until = Some(Instant::now() + PATIENCE);
    }

    /// Puts what was found into a copy of the thread's state.
    pub(super) fn apply(&self, thread: &mut Thread) {
        let Some(Tried { stacks: [user, python], .. }) = self.found.get(&of(thread)).copied() else { return };
        let key = &mut thread.wait.key;
        key.user_stack = if user == 0 { key.user_stack } else { user };
        key.python_stack = if python == 0 { key.python_stack } else { python };
    }

    /// The same, and walks the stack if its frames, which `frames_of` an id tells, are not all of it; the stacks that were found now.
    pub(super) fn complete(
        &mut self,
        thread: &mut Thread,
        frames_of: impl FnOnce(u64) -> Option<Arc<[u64]>>,
        walk: WalkWaiting<'_>,
    ) -> Vec<(u64, Arc<[u64]>)> {
        self.walk(thread, frames_of, walk).unwrap_or_default()
    }

    fn walk(
        &mut self,
        thread: &mut Thread,
        frames_of: impl FnOnce(u64) -> Option<Arc<[u64]>>,
        walk: WalkWaiting<'_>,
    ) -> Option<Vec<(u64, Arc<[u64]>)>> {
        self.apply(thread);
        let is_tried = self.found.get(&of(thread)).is_some_and(|tried| tried.tries >= TRIES);
        let is_late = self.until.is_some_and(|until| Instant::now() > until);
        if thread.state != State::Blocked as u32 || is_tried || is_late {
            return None;
        }
        let user_stack = thread.wait.key.user_stack;
        let before = if user_stack == 0 { None } else { frames_of(user_stack) };
        if user_stack != 0 && !before.as_ref().is_some_and(|frames| self.is_short(frames)) {
            return None;
        }
        self.found.entry(of(thread)).or_default().tries += 1;
        let before = before.map_or(0, |frames| frames.len());
        let walked = walk(thread).filter(|walked| !self.is_short(&walked.user) || walked.user.len() > before)?;
        let user = stack_of(&walked.user);
        let python = walked.python.as_ref().map_or(0, |(id, _)| *id);
        self.found.entry(of(thread)).or_default().stacks = [user.0, python];
        self.apply(thread);
        Some(std::iter::once(user).chain(walked.python).collect())
    }

    /// Whether a walk ended for want of what may be known later: that of a process of which nothing was known has no marks.
    fn is_short(&self, frames: &[u64]) -> bool {
        let later = [Stop::Unknown, Stop::Fault, Stop::Astray].map(|stop| stop as u64);
        let is_cut_off = frames.last().and_then(|frame| why_cut_off(*frame)).is_some_and(|stop| later.contains(&stop));
        is_cut_off || (self.by_tables && frames.first().is_some_and(|leaf| leaf & EXACT == 0))
    }

    /// Forgets waits that have ended.
    pub(super) fn retain(&mut self, is_open: impl Fn(&(u32, u64)) -> bool) {
        self.found.retain(|wait, _| is_open(wait));
    }
}

fn of(thread: &Thread) -> (u32, u64) {
    (thread.wait.key.tid, thread.off_ns)
}

#[cfg(test)]
mod tests {
    use perf_ebpf::unwind::CUT_OFF;

    use super::*;

    fn walked(user: &[u64]) -> impl Fn(&Thread) -> Option<Walked> {
        move |_| Some(Walked { user: user.to_vec(), python: None })
    }

    fn blocked() -> Thread {
        let mut thread = Thread { off_ns: 5, state: State::Blocked as u32, ..Thread::default() };
        thread.wait.key.tid = 7;
        thread
    }

    #[test]
    fn a_stack_is_walked_until_it_is_there() {
        let mut again = Again::default();
        again.begin();
        assert!(again.complete(&mut blocked(), |_| None, &|_| None).is_empty());
        // A part of it, and then the whole.
        let part: Arc<[u64]> = [1, CUT_OFF | Stop::Unknown as u64].into();
        let mut thread = blocked();
        let found = again.complete(&mut thread, |_| None, &walked(&part));
        assert_eq!(found, [(thread.wait.key.user_stack, Arc::clone(&part))]);
        let mut thread = blocked();
        let python: (u64, Arc<[u64]>) = (77, [8, 9].into());
        let both = |_: &Thread| Some(Walked { user: vec![1, 2, 3], python: Some(python.clone()) });
        let found = again.complete(&mut thread, |_| Some(Arc::clone(&part)), &both);
        let id = thread.wait.key.user_stack;
        assert_eq!(found, [(id, [1, 2, 3].into()), python.clone()]);
        assert_eq!(thread.wait.key.python_stack, 77);
        let mut thread = blocked();
        assert!(again.complete(&mut thread, |_| None, &|_| panic!("it is known")).is_empty());
        assert_eq!((thread.wait.key.user_stack, thread.wait.key.python_stack), (id, 77));
        again.retain(|_| false);
        let mut thread = blocked();
        again.apply(&mut thread);
        assert_eq!(thread.wait.key.user_stack, 0);
    }

    #[test]
    fn what_is_whole_or_does_not_wait_is_left_alone() {
        let mut again = Again::default();
        again.begin();
        let whole: Arc<[u64]> = [1, 2].into();
        let whole = || |_| Some(Arc::clone(&whole));
        let mut thread = blocked();
        thread.wait.key.user_stack = 9;
        assert!(again.complete(&mut thread, whole(), &|_| panic!("it is whole")).is_empty());
        let short: Arc<[u64]> = [1, CUT_OFF | Stop::Unknown as u64].into();
        let no_longer = [1, CUT_OFF | Stop::Astray as u64];
        assert!(again.complete(&mut thread, |_| Some(short), &walked(&no_longer)).is_empty());
        let mut thread = Thread { state: State::Running as u32, ..blocked() };
        assert!(again.complete(&mut thread, |_| None, &|_| panic!("it runs")).is_empty());
        // By frame pointers, because the process was not known yet.
        let mut again = Again::new(true);
        again.begin();
        let mut thread = blocked();
        thread.wait.key.user_stack = 9;
        assert!(again.complete(&mut thread, whole(), &walked(&[1 | EXACT, 2, 3])).len() == 1);
    }
}
