//! Locks as a recording has them, and what the stacks of those who wait tell of each.

use std::collections::{BTreeMap, HashMap};

use perf_ebpf::lock::{LOCK_PI, LOCK_PI2, OwnerAt, operation, owner_at};
use serde::Serialize;

use super::{Frame, FrameId, FrameKind, Lengths, Profile, Sample, Series, StackId, owner::is_python};
use crate::{collect::Did, symbolize::did_name, task::HELD_BY};

/// What happened at a lock, over the windows of the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// What lies there.
    pub name: String,
    /// Waits that ended.
    pub waits: Lengths,
    /// Wake-ups after which others still waited.
    pub handed_on: u64,
    /// Times of which it is known for how long a thread had it: from when it ran after a wait for it until it woke another.
    pub holds: u64,
    /// In all.
    pub hold_ns: u64,
    /// The longest.
    pub hold_max_ns: u64,
    /// For how long at least one thread waited, as far as that ended.
    pub contended_ns: u64,
    /// How many waited at once, at most.
    pub most_waiting: u64,
}

impl Lock {
    /// Waits at either of two futexes of one lock; what else happened only if it is the lock's own, as that of several says nothing of it.
    #[must_use]
    pub fn with(mut self, other: &Self, is_own: bool) -> Self {
        self.waits.add(&other.waits);
        if !is_own {
            return self;
        }
        for (sum, more) in [
            (&mut self.handed_on, other.handed_on),
            (&mut self.holds, other.holds),
            (&mut self.hold_ns, other.hold_ns),
            (&mut self.contended_ns, other.contended_ns),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.hold_max_ns = self.hold_max_ns.max(other.hold_max_ns);
        self.most_waiting = self.most_waiting.max(other.most_waiting);
        self
    }
}

/// A thread that waits for one that waits for it, if by way of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlocked {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Where the lock is that it waits for, and the next one has.
    pub address: u64,
    /// What lies there.
    pub lock: String,
    /// [`perf_ebpf::lock::how`] it waits, and where the lock says who has it.
    pub how: u32,
    /// Since when, nanoseconds after the start of the recording.
    pub since_ns: u64,
    /// The thread that has the lock: the next one; of one alone itself, or one that its process has not.
    pub owner: u32,
}

/// Locks, over the windows of the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    /// By process and address.
    pub sums: BTreeMap<(u32, u64), Lock>,
    /// Threads each of which waits for the next; or one alone, for what nobody lets go of.
    pub deadlocks: Vec<Vec<Deadlocked>>,
}

/// What threads wait at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// A mutex.
    Mutex,
    /// One for readers and writers.
    RwLock,
    /// A semaphore.
    Semaphore,
    /// What only one thread does, once.
    Once,
    /// Python's global interpreter lock.
    Gil,
    /// A monitor of Java's.
    Monitor,
    /// A lock in PostgreSQL's shared memory, for which its processes wait at semaphores of their own.
    LwLock,
    /// A futex in no function that is known.
    Futex,
    /// The same, where the callers are not known.
    Unknown,
    /// A condition variable: a wait for a sign, and not for a lock.
    Condition,
    /// A wait for all others to come.
    Barrier,
    /// A wait for a thread's end.
    Join,
    /// A thread that waits to be unparked.
    Park,
    /// A thread of a runtime without work: Go's.
    Idle,
}

impl LockKind {
    /// Whether who waits wants something that another has, and would go on without it.
    #[must_use]
    pub const fn is_lock(self) -> bool {
        matches!(
            self,
            Self::Mutex
                | Self::RwLock
                | Self::Semaphore
                | Self::Once
                | Self::Gil
                | Self::Monitor
                | Self::LwLock
                | Self::Futex
        )
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::RwLock => "rwlock",
            Self::Semaphore => "semaphore",
            Self::Once => "once",
            Self::Gil => "GIL",
            Self::Monitor => "monitor",
            Self::LwLock => "LWLock",
            Self::Futex => "futex",
            Self::Unknown => "not known, as their callers are not",
            Self::Condition => "condition variable",
            Self::Barrier => "barrier",
            Self::Join => "end of a thread",
            Self::Park => "parked",
            Self::Idle => "idle: no work",
        }
    }
}

