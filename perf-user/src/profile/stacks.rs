//! Frames, and the tree of stacks made of them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::StringId;

/// Index into [`super::Profile::frames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u32);

/// Index into [`Stacks`]; [`StackId::EMPTY`] is the stack without frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(pub u32);

impl StackId {
    /// The root of the stack tree: no frames.
    pub const EMPTY: Self = Self(0);
}

/// What kind of code a frame ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameKind {
    /// A function of the program or one of its libraries.
    User,
    /// A function that the compiler inlined into the frame below it.
    Inlined,
    /// A function of the kernel or of a kernel module.
    Kernel,
    /// Code in memory that belongs to no file: generated at run time.
    Jit,
    /// A function of Python's, as the interpreter runs it.
    Python,
    /// No code: what the thread did there, or why it waited.
    Wait,
    /// No code: the thread that ended a wait.
    Waker,
}

impl FrameKind {
    /// The suffix that folded stacks and flame graphs carry, as established by `FlameGraph`.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::User => "",
            Self::Inlined => "_[i]",
            Self::Kernel => "_[k]",
            Self::Jit => "_[j]",
            Self::Python => "_[p]",
            Self::Wait | Self::Waker => "_[w]",
        }
    }
}

/// One function in a stack, named. Two frames are the same frame only if all fields are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The demangled function name, or `[module+0xoffset]` where there is no symbol; never empty.
    pub function: StringId,
    /// The file the code was mapped from, as the target sees its path; `[kernel]`, `[vdso]`, `[jit of 7 node]`, `[unmapped]`.
    pub module: StringId,
    /// The source file; the empty string when it is unknown.
    pub file: StringId,
    /// The line in `file`, from 1; 0 when it is unknown.
    pub line: u32,
    /// What kind of code it is.
    pub kind: FrameKind,
    /// False when `function` is a made-up `[module+0xoffset]`.
    pub symbolized: bool,
    /// The address as it stands in the module's file (its file offset), or the kernel address.
    pub address: u64,
}

/// All stacks, as a tree in which every node names its caller.
#[derive(Clone, Debug)]
pub struct Stacks {
    nodes: Vec<(StackId, FrameId)>,
    ids: HashMap<(StackId, FrameId), StackId>,
}

impl Default for Stacks {
    fn default() -> Self {
        Self { nodes: vec![(StackId::EMPTY, FrameId(u32::MAX))], ids: HashMap::new() }
    }
}

impl Stacks {
    /// The stack that is `caller` plus `frame` on top of it.
    pub fn push(&mut self, caller: StackId, frame: FrameId) -> StackId {
        let next = StackId(self.nodes.len() as u32);
        let id = *self.ids.entry((caller, frame)).or_insert(next);
        if id == next {
            self.nodes.push((caller, frame));
        }
        id
    }

    /// The caller of `stack`, and the frame on top of it; `None` for the empty one.
    #[must_use]
    pub fn node(&self, stack: StackId) -> Option<(StackId, FrameId)> {
        self.nodes.get(stack.0 as usize).filter(|_| stack != StackId::EMPTY).copied()
    }

    /// The frames of `stack`, leaf first.
    pub fn leaf_to_root(&self, stack: StackId) -> impl Iterator<Item = FrameId> + '_ {
        let mut at = stack;
        std::iter::from_fn(move || {
            let (caller, frame) = self.node(at)?;
            at = caller;
            Some(frame)
        })
    }

    /// The frames of `stack`, outermost first.
    #[must_use]
    pub fn root_to_leaf(&self, stack: StackId) -> Vec<FrameId> {
        let mut frames: Vec<_> = self.leaf_to_root(stack).collect();
        frames.reverse();
        frames
    }

    /// All stacks but the empty one, in the order of their ids: each with its caller, and the frame on top of it.
    pub fn nodes(&self) -> impl Iterator<Item = (StackId, StackId, FrameId)> + '_ {
        self.nodes.iter().enumerate().skip(1).map(|(id, (caller, frame))| (StackId(id as u32), *caller, *frame))
    }

    /// The number of nodes, the empty stack among them.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }
}
