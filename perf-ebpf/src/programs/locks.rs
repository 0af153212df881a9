//! Locks that are futexes: at which one a thread waits that leaves the CPU in such a call, who has it, and who hands it on.

use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_probe_read_user as bpf_probe_read_user_into,
    },
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use core::arch::asm;
use perf_ebpf::{
    counters::Counter,
    histogram::{BUCKETS, bucket},
    lock::{
        Blame, FUTEX, FUTEX_WAIT, FUTEX_WAITV, HolderKey, LOCK_WORDS, LockKey, LockState, LockSum, MOMENT_NS, OwnerAt,
        PRIVATE, WAIT_MANY, how, is_futex, owner_in_word, wakes,
    },
    sched::{AtLock, State, TASK_INTERRUPTIBLE, Thread},
};

#[cfg(bpf_target_arch = "x86_64")]
use super::system_call::arguments_by_helper;
use super::{
    counters::{count, counters, generation},
    system_call::arguments_by_offset,
    target::exec_count,
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

/// The thread of this id, which runs, waits at a lock: at which, its system call tells.
pub(super) type Waits = extern "C" fn(u32) -> i64;

/// Who runs has woken the thread of this id, which waited at a lock: as a waker of this id, at this time.
pub(super) type Wakes = extern "C" fn(u32, u64, u64) -> i64;

/// Functions of their own, of numbers alone, so that verifiers look at each once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn lock_waits_by_offset(tid: u32) -> i64 {
    waits(tid, arguments_by_offset())
}

/// The same, for kernels with `bpf_task_pt_regs` (5.15).
#[cfg(bpf_target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn lock_waits_by_helper(tid: u32) -> i64 {
    waits(tid, arguments_by_helper())
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn lock_wakes_by_offset(tid: u32, id: u64, now_ns: u64) -> i64 {
    wakes_from(tid, arguments_by_offset(), id, now_ns)
}

/// The same, for kernels with `bpf_task_pt_regs`.
#[cfg(bpf_target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn lock_wakes_by_helper(tid: u32, id: u64, now_ns: u64) -> i64 {
    wakes_from(tid, arguments_by_helper(), id, now_ns)
}

#[inline(always)]
fn wakes_from(tid: u32, [second, first, call]: [u64; 3], id: u64, now_ns: u64) -> i64 {
    let Some(thread) = THREADS.get_ptr(&tid) else { return 1 };
    // SAFETY: only read.
    let wait = unsafe { &(*thread).wait };
    let pid_tgid = bpf_get_current_pid_tgid();
    // What else ends such a wait: a timeout, or a signal.
    let elsewhere = (pid_tgid >> 32) as u32 != wait.key.tgid;
    let is_wake = wakes(call as u32, [second, first], wait.lock, elsewhere);
    lock_woken(tid, if is_wake { pid_tgid as u32 } else { 0 }, id, now_ns)
}