/// How a lock is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made {
    kind: LockKind,
    /// Whether the C library made it, of which it is known where it keeps who has a lock.
    by_libc: bool,
    /// Whether threads wait at the lock itself, and not at something of their own.
    at_lock: bool,
}

/// Functions that wait at something that others made for them; a part of the name of each. They are looked for before those that
/// they call.
const RUNTIMES: [(&str, LockKind, bool); 21] = [
    ("PosixSemaphore::wait", LockKind::Park, true),
    ("take_gil", LockKind::Gil, false),
    ("Thread.join", LockKind::Join, true),
    ("Condition.wait", LockKind::Condition, true),
    ("SimpleQueue_get", LockKind::Condition, true),
    ("ObjectMonitor::enter", LockKind::Monitor, false),
    ("ObjectMonitor::wait", LockKind::Condition, false),
    ("Parker::park", LockKind::Park, false),
    ("parking_lot::raw_mutex", LockKind::Mutex, false),
    ("parking_lot::raw_rwlock", LockKind::RwLock, false),
    ("parking_lot::condvar", LockKind::Condition, false),
    ("parking_lot::once", LockKind::Once, false),
    ("sync::mpmc::", LockKind::Park, false),
    ("jobserver::", LockKind::Condition, false),
    ("rayon_core::sleep", LockKind::Idle, false),
    ("rustc_thread_pool::sleep", LockKind::Idle, false),
    ("LWLock", LockKind::LwLock, false),
    ("runtime.notesleep", LockKind::Idle, false),
    ("runtime.notetsleep", LockKind::Idle, false),
    ("runtime.lock2", LockKind::Mutex, true),
    ("JavaThread::wait_for_object", LockKind::Condition, false),
];

/// Functions that wait at a futex themselves; and whether they are the C library's.
const WAITERS: [(&str, LockKind, bool); 27] = [
    ("pthread_mutex", LockKind::Mutex, true),
    ("lll_lock_wait", LockKind::Mutex, true),
    ("lll_mutex_lock", LockKind::Mutex, true),
    ("mtx_lock", LockKind::Mutex, true),
    ("mtx_timedlock", LockKind::Mutex, true),
    ("pthread_rwlock", LockKind::RwLock, true),
    ("pthread_cond_", LockKind::Condition, true),
    ("cnd_wait", LockKind::Condition, true),
    ("cnd_timedwait", LockKind::Condition, true),
    ("sem_wait", LockKind::Semaphore, true),
    ("sem_timedwait", LockKind::Semaphore, true),
    ("sem_clockwait", LockKind::Semaphore, true),
    ("pthread_barrier", LockKind::Barrier, true),
    ("pthread_once", LockKind::Once, true),
    ("call_once", LockKind::Once, true),
    ("pthread_join", LockKind::Join, true),
    ("pthread_clockjoin", LockKind::Join, true),
    ("pthread_timedjoin", LockKind::Join, true),
    ("thrd_join", LockKind::Join, true),
    ("mutex::futex", LockKind::Mutex, false),
    ("rwlock::futex", LockKind::RwLock, false),
    ("condvar::futex", LockKind::Condition, false),
    ("once::futex", LockKind::Once, false),
    ("queue::RwLock", LockKind::RwLock, false),
    ("thread_parking", LockKind::Park, false),
    ("thread::park", LockKind::Park, false),
    ("absl::Mutex", LockKind::Mutex, false),
];

/// Both parts are in the name of what parks a thread that waits for one of Java's locks.
const JAVA_LOCK: [&str; 2] = ["AbstractQueuedSynchronizer", "acquire"];

/// How what stands for callers begins that could not be reached.
const CUT_OFF: &str = "[unwound no further";

