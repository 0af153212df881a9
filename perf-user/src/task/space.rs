//! An address space over time: what is mapped now, and what was mapped there before.

use std::{collections::BTreeMap, sync::Arc};

use super::{Module, ModuleKind};

/// A mapping of executable code, as a process has it now.
#[derive(Clone, Debug)]
pub struct CodeMapping {
    /// The first address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// The file offset of `start`.
    pub offset: u64,
    /// The file.
    pub module: Arc<Module>,
}

/// An executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Offset in the file of `start`.
    pub(super) offset: u64,
    pub(super) module: Arc<Module>,
    /// Since when.
    pub(super) from_ns: u64,
}

impl Mapping {
    fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The part in `start..end`, if there is any.
    fn part(mut self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        self.offset = self.offset.wrapping_add(start.saturating_sub(self.start));
        (self.start, self.end) = (start, end);
        (start < end).then_some(self)
    }
}

/// What a mapping changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: it was there.
    None,
    /// It came where no code was, or the same.
    New,
    /// It came where other code was.
    OtherCode,
}

#[derive(Clone, Debug, Default)]
pub(super) struct AddressSpace {
    current: BTreeMap<u64, Mapping>,
    /// Mappings that others have replaced, with the time of that.
    replaced: Vec<(u64, Mapping)>,
    /// Whether there is more in it, which the kernel does not show.
    pub(super) hidden: bool,
    /// When its program was executed, 0 if that was before the recording.
    pub(super) executed_ns: u64,
}

impl AddressSpace {
    /// Adds a mapping over whatever was there, which may have been the same.
    pub(super) fn insert(&mut self, new: Mapping) -> Change {
        if new.start >= new.end {
            return Change::None;
        }
        if self.current.get(&new.start).is_some_and(|old| Mapping { from_ns: new.from_ns, ..old.clone() } == new) {
            return Change::None;
        }
        let mut other_code = false;
        let overlapped: Vec<u64> = self
            .current
            .range(..new.end)
            .rev()
            .take_while(|(_, old)| old.end > new.start)
            .map(|(start, _)| *start)
            .collect();
        for start in overlapped {
            let Some(old) = self.current.remove(&start) else { continue };
            let same_place = new.start.wrapping_sub(old.start) == new.offset.wrapping_sub(old.offset);
            let generated = new.module.kind == ModuleKind::Jit && old.module == new.module;
            other_code |= !generated && (old.module != new.module || !same_place);
            self.replaced.extend(old.clone().part(new.start, new.end).map(|part| (new.from_ns, part)));
            let kept = [old.clone().part(old.start, new.start), old.clone().part(new.end, old.end)];
            self.current.extend(kept.into_iter().flatten().map(|part| (part.start, part)));
        }
        self.current.insert(new.start, new);
        if other_code { Change::OtherCode } else { Change::New }
    }

    /// The empty one of a program that is executed.
    pub(super) fn of_exec(executed_ns: u64) -> Self {
        Self { executed_ns, ..Self::default() }
    }

    /// Whether code is, or was, in memory that no file was mapped to.
    pub(super) fn has_generated(&self) -> bool {
        let mut mappings = self.current.values().chain(self.replaced.iter().map(|(_, mapping)| mapping));
        mappings.any(|mapping| mapping.module.kind == ModuleKind::Jit)
    }

    /// The modules that are mapped now.
    pub(super) fn modules(&self) -> Vec<Arc<Module>> {
        let mut modules: Vec<_> = self.current.values().map(|mapping| Arc::clone(&mapping.module)).collect();
        modules.sort_unstable_by_key(|module| module.id);
        modules.dedup();
        modules
    }

    /// What is mapped now, sorted by address.
    pub(super) fn code(&self) -> Vec<CodeMapping> {
        let code = |mapping: &Mapping| CodeMapping {
            start: mapping.start,
            end: mapping.end,
            offset: mapping.offset,
            module: Arc::clone(&mapping.module),
        };
        self.current.values().map(code).collect()
    }

    /// Whether there is something that [`Self::forget_before`] would drop.
    pub(super) fn has_replaced_before(&self, time_ns: u64) -> bool {
        self.replaced.iter().any(|(until_ns, _)| *until_ns < time_ns)
    }

    /// Drops mappings that were replaced before this.
    pub(super) fn forget_before(&mut self, time_ns: u64) {
        self.replaced.retain(|(until_ns, _)| *until_ns >= time_ns);
    }

    /// What `address` belonged to at `time_ns`; if nothing did then, what it belongs to now.
    pub(super) fn find(&self, address: u64, time_ns: u64) -> Option<&Mapping> {
        let current = self.current.range(..=address).next_back().map(|(_, mapping)| mapping);
        let current = current.filter(|mapping| mapping.contains(address));
        if current.is_some_and(|mapping| mapping.from_ns <= time_ns) {
            return current;
        }
        let before =
            self.replaced.iter().rev().find(|(until_ns, mapping)| {
                mapping.contains(address) && mapping.from_ns <= time_ns && time_ns < *until_ns
            });
        before.map(|(_, mapping)| mapping).or(current)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{super::Modules, *};
    use crate::host::perf_ring::MapEvent;

    fn mapping(modules: &mut Modules, start: u64, end: u64, offset: u64, path: &str, from_ns: u64) -> Mapping {
        let file = MapEvent { start, bytes: end - start, offset, device: 0, inode: 0, path: path.into() };
        Mapping { start, end, offset, module: modules.of(0, &file), from_ns }
    }

    #[test]
    fn a_hole_punched_in_the_middle_leaves_both_sides() {
        let (mut space, mut modules) = (AddressSpace::default(), Modules::default());
        space.insert(mapping(&mut modules, 0x1000, 0x4000, 0x100, "a", 1));
        space.insert(mapping(&mut modules, 0x2000, 0x3000, 0, "b", 5));
        let at = |address, time| {
            let found = space.find(address, time).unwrap();
            (found.module.path.as_str(), address - found.start + found.offset)
        };
        assert_eq!(at(0x1800, 9), ("a", 0x900));
        assert_eq!(at(0x2800, 9), ("b", 0x800));
        assert_eq!(at(0x3800, 9), ("a", 0x2900));
        assert_eq!(at(0x2800, 3), ("a", 0x1900), "before the hole");
    }

    #[test]
    fn a_mapping_reported_again_is_the_same_mapping() {
        let (mut space, mut modules) = (AddressSpace::default(), Modules::default());
        space.insert(mapping(&mut modules, 0x1000, 0x2000, 0, "a", 1));
        space.insert(mapping(&mut modules, 0x1000, 0x2000, 0, "a", 9));
        assert_eq!(space.find(0x1000, 4).unwrap().from_ns, 1);
        assert!(space.replaced.is_empty());
    }

    #[test]
    fn what_was_mapped_later_stands_in_for_nothing() {
        let (mut space, mut modules) = (AddressSpace::default(), Modules::default());
        space.insert(mapping(&mut modules, 0x1000, 0x2000, 0, "a", 50));
        assert_eq!(space.find(0x1000, 10).unwrap().module.path, "a");
        assert!(space.find(0x2000, 60).is_none());
    }
}
