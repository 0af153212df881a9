//! What is known of one function while it is followed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use perf_ebpf::stack::mix;

use super::state::State;

/// What one function is found to do, before it is known to be consistent.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) states: HashMap<u64, (u64, State), BuildHasherDefault<Mixer>>,
    /// What holds where it jumps to places that only the running program knows.
    pub(super) tables: Vec<State>,
    /// Whether it returns, or goes on in another function, with its return address on top of the stack.
    pub(super) leaves: bool,
    /// What was known before, of each place in the order in which that changed.
    pub(super) changes: Vec<(u64, Option<(u64, State)>)>,
}

/// Places are no secrets, and a good hash of them would take longer than what is done with them.
#[derive(Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0, number);
    }
}

impl Flow {
    pub(super) fn set(&mut self, at: u64, known: (u64, State)) {
        let before = self.states.insert(at, known);
        self.changes.push((at, before));
    }

    /// Takes back all changes but the first ones.
    pub(super) fn take_back(&mut self, kept: usize) {
        for (at, before) in self.changes.drain(kept..).rev() {
            match before {
                Some(known) => self.states.insert(at, known),
                None => self.states.remove(&at),
            };
        }
    }
}

/// The instructions contradict each other: a function returns with something else on top of the stack than its return address.
pub(super) struct Contradiction(pub(super) Flow);
