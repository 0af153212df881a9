//! Locks of threads that wait already: at which futex, and who has it, as the memory of their process tells.

use std::{collections::HashMap, path::Path};

use perf_ebpf::lock::{
    FUTEX, FUTEX_WAIT, FUTEX_WAITV, LOCK_WORDS, OwnerAt, PRIVATE, TID_BITS, WAIT_MANY, how, is_futex,
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
}

/// The lock of a thread that waits in this system call, with these arguments; `None` if it is at none.
#[must_use]
pub fn found(tgid: u32, tid: u32, call: u32, arguments: [u64; 6]) -> Option<FoundLock> {
    if !cfg!(target_arch = "x86_64") || !is_futex(call) {
        return None;
    }
    let memory = Memory::of(tgid, tid)?;
    let [first, second, ..] = arguments;
    let (lock, operation) = match call {
        FUTEX => (first, second as u32),
        FUTEX_WAITV => (memory.word(first.checked_add(8)?)?, WAIT_MANY | PRIVATE),
        FUTEX_WAIT => (first, PRIVATE),
        _ => return None,
    };
    let (owner, at) = owner(tgid, tid, lock, &memory).unwrap_or((0, OwnerAt::Nowhere));
    Some(FoundLock { lock, owner, how: how(operation, at as u32) })
}

/// The lock at which a thread waits now.
#[must_use]
pub fn found_now(tgid: u32, tid: u32) -> Option<FoundLock> {
    let call = found_call(tgid, tid)?;
    found(tgid, tid, call.call, call.arguments)
}

/// Which thread of the process, other than `tid`, has a lock, and where that is told.
fn owner(tgid: u32, tid: u32, lock: u64, memory: &Memory) -> Option<(u32, OwnerAt)> {
    let bytes = memory.at_most(lock, LOCK_WORDS * 4)?;
    let words: Vec<u32> =
        bytes.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?))).collect();
    let candidate = |at: OwnerAt| {
        let word = *words.get(at.word())?;
        Some(if at == OwnerAt::Word { word & TID_BITS } else { word }).filter(|word| *word != 0)
    };
    let mut candidates = OwnerAt::ALL.into_iter().filter_map(|at| Some((candidate(at)?, at))).peekable();
    candidates.peek()?;
    // Locks name threads as those call themselves.
    if own_tid(tgid, tgid) == tgid {
        let is_thread = |tid: u32| Path::new(&format!("/proc/{tgid}/task/{tid}")).exists();
        return candidates.find(|(owner, _)| *owner != tid && is_thread(*owner));
    }
    let tids = threads(tgid);
    if tids.len() > MOST_NAMED {
        return None;
    }
    let own: HashMap<u32, u32> = tids.into_iter().map(|tid| (own_tid(tgid, tid), tid)).collect();
    candidates.find_map(|(word, at)| Some((*own.get(&word)?, at)).filter(|(owner, _)| *owner != tid))
}

/// Of a process in a PID namespace with more threads, it is not asked what they call themselves.
const MOST_NAMED: usize = 1_000;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_lock_is_found_in_it() {
        let (tgid, tid) = (std::process::id(), std::process::id());
        let memory = Memory::of(tgid, tid).unwrap();
        let owner_of = |words: [u32; LOCK_WORDS]| owner(tgid, u32::MAX, words.as_ptr() as u64, &memory);
        assert_eq!(owner_of([tgid | 0x8000_0000, 0, 0, 0, 0]), Some((tgid, OwnerAt::Word)));
        assert_eq!(owner_of([2, 0, tgid, 1, 0]), Some((tgid, OwnerAt::Mutex)));
        assert_eq!(owner_of([3, 0, 0, 0, tgid]), Some((tgid, OwnerAt::Readers)));
        assert_eq!(owner_of([2, tgid, 0, 0, 0]), None);
        let own = [2, 0, tgid, 0, 0];
        assert_eq!(owner(tgid, tid, own.as_ptr() as u64, &memory), None, "nobody waits for itself");
        let call = [own.as_ptr() as u64, u64::from(PRIVATE), 0, 0, 0, 0];
        assert_eq!(found(tgid, u32::MAX, FUTEX, call), None, "there is no such thread");
        assert_eq!(found(tgid, tid, 0, call), None, "that is no futex");
    }
}
