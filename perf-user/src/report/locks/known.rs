//! What stacks at futexes wait for.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use crate::{
    profile::{LockKind, LockWait, Profile, Series, StackId},
    report::places::label_of,
};

/// Kinds that say nothing.
const UNNAMED: [LockKind; 2] = [LockKind::Futex, LockKind::Unknown];

/// By process and stack.
pub(super) type KnownWaits<'a> = HashMap<(u32, StackId), (LockWait<'a>, String)>;

/// Waits by process and stack, with the function that waits where the futex is not the lock's own. Where a stack does not tell what is waited
/// for, as of a program's first milliseconds, others that wait at the same futex do.
pub(super) fn known_waits<'a>(profile: &'a Profile, series: &Series) -> KnownWaits<'a> {
    let mut known = KnownWaits::new();
    let mut kinds: HashMap<(u32, u64), BTreeMap<LockKind, u64>> = HashMap::new();
    for sample in &series.samples {
        let Some(thread) = profile.threads.get(sample.thread.0 as usize) else { continue };
        let (wait, _) = match known.entry((thread.tgid, sample.stack)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let Some(wait) = profile.lock_wait(sample) else { continue };
                let place = match wait.kind {
                    // There is one, and a futex for each of its groups of waiters.
                    LockKind::Gil => Some("of Python".into()),
                    _ if wait.at_lock => None,
                    _ => label_of(profile, &wait.stack),
                };
                unknown.insert((wait, place.unwrap_or_default()))
            }
        };
        if !UNNAMED.contains(&wait.kind) {
            *kinds.entry((thread.tgid, wait.address)).or_default().entry(wait.kind).or_default() += sample.value;
        }
    }
    for ((tgid, _), (wait, _)) in known.iter_mut().filter(|(_, (wait, _))| UNNAMED.contains(&wait.kind)) {
        let others = kinds.get(&(*tgid, wait.address)).and_then(|kinds| kinds.iter().max_by_key(|(_, ns)| **ns));
        wait.kind = others.map_or(wait.kind, |(kind, _)| *kind);
    }
    known
}
