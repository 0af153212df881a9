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
        let words = words(&Memory::of(tgid, tid)?, lock)?;
        let owner = *words.get(OwnerAt::Mutex.word()).filter(|owner| **owner != 0)?;
        let owner = match self.own_tids(tgid) {
            Some(own) => own.get(&owner).copied().or_else(|| Some(owner).filter(|_| !own.is_empty()))?,
            None => owner,
        };
        let is_lost = words.first() == Some(&CONTENDED) && (owner == tid || !is_thread(tgid, owner));
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
