//! A process over time: its names, its address spaces, its threads.

use std::{collections::HashSet, sync::Arc};

use super::{GeneratedCode, ModuleId, generated::Generator, space::AddressSpace};

/// A process as the recording knows it: its address spaces, one after another (an exec starts a new one).
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    /// Name of the main thread, by the time it took it.
    pub(super) names: Vec<(u64, String)>,
    pub(super) spaces: Vec<(u64, Arc<AddressSpace>)>,
    /// Its programs that generate code.
    pub(super) generators: Vec<Generator>,
    /// Its threads. The process ends with the last of them, which need not be the main one.
    pub(super) tids: HashSet<u32>,
    pub(super) ended_ns: Option<u64>,
    /// Whether its end has been told: its past is kept for what it did that is told of later.
    pub(super) end_told: bool,
}

impl Process {
    pub(super) fn space_at(&self, time_ns: u64) -> Option<&AddressSpace> {
        let later = self.spaces.partition_point(|(from_ns, _)| *from_ns <= time_ns);
        self.spaces.get(later.max(1) - 1).map(|(_, space)| space.as_ref())
    }

    /// The program that generates code in a space, if that is known.
    pub(super) fn generator(&self, space: &AddressSpace) -> Option<&Generator> {
        self.generators.iter().find(|generator| generator.executed_ns == space.executed_ns)
    }

    /// What the programs have told of the generated code in these modules.
    pub(super) fn generated<'a>(
        &'a self,
        wanted: impl Fn(ModuleId) -> bool + 'a,
    ) -> impl Iterator<Item = GeneratedCode> + 'a {
        self.generators.iter().filter(move |generator| wanted(generator.module.id)).map(|generator| {
            let space = self.spaces.iter().rev().find(|(_, space)| space.executed_ns == generator.executed_ns);
            generator.code(space.map(|(_, space)| space.as_ref()))
        })
    }

    pub(super) fn name_at(&self, time_ns: u64) -> Option<&str> {
        let later = self.names.partition_point(|(from_ns, _)| *from_ns <= time_ns);
        self.names.get(later.max(1) - 1).map(|(_, name)| name.as_str())
    }
}
