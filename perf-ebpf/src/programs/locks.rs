//! Locks that are futexes: at which one a thread waits that leaves the CPU in such a call, who has it, and who hands it on.

use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    helpers::{bpf_probe_read_user, generated::bpf_probe_read_user as bpf_probe_read_user_into},
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use core::arch::asm;
use perf_ebpf::{
    counters::Counter,
    histogram::{BUCKETS, bucket},
    lock::{
        Blame, FUTEX, FUTEX_WAIT, FUTEX_WAITV, HolderKey, LOCK_WORDS, LockKey, LockState, LockSum, OwnerAt, PRIVATE,
        TID_BITS, WAIT_MANY, how, is_futex,
    },
    sched::{AtLock, TASK_INTERRUPTIBLE, Thread},
};

use super::{
    counters::{count, counters, generation, sum_of},
    threads::{THREADS, known},
};

/// 1 if locks are recorded.
#[unsafe(no_mangle)]
static LOCKS: Global<u32> = Global::new(0);

#[map]
static LOCKS_0: HashMap<LockKey, LockSum> = HashMap::with_max_entries(1, 0);

#[map]
static LOCKS_1: HashMap<LockKey, LockSum> = HashMap::with_max_entries(1, 0);

#[map]
static HOLDERS_0: HashMap<HolderKey, Blame> = HashMap::with_max_entries(1, 0);

#[map]
static HOLDERS_1: HashMap<HolderKey, Blame> = HashMap::with_max_entries(1, 0);

/// Locks at which threads wait, or did a moment ago.
#[map]
static LOCK_STATES: LruHashMap<LockKey, LockState> = LruHashMap::with_max_entries(1, 0);

/// What sums begin with: the stack of a program has no room for it.
#[map]
static NO_LOCK: PerCpuArray<LockSum> = PerCpuArray::with_max_entries(1, 0);

/// Whether a thread that leaves the CPU in this state and system call waits at a lock that is recorded.
#[inline(always)]
pub(super) fn is_wait(state: u32, system_call: u32) -> bool {
    LOCKS.load() != 0 && state & TASK_INTERRUPTIBLE != 0 && is_futex(system_call)
}

/// The thread waits at a lock, in a system call with these first two arguments.
#[inline(always)]
pub(super) fn waits(thread: &Thread, system_call: u32, [second, first]: [u64; 2]) {
    lock_waits(thread.wait.key.tid, first, second, system_call);
}

/// The thread was woken, if it waited at a lock: by this thread, in this system call, which is a waker of this id and has been off the
/// CPU for so long meanwhile.
#[inline(always)]
pub(super) fn woken(thread: &Thread, tid: u32, system_call: u32, [id, off_ns]: [u64; 2], now_ns: u64) {
    if thread.at_lock == AtLock::Waits as u32 {
        // What else ends such a wait: a timeout, or a signal.
        let tid = if is_futex(system_call) { tid } else { 0 };
        lock_woken(thread.wait.key.tid, tid, id, off_ns, now_ns);
    }
}

/// The thread came to run, if it had waited at a lock.
#[inline(always)]
pub(super) fn ran(thread: &Thread, blocked_ns: u64, now_ns: u64, generation: u32) {
    if thread.at_lock != AtLock::Not as u32 {
        lock_ran(thread.wait.key.tid, blocked_ns, now_ns, generation);
    }
}

fn key(thread: &Thread) -> LockKey {
    let key = &thread.wait.key;
    LockKey { tgid: key.tgid, exec_count: key.exec_count, lock: thread.wait.lock }
}

