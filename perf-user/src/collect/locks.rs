//! Locks of threads that wait already: at which futex, and who has it, as the memory of their process tells.

use std::{collections::HashMap, path::Path};

use perf_ebpf::lock::{
    FUTEX, FUTEX_WAIT, FUTEX_WAITV, LOCK_WORDS, OwnerAt, PRIVATE, WAIT_MANY, how, is_futex, owner_in_word,
};

use crate::host::{
    found_call::found_call,
    memory::Memory,
    proc::{own_tid, threads},
};

/// A lock at which a thread was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundLock {
    /// Where it is.
    pub lock: u64,
    /// The thread that has it, as far as that is told; 0 if not.
    pub owner: u32,
    /// [`how`] the thread waits.
    pub how: u32,
    /// Whether it gives up after a while.
    pub is_timed: bool,
}

/// Finds locks at one moment; of processes in PID namespaces it asks only once what their threads call themselves.
#[derive(Debug, Default)]
pub struct LockFinder {
    /// By process: its threads, by what they call themselves; `None` of one that knows them as we do.
    own: HashMap<u32, Option<HashMap<u32, u32>>>,
}

/// Of a process in a PID namespace with more threads, it is not asked what they call themselves.
const MOST_NAMED: usize = 1_000;

impl LockFinder {
    /// The lock of a thread that waits in this system call, with these arguments; `None` if it is at none.
    #[must_use]
    pub fn found(&mut self, tgid: u32, tid: u32, call: u32, arguments: [u64; 6]) -> Option<FoundLock> {
        if !cfg!(target_arch = "x86_64") || !is_futex(call) {
            return None;
        }
        let memory = Memory::of(tgid, tid)?;
        let [first, second, _, fourth, fifth, _] = arguments;
        let (lock, operation, until) = match call {
            FUTEX => (first, second as u32, fourth),
            FUTEX_WAITV => (memory.word(first.checked_add(8)?)?, WAIT_MANY | PRIVATE, fourth),
            FUTEX_WAIT => (first, PRIVATE, fifth),
            _ => return None,
        };
        let (owner, at) = self.owner(tgid, tid, lock, &memory).unwrap_or((0, OwnerAt::Nowhere));
        Some(FoundLock { lock, owner, how: how(operation, at as u32), is_timed: until != 0 })
    }

    /// The lock at which a thread waits now.
    #[must_use]
    pub fn found_now(&mut self, tgid: u32, tid: u32) -> Option<FoundLock> {
        let call = found_call(tgid, tid)?;
        self.found(tgid, tid, call.call, call.arguments)
    }

    /// The lock of a thread that waits now for what nobody will let go of: a mutex of glibc's that the thread has itself, or one that a
    /// thread has which its process has not, which is told by the number that the lock says.
    #[must_use]
    pub fn found_lost(&mut self, tgid: u32, tid: u32) -> Option<FoundLock> {
        if !cfg!(target_arch = "x86_64") {
            return None;
        }
        let call = found_call(tgid, tid).filter(|call| call.call == FUTEX)?;
        let [lock, second, _, until, ..] = call.arguments;
        // Of what processes share, another may have it; and who gives up one day goes on.
        if second as u32 != PRIVATE || until != 0 {
            return None;
        }
        let (owner, can_be_had_twice) = owner_of_mutex(&words(&Memory::of(tgid, tid)?, lock)?)?;
        let owner = match self.own_tids(tgid) {
            // Which threads such a process has had is not known by the numbers that it has for them.
            Some(own) => own.get(&owner).copied().filter(|owner| *owner == tid)?,
            None => owner,
        };
        let is_lost = if owner == tid { !can_be_had_twice } else { !is_thread(tgid, owner) };
        let how = how(second as u32, OwnerAt::Mutex as u32);
        is_lost.then_some(FoundLock { lock, owner, how, is_timed: false })
    }

    /// Whether a process is in a PID namespace, so that its locks name threads by other ids.
    pub fn is_apart(&mut self, tgid: u32) -> bool {
        self.own_tids(tgid).is_some()
    }

    fn own_tids(&mut self, tgid: u32) -> Option<&HashMap<u32, u32>> {
        let own = self.own.entry(tgid).or_insert_with(|| {
            if own_tid(tgid, tgid) == tgid {
                return None;
            }
            let tids = threads(tgid);
            let tids = if tids.len() > MOST_NAMED { Vec::new() } else { tids };
            Some(tids.into_iter().map(|tid| (own_tid(tgid, tid), tid)).collect())
        });
        own.as_ref()
    }

