//! What later windows need of earlier ones: an interval, or a request, that began in one window is told of in another.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

/// What the last window had, and what goes on has from before that.
#[derive(Debug)]
pub(super) struct Kept<Id, Value> {
    values: HashMap<Id, Value>,
    /// What went on at the end of the last window: it may have ended while the maps were read, and is told of in the next.
    open: HashSet<Id>,
}

impl<Id, Value> Default for Kept<Id, Value> {
    fn default() -> Self {
        Self { values: HashMap::new(), open: HashSet::new() }
    }
}

impl<Id: Copy + Eq + Hash, Value: Clone> Kept<Id, Value> {
    /// These, of before the first window.
    pub(super) fn new(values: HashMap<Id, Value>) -> Self {
        Self { values, ..Self::default() }
    }

    /// One of an earlier window.
    pub(super) fn get(&self, id: Id) -> Option<&Value> {
        self.values.get(&id)
    }

    /// All that is kept.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.values.keys().copied()
    }

    /// Gives a window those that it has `needed` and that are of earlier ones; and keeps its own, and those of what is `open` now
    /// or was at the end of the window before.
    pub(super) fn turn(
        &mut self,
        window: &mut HashMap<Id, Value>,
        needed: impl IntoIterator<Item = Id>,
        open: HashSet<Id>,
    ) {
        let own = window.clone();
        for id in needed {
            if let Some(value) = self.values.get(&id) {
                window.entry(id).or_insert_with(|| value.clone());
            }
        }
        self.values.retain(|id, _| open.contains(id) || self.open.contains(id));
        self.values.extend(own);
        self.open = open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_kept_and_one_window_longer() {
        let mut kept = Kept::new(HashMap::from([(1, 'a')]));
        let turn = |kept: &mut Kept<u32, char>, own: &[(u32, char)], needed: &[u32], open: &[u32]| {
            let mut window: HashMap<u32, char> = own.iter().copied().collect();
            kept.turn(&mut window, needed.iter().copied(), open.iter().copied().collect());
            let mut ids: Vec<u32> = window.into_keys().collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(turn(&mut kept, &[(2, 'b')], &[1, 2, 9], &[1]), [1, 2]);
        assert_eq!(turn(&mut kept, &[(3, 'c')], &[2], &[1]), [2, 3], "the last window's");
        assert_eq!(turn(&mut kept, &[], &[2, 3], &[]), [3], "of what goes on, and of the last window");
        assert_eq!(kept.get(1), Some(&'a'), "it ended meanwhile, which the next window tells");
        assert_eq!(turn(&mut kept, &[], &[1], &[]), [1]);
        assert_eq!(turn(&mut kept, &[], &[1], &[]), [0_u32; 0]);
    }
}