/// Whether the thread waits at a lock.
#[inline(always)]
pub(super) fn is_at_lock(thread: &Thread) -> bool {
    thread.at_lock == AtLock::Waits as u32
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

#[inline(always)]
fn waits(tid: u32, [second, first, call]: [u64; 3]) -> i64 {
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `threads::change`, which has begun.
    let thread = unsafe { &mut *thread };
    let (lock, operation) = match call as u32 {
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
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let is_owner = |candidate: u32| {
        candidate != 0
            && candidate != tid
            // SAFETY: only read.
            && known(candidate).is_some_and(|other| shared || unsafe { (*other).wait.key.tgid } == tgid)
    };
    let [word, _, mutex, writers, readers] = words;
    let word = owner_in_word(word);
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
    let wait = &mut thread.wait;
    (wait.lock, wait.owner, wait.how) = (lock, owner, how(operation, at as u32));
    (wait.key.tgid, wait.key.tid, wait.key.exec_count) = (tgid, tid, exec_count());
    thread.at_lock = AtLock::GaveUp as u32;
    let (key, now_ns) = (key(thread), thread.off_ns);
    let state = LOCK_STATES.get_ptr_mut(&key).or_else(|| {
        let new = LockState { born_ns: now_ns, ..LockState::default() };
        let _ = LOCK_STATES.insert(&key, &new, u64::from(BPF_NOEXIST));
        LOCK_STATES.get_ptr_mut(&key)
    });
    let Some(state) = state else { return 1 };
    // SAFETY: of the map. Several CPUs change it at once: how many wait is always exact, the rest may be of one of them.
    unsafe {
        add(&raw mut (*state).balance_ns, now_ns.wrapping_neg());
        add(&raw mut (*state).waiting, 1);
        let waiting = (&raw const (*state).waiting).read_volatile();
        if waiting == 1 {
            // Nobody knows for how long it was free.
            (*state).holder = 0;
            if now_ns.saturating_sub((*state).empty_ns) > MOMENT_NS {
                // What those who gave up had waited for is told of none.
                (*state).began_ns = now_ns;
                (*state).blamed_ns = (*state).balance_ns.wrapping_add(now_ns);
            }
        }
        if (*state).since_ns == 0 {
            (*state).since_ns = now_ns;
        }
        if waiting > (*state).most_waiting {
            (*state).most_waiting = waiting;
        }
        thread.lock_born_ns = (*state).born_ns;
    }
    // Last: who wakes it takes away what was added.
    // SAFETY: of the map; volatile, so that the writes stay in their order.
    unsafe { (&raw mut thread.at_lock).write_volatile(AtLock::Waits as u32) };
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lock_woken(tid: u32, waker: u32, id: u64, now_ns: u64) -> i64 {
    let Some(thread) = THREADS.get_ptr_mut(&tid) else { return 1 };
    // SAFETY: see `threads::change`: only who wakes it changes this now.
    let thread = unsafe { &mut *thread };
    thread.at_lock = if waker == 0 { AtLock::GaveUp as u32 } else { AtLock::Woken as u32 };
    let (key, generation) = (key(thread), generation());
    let Some(state) = LOCK_STATES.get_ptr_mut(&key) else { return 1 };
    // SAFETY: of the map, and as in `waits`.
    let state = unsafe { &mut *state };
    if state.born_ns != thread.lock_born_ns {
        return 1;
    }
    if waker != 0 {
        // Who had it when the wait began is of no moment any more.
        thread.wait.owner = 0;
        blame(state, HolderKey { key, waker: id }, waker, [thread.off_ns, now_ns], generation);
    } else if state.let_go_ns > thread.off_ns {
        thread.wait.owner = 0;
    } else if thread.wait.owner != 0 {
        // For whom it waited its own record tells.
        state.blamed_ns = state.blamed_ns.wrapping_add(now_ns.saturating_sub(thread.off_ns));
    }
    // SAFETY: as above.
    let left = unsafe {
        add(&raw mut state.balance_ns, now_ns);
        add(&raw mut state.waiting, u64::MAX);
        (&raw const state.waiting).read_volatile()
    };
    let since_ns = state.since_ns;
    state.since_ns = if left > 0 { now_ns } else { 0 };
    if left == 0 {
        state.empty_ns = now_ns;
    }
    let Some(sum) = sum(&key, generation) else { return 1 };
    // SAFETY: of the map.
    unsafe {
        if since_ns != 0 {
            add(&raw mut (*sum).contended_ns, now_ns.saturating_sub(since_ns));
        }
        if left > 0 {
            add(&raw mut (*sum).handed_on, 1);
        }
        if waker != 0 && state.holder == waker {
            state.holder = 0;
            let hold_ns = now_ns.saturating_sub(state.acquired_ns);
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
        lock_woken(tid, 0, 0, now_ns);
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
/// `began_ns`.
#[inline(always)]
fn blame(state: &mut LockState, key: HolderKey, waker: u32, [began_ns, now_ns]: [u64; 2], generation: u32) {
    let waiting = state.waiting;
    let waited_ns = state.balance_ns.wrapping_add(waiting.wrapping_mul(now_ns));
    let ns = waited_ns.wrapping_sub(state.blamed_ns);
    let from_ns = if state.let_go_ns > began_ns { state.let_go_ns } else { began_ns };
    let last_ns = if state.let_go_ns > state.began_ns { state.let_go_ns } else { state.began_ns };
    // One that begins to wait meanwhile is in one of the two sums and not in the other; then the next one who lets go tells.
    let most_ns = (waiting + 1).wrapping_mul(now_ns.saturating_sub(last_ns));
    if ns as i64 <= 0 || ns > most_ns {
        return;
    }
    (state.blamed_ns, state.let_go_ns) = (waited_ns, now_ns);
    let had_ns = now_ns.saturating_sub(from_ns);
    let mut off_ns = 0;
    if let Some(thread) = THREADS.get_ptr(&waker) {
        // SAFETY: the running thread's, and only read.
        let thread = unsafe { &*thread };
        let gone_ns = if thread.off_ns > from_ns { thread.off_ns } else { from_ns };
        // A wait for the same lock was before it had that.
        if thread.state == State::Running as u32 && thread.wait.lock != key.key.lock {
            off_ns = thread.since_ns.saturating_sub(gone_ns);
        }
    }
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

/// What is counted of a lock, which another CPU may begin at the same time.
#[inline(always)]
fn sum(key: &LockKey, generation: u32) -> Option<*mut LockSum> {
    let sums = if generation == 0 { &LOCKS_0 } else { &LOCKS_1 };
    if let Some(sum) = sums.get_ptr_mut(key) {
        return Some(sum);
    }
    // SAFETY: memory of the map, which is never written to.
    let _ = sums.insert(key, unsafe { &*NO_LOCK.get_ptr(0)? }, u64::from(BPF_NOEXIST));
    let sum = sums.get_ptr_mut(key);
    if sum.is_none()
        && let Some(counters) = counters(generation)
    {
        count(counters, Counter::LocksMissed);
    }
    sum
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