    /// Which thread of the process, other than `tid`, has a lock, and where that is told.
    fn owner(&mut self, tgid: u32, tid: u32, lock: u64, memory: &Memory) -> Option<(u32, OwnerAt)> {
        let words = words(memory, lock)?;
        let candidate = |at: OwnerAt| {
            let word = *words.get(at.word())?;
            Some(if at == OwnerAt::Word { owner_in_word(word) } else { word }).filter(|word| *word != 0)
        };
        let mut candidates = OwnerAt::ALL.into_iter().filter_map(|at| Some((candidate(at)?, at))).peekable();
        candidates.peek()?;
        // Locks name threads as those call themselves.
        if let Some(own) = self.own_tids(tgid) {
            return candidates.find_map(|(word, at)| Some((*own.get(&word)?, at)).filter(|(owner, _)| *owner != tid));
        }
        candidates.find(|(owner, _)| *owner != tid && is_thread(tgid, *owner))
    }
}

/// The word of a mutex of glibc's for which others wait.
const CONTENDED: u32 = 2;

/// No thread has a larger number (`PID_MAX_LIMIT`).
const MOST_TIDS: u32 = 1 << 22;

/// A mutex has no more users: who has it, and those that wait for a sign and want it then.
const MOST_USERS: u32 = 1 << 16;

/// The kinds of mutexes of glibc's that are looked at, by the bits that tell kinds: all but those that lend priorities, are shared, or
/// outlive their owner. Of these, normal and adaptive ones cannot be had twice.
const KINDS: u32 = 0b11;
const RECURSIVE: u32 = 1;
const CHECKS: u32 = 2;
/// Bits that say how locks are elided.
const ELISION: u32 = 0x300;

/// Who has what is a mutex of glibc's as far as its words tell, which are the lock, how often it is had, by whom, by how many, and the
/// kind; and whether one thread can have it twice. Others that are waited for so have something else there.
fn owner_of_mutex(words: &[u32]) -> Option<(u32, bool)> {
    let [lock, count, owner, users, kind] = *words else { return None };
    let kind = kind & !ELISION;
    let is_mutex =
        lock == CONTENDED && (1..=MOST_TIDS).contains(&owner) && (1..=MOST_USERS).contains(&users) && kind <= KINDS;
    let is_recursive = kind == RECURSIVE;
    (is_mutex && (is_recursive || count == 0)).then_some((owner, is_recursive || kind == CHECKS))
}

fn words(memory: &Memory, lock: u64) -> Option<Vec<u32>> {
    let bytes = memory.at_most(lock, LOCK_WORDS * 4)?;
    Some(bytes.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?))).collect())
}

fn is_thread(tgid: u32, tid: u32) -> bool {
    Path::new(&format!("/proc/{tgid}/task/{tid}")).exists()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mutex_is_had_by_nobody() {
        assert_eq!(owner_of_mutex(&[2, 0, 77, 1, 0]), Some((77, false)));
        assert_eq!(owner_of_mutex(&[2, 3, 77, 1, 1]), Some((77, true)));
        assert_eq!(owner_of_mutex(&[2, 0, 77, 1, 0x103]), Some((77, false)), "adaptive, and its elision is told");
        // An arena of `malloc`'s, a stream's lock with its owner's address, one that is free, one that is shared.
        for words in [[2, 0, 1, 0, 0], [2, 1, 0xf7d0_1740, 0x7f5a, 0], [0, 0, 77, 1, 0], [2, 0, 77, 1, 128]] {
            assert_eq!(owner_of_mutex(&words), None, "{words:?}");
        }
    }

    #[test]
    fn who_has_a_lock_is_found_in_it() {
        let (tgid, tid) = (std::process::id(), std::process::id());
        let memory = Memory::of(tgid, tid).unwrap();
        let owner_of =
            |tid: u32, words: [u32; LOCK_WORDS]| LockFinder::default().owner(tgid, tid, words.as_ptr() as u64, &memory);
        assert_eq!(owner_of(u32::MAX, [tgid | 0x8000_0000, 0, 0, 0, 0]), Some((tgid, OwnerAt::Word)));
        assert_eq!(owner_of(u32::MAX, [2, 0, tgid, 1, 0]), Some((tgid, OwnerAt::Mutex)));
        assert_eq!(owner_of(u32::MAX, [3, 0, 0, 0, tgid]), Some((tgid, OwnerAt::Readers)));
        assert_eq!(owner_of(u32::MAX, [2, tgid, 0, 0, 0]), None);
        assert_eq!(owner_of(tid, [2, 0, tgid, 0, 0]), None, "nobody waits for itself");
        // Whose numbers are another's in a namespace.
        let mut apart = LockFinder { own: HashMap::from([(tgid, Some(HashMap::from([(7, 99)])))]) };
        let words = [2_u32, 0, 7, 0, 0];
        assert_eq!(apart.owner(tgid, tid, words.as_ptr() as u64, &memory), Some((99, OwnerAt::Mutex)));
        let call = [words.as_ptr() as u64, u64::from(PRIVATE), 0, 5, 0, 0];
        assert!(apart.found(tgid, tid, FUTEX, call).is_some_and(|found| found.owner == 99 && found.is_timed));
        assert_eq!(apart.found(tgid, tid, 0, call), None, "that is no futex");
    }
}
