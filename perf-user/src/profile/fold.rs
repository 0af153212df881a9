//! Folding: samples of a series merged into one line a distinct stack, the form that flame graphs are drawn from.

use std::collections::BTreeMap;

use super::{FrameId, FrameKind, Profile, Series, StackId, StringId, Thread};

/// How to fold.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldOptions {
    /// Put `comm/tid` instead of `comm` at the bottom, so that each thread has a tower of its own.
    pub per_thread: bool,
    /// Leaf first: who calls the hot function, rather than what the entry point calls.
    pub reverse: bool,
    /// Put who ended a wait between the two stacks, on the reason, instead of behind the stack that it woke from.
    pub wakers_between: bool,
}

impl Profile {
    /// Distinct labels of stacks with their summed values, sorted by label.
    ///
    /// The first label is the thread's name (or `comm/tid`), then the frames from outermost to leaf. Labels are as they
    /// are: they can hold semicolons, as Rust's `[u8; 8]` does.
    #[must_use]
    pub fn fold(&self, series: &Series, options: FoldOptions) -> BTreeMap<Vec<String>, u64> {
        let mut by_id: BTreeMap<(StringId, u32, StackId), u64> = BTreeMap::new();
        for sample in &series.samples {
            let Some(thread) = self.threads.get(sample.thread.0 as usize) else { continue };
            let tid = if options.per_thread { thread.tid } else { 0 };
            *by_id.entry((thread.comm, tid, sample.stack)).or_default() += sample.value;
        }
        let labels: Vec<String> = (0..self.frames.len() as u32).map(|id| self.frame_label(FrameId(id))).collect();
        let mut folded = BTreeMap::new();
        for ((comm, tid, stack), value) in by_id {
            let comm = self.strings.get(comm).to_owned();
            let mut line = vec![if options.per_thread { format!("{comm}/{tid}") } else { comm }];
            let mut frames = self.stacks.root_to_leaf(stack);
            if options.wakers_between {
                self.put_waker_between(&mut frames);
            }
            line.extend(
                frames.iter().map(|id| labels.get(id.0 as usize).cloned().unwrap_or_else(|| self.frame_label(*id))),
            );
            if options.reverse {
                line.reverse();
            }
            *folded.entry(line).or_default() += value;
        }
        folded
    }

    fn put_waker_between(&self, frames: &mut [FrameId]) {
        let place =
            |kind| frames.iter().position(|id| self.frames.get(id.0 as usize).is_some_and(|frame| frame.kind == kind));
        if let (Some(reason), Some(waker)) = (place(FrameKind::Wait), place(FrameKind::Waker))
            && reason < waker
        {
            // What was waited for, and who has it, stands on the reason.
            let told = frames[reason..waker]
                .iter()
                .take_while(|id| self.frames.get(id.0 as usize).is_some_and(|frame| frame.kind == FrameKind::Wait));
            let told = told.count();
            frames[reason + told..=waker].rotate_right(1);
        }
    }

    /// The name a thread goes by in per-thread outputs: `comm/tid`.
    #[must_use]
    pub fn thread_label(&self, thread: &Thread) -> String {
        format!("{}/{}", self.strings.get(thread.comm), thread.tid)
    }
}