/// Frames, from the innermost one on, in which these are looked for.
const LOOKED_AT: usize = 24;

/// A wait at a futex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWait<'a> {
    /// The futex's address.
    pub address: u64,
    /// What lies there.
    pub name: &'a str,
    /// What it is.
    pub kind: LockKind,
    /// Whether threads wait at the lock itself, and not at something of their own.
    pub at_lock: bool,
    /// Whether it says who has it, who then lets go of it himself.
    pub tells_owner: bool,
    made: Made,
    /// The stack of who waits, without what stands for why.
    pub stack: Vec<FrameId>,
    /// Who had it when the wait began, of a wait that has not ended and a lock that tells: the thread, and `name (tid)`.
    pub owner: Option<(u32, &'a str)>,
    /// Whether the wait ended because it had lasted long enough.
    pub is_timeout: bool,
    /// What the thread that ended it waited for itself, in this part of the time.
    pub waker_waited: Option<&'a str>,
}

/// What a thread did while others waited for a lock that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHold<'a> {
    /// The lock's address.
    pub address: u64,
    /// The process that waited for it.
    pub tgid: u32,
    /// Where the thread let go of it, or had waited itself.
    pub stack: Vec<FrameId>,
    /// Why it waited itself in this part of the time; `None` if it ran, or could have.
    pub waited: Option<&'a str>,
}

/// What wakes in place of the thread that it interrupts.
const TIMERS: [&str; 2] = ["hrtimer_wakeup", "process_timeout"];