/// Functions of their own, of numbers alone, so that verifiers look at each once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lock_waits(tid: u32, first: u64, second: u64, system_call: u32) -> i64 {
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `threads::change`, which has begun.
    let thread = unsafe { &mut *thread };
    let (lock, operation) = match system_call {
        FUTEX => (first, second as u32),
        // An array of what is waited for, of which the first stands for all; its second word is the address.
        // SAFETY: the helper fails rather than faults.
        FUTEX_WAITV => (unsafe { bpf_probe_read_user((first + 8) as *const u64) }.unwrap_or(0), WAIT_MANY | PRIVATE),
        FUTEX_WAIT => (first, PRIVATE),
        _ => return 1,
    };
    if lock == 0 {
        return 1;
    }
    let mut words = [0_u32; LOCK_WORDS];
    // SAFETY: as above.
    unsafe {
        let all = bpf_probe_read_user_into((&raw mut words).cast(), size_of_val(&words) as u32, lock as *const _);
        if all != 0 {
            // It may be the last word before memory that is not there.
            words = [bpf_probe_read_user(lock as *const u32).unwrap_or(0), 0, 0, 0, 0];
        }
    }
    let shared = operation & PRIVATE == 0;
    let tgid = thread.wait.key.tgid;
    let is_owner = |candidate: u32| {
        candidate != 0
            && candidate != tid
            // SAFETY: only read.
            && known(candidate).is_some_and(|other| shared || unsafe { (*other).wait.key.tgid } == tgid)
    };
    let [word, _, mutex, writers, readers] = words;
    let word = word & TID_BITS;
    let (owner, at) = if is_owner(word) {
        (word, OwnerAt::Word)
    } else if is_owner(mutex) {
        (mutex, OwnerAt::Mutex)
    } else if is_owner(writers) {
        (writers, OwnerAt::Writers)
    } else if is_owner(readers) {
        (readers, OwnerAt::Readers)
    } else {
        (0, OwnerAt::Nowhere)
    };
    (thread.wait.lock, thread.wait.owner, thread.wait.how) = (lock, owner, how(operation, at as u32));
    thread.at_lock = AtLock::Waits as u32;
    let (key, now_ns) = (key(thread), thread.off_ns);
    let state = LOCK_STATES.get_ptr_mut(&key).or_else(|| {
        let _ = LOCK_STATES.insert(&key, &LockState::default(), u64::from(BPF_NOEXIST));
        LOCK_STATES.get_ptr_mut(&key)
    });
    let Some(state) = state else { return 1 };
    // SAFETY: of the map. Several CPUs change it at once: how many wait is always exact, the rest may be of one of them.
    unsafe {
        add(&raw mut (*state).balance_ns, now_ns.wrapping_neg());
        add(&raw mut (*state).waiting, 1);
        let waiting = (&raw const (*state).waiting).read_volatile();
        if waiting == 1 {
            (*state).since_ns = now_ns;
        }
        if waiting > (*state).most_waiting {
            (*state).most_waiting = waiting;
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lock_woken(tid: u32, waker: u32, id: u64, off_ns: u64, now_ns: u64) -> i64 {
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `threads::change`: only who wakes it changes this now.
    let thread = unsafe { &mut *thread };
    thread.at_lock = if waker == 0 { AtLock::GaveUp as u32 } else { AtLock::Woken as u32 };
    let key = key(thread);
    let generation = generation();
    let Some(state) = LOCK_STATES.get_ptr_mut(&key) else { return 1 };
    if waker == 0 && thread.wait.owner != 0 {
        // For whom it waited its own record tells.
        // SAFETY: as above.
        unsafe {
            let from_ns = if (*state).let_go_ns > thread.off_ns { (*state).let_go_ns } else { thread.off_ns };
            (*state).blamed_ns = (*state).blamed_ns.wrapping_add(now_ns.saturating_sub(from_ns));
        }
    } else if waker != 0 {
        // Who had it when the wait began is of no moment any more.
        thread.wait.owner = 0;
        // SAFETY: as above.
        blame(unsafe { &mut *state }, HolderKey { key, waker: id }, [thread.off_ns, off_ns, now_ns], generation);
    }
    // SAFETY: as above.
    let (left, since_ns) = unsafe {
        add(&raw mut (*state).balance_ns, now_ns);
        add(&raw mut (*state).waiting, u64::MAX);
        ((&raw const (*state).waiting).read_volatile(), (*state).since_ns)
    };
    let Some(sum) = sum(&key, generation) else { return 1 };
    // SAFETY: of the map.
    unsafe {
        if left > 0 {
            add(&raw mut (*sum).handed_on, 1);
        } else {
            add(&raw mut (*sum).contended_ns, now_ns.saturating_sub(since_ns));
        }
        if waker != 0 && (*state).holder == waker {
            (*state).holder = 0;
            let hold_ns = now_ns.saturating_sub((*state).acquired_ns);
            add(&raw mut (*sum).holds, 1);
            add(&raw mut (*sum).hold_ns, hold_ns);
            if hold_ns > (*sum).hold_max_ns {
                (*sum).hold_max_ns = hold_ns;
            }
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lock_ran(tid: u32, blocked_ns: u64, now_ns: u64, generation: u32) -> i64 {
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `threads::change`.
    let thread = unsafe { &mut *thread };
    // Nobody was seen to wake it.
    if thread.at_lock == AtLock::Waits as u32 {
        lock_woken(tid, 0, 0, 0, now_ns);
    }
    let has_it = thread.at_lock == AtLock::Woken as u32;
    thread.at_lock = AtLock::Not as u32;
    let key = key(thread);
    let Some(sum) = sum(&key, generation) else { return 1 };
    // SAFETY: of the map. Threads that waited for one lock come to run on several CPUs at once.
    unsafe {
        let waits = &raw mut (*sum).waits;
        add(&raw mut (*waits).count, 1);
        add(&raw mut (*waits).total_ns, blocked_ns);
        if blocked_ns > (*waits).max_ns {
            (*waits).max_ns = blocked_ns;
        }
        let at = bucket(blocked_ns);
        // As in `counters::count_length`.
        let at = (&raw const at).read_volatile() & (BUCKETS - 1);
        let bucket = (&raw mut (*waits).buckets).cast::<u32>().add(at);
        asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) bucket, in(reg) 1_u64);
    }
    let Some(state) = LOCK_STATES.get_ptr_mut(&key) else { return 1 };
    // SAFETY: as above.
    unsafe {
        if (*state).most_waiting > (*sum).most_waiting {
            (*sum).most_waiting = (*state).most_waiting;
        }
        (*state).most_waiting = (*state).waiting;
        if has_it {
            ((*state).holder, (*state).acquired_ns) = (tid, now_ns);
        }
    }
    0
}

/// Who lets go of a lock had it since that was done last, and all that waited meanwhile waited for it. One of them has waited since
/// `began_ns`, and `off_ns` of that time who had it was off the CPU itself.
#[inline(always)]
fn blame(state: &mut LockState, key: HolderKey, [began_ns, off_ns, now_ns]: [u64; 3], generation: u32) {
    let waited_ns = state.balance_ns.wrapping_add(state.waiting.wrapping_mul(now_ns));
    let ns = waited_ns.wrapping_sub(state.blamed_ns);
    let from_ns = if state.let_go_ns > began_ns { state.let_go_ns } else { began_ns };
    (state.blamed_ns, state.let_go_ns) = (waited_ns, now_ns);
    // Several CPUs may let go of what several have.
    if ns == 0 || ns as i64 <= 0 {
        return;
    }
    let had_ns = now_ns.saturating_sub(from_ns);
    let off_ns = if off_ns < had_ns { off_ns } else { had_ns };
    let thousandths = if had_ns == 0 { 0 } else { off_ns * 1_000 / had_ns };
    let own = Blame { ns, waited_ns: ns / 1_000 * thousandths };
    let holders = if generation == 0 { &HOLDERS_0 } else { &HOLDERS_1 };
    if let Some(sum) = holders.get_ptr_mut(&key) {
        // SAFETY: of the map; one waker is on one CPU.
        unsafe {
            (*sum).ns += own.ns;
            (*sum).waited_ns += own.waited_ns;
        }
    } else if holders.insert(&key, &own, u64::from(BPF_NOEXIST)).is_err()
        && let Some(counters) = counters(generation)
    {
        count(counters, Counter::LocksMissed);
    }
}

/// What is counted of a lock.
#[inline(always)]
fn sum(key: &LockKey, generation: u32) -> Option<*mut LockSum> {
    let sums = if generation == 0 { &LOCKS_0 } else { &LOCKS_1 };
    let counters = counters(generation)?;
    sum_of(sums, key, &NO_LOCK, counters, [Counter::LocksMissed, Counter::LocksMissed])
}

/// Adds to what several CPUs add to.
///
/// # Safety
/// The pointer is to a value of a map.
#[inline(always)]
unsafe fn add(sum: *mut u64, value: u64) {
    // SAFETY: as demanded. What it was is not asked: kernels before 5.12 cannot tell. Rust has no atomic types for this target, as it
    // cannot compare and exchange.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) sum, in(reg) value) };
}