impl Profile {
    /// A wait of the series of locks.
    #[must_use]
    pub fn lock_wait(&self, sample: &Sample) -> Option<LockWait<'_>> {
        let ids = self.stacks.root_to_leaf(sample.stack);
        let frame = |at: usize| ids.get(at).and_then(|id| self.frames.get(id.0 as usize));
        let text = |frame: &Frame| self.strings.get(frame.function);
        let is = |at: usize, kind| frame(at).is_some_and(|frame| frame.kind == kind);
        let why = (0..ids.len()).find(|at| is(*at, FrameKind::Wait))?;
        let lock = frame(why + 1).filter(|frame| frame.kind == FrameKind::Wait)?;
        let made = self.made(&ids[..why]);
        let owner = frame(why + 2).filter(|frame| frame.kind == FrameKind::Wait);
        let told = |owner: &&Frame| {
            let how = (owner.address >> 32) as u32;
            made.tells_owner(operation(how), owner_at(how))
        };
        // Then the stack of who woke it.
        let at = why + 2 + usize::from(owner.is_some());
        let waker = (at..ids.len()).find(|at| is(*at, FrameKind::Waker));
        let woke = waker.map_or(&[][..], |waker| &ids[at..waker]);
        let mut woke = woke.iter().filter_map(|id| self.frames.get(id.0 as usize));
        Some(LockWait {
            address: lock.address,
            name: text(lock),
            kind: made.kind,
            at_lock: made.at_lock,
            tells_owner: made.tells_owner(0, OwnerAt::Mutex),
            made,
            stack: ids[..why].to_vec(),
            owner: owner.filter(told).map(|owner| (owner.address as u32, text(owner).trim_start_matches(HELD_BY))),
            is_timeout: woke.any(|frame| frame.kind == FrameKind::Kernel && TIMERS.contains(&text(frame))),
            waker_waited: waker.and_then(|waker| frame(waker + 1)).map(text),
        })
    }

    /// What a sample of the series of holders tells.
    #[must_use]
    pub fn lock_hold(&self, sample: &Sample) -> Option<LockHold<'_>> {
        let ids = self.stacks.root_to_leaf(sample.stack);
        let frames: Vec<&Frame> = ids.iter().filter_map(|id| self.frames.get(id.0 as usize)).collect();
        let why = frames.iter().position(|frame| frame.kind == FrameKind::Wait)?;
        let (did, lock) = (self.strings.get(frames[why].function), frames.get(why + 1)?);
        Some(LockHold {
            address: lock.address,
            tgid: frames.get(why + 2)?.address as u32,
            stack: ids[..why].to_vec(),
            waited: Some(did).filter(|did| *did != did_name(Did::Ran)),
        })
    }

    /// What a stack waits at, whose innermost frame is the last.
    fn made(&self, stack: &[FrameId]) -> Made {
        let frames = stack.iter().rev().filter_map(|id| self.frames.get(id.0 as usize));
        let user = frames.filter(|frame| !matches!(frame.kind, FrameKind::Kernel | FrameKind::Wait));
        let frames: Vec<&Frame> = user.take(LOOKED_AT).collect();
        let name = |frame: &Frame| self.strings.get(frame.function);
        for frame in &frames {
            if let Some((_, kind, at_lock)) = RUNTIMES.into_iter().find(|(part, ..)| name(frame).contains(part)) {
                let is_lock = |frame: &&Frame| JAVA_LOCK.into_iter().all(|part| name(frame).contains(part));
                let kind = if kind == LockKind::Park && frames.iter().any(is_lock) { LockKind::Mutex } else { kind };
                return Made { kind, by_libc: false, at_lock };
            }
        }
        for (at, frame) in frames.iter().enumerate() {
            // Rust's closures are called by a function of the same name as C's.
            let waiter = WAITERS.into_iter().find(|(part, ..)| name(frame).contains(part));
            let Some((_, kind, by_libc)) = waiter.filter(|_| !name(frame).contains("FnOnce")) else { continue };
            // What asks for it is not exported, and has no name where Python is stripped; nothing else in it waits so.
            let caller = frames[at..].iter().find(|caller| {
                let (function, module) = (name(caller), self.strings.get(caller.module));
                !function.contains("pthread_cond") && !module.contains("libc.so")
            });
            let in_python = |caller: &Frame| {
                let module = self.strings.get(caller.module);
                caller.kind == FrameKind::User && is_python(module.rsplit('/').next().unwrap_or(module))
            };
            if kind == LockKind::Condition && caller.is_some_and(|caller| in_python(caller)) {
                return Made { kind: LockKind::Gil, by_libc: false, at_lock: false };
            }
            return Made { kind, by_libc, at_lock: kind != LockKind::Park };
        }
        let is_cut = frames.last().is_none_or(|outermost| name(outermost).starts_with(CUT_OFF));
        let kind = if is_cut { LockKind::Unknown } else { LockKind::Futex };
        Made { kind, by_libc: false, at_lock: true }
    }

    /// Of waits at futexes, those for locks: what is no contention is left out.
    #[must_use]
    pub fn contention(&self, series: &Series) -> Series {
        let mut known: HashMap<StackId, bool> = HashMap::new();
        let mut is_contention = |sample: &Sample| {
            *known.entry(sample.stack).or_insert_with(|| self.lock_wait(sample).is_some_and(|wait| wait.kind.is_lock()))
        };
        let mut series = series.clone();
        series.samples.retain(|sample| is_contention(sample));
        series
    }
}

impl LockWait<'_> {
    /// Whether such a lock keeps who has it where it was found, by [`perf_ebpf::lock::how`].
    #[must_use]
    pub fn tells_owner_at(&self, how: u32) -> bool {
        self.made.tells_owner(operation(how), owner_at(how))
    }
}

impl Made {
    /// Whether such a lock keeps who has it there.
    fn tells_owner(self, operation: u32, at: OwnerAt) -> bool {
        match (self.kind, at) {
            // The kernel itself reads it there.
            (_, OwnerAt::Word) if operation == LOCK_PI || operation == LOCK_PI2 => true,
            (LockKind::Mutex, OwnerAt::Word | OwnerAt::Mutex) => self.by_libc,
            (LockKind::RwLock, OwnerAt::Writers | OwnerAt::Readers) => self.by_libc,
            (LockKind::Join, OwnerAt::Word) => self.by_libc,
            _ => false,
        }
    }
}
