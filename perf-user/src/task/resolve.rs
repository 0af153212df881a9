//! From addresses to places in files: what only the moment of the sample knows, decided before it is forgotten.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use perf_ebpf::{
    block::FileKey,
    sample::Key,
    unwind::{EXACT, MARKS, USER_END, why_cut_off},
};

use super::{
    FileText, GeneratedCode, LocatedBlock, LocatedCalls, LocatedFileCalls, LocatedKernelLocks, LocatedLocks,
    LocatedMemory, Module, ModuleId, ModuleKind, Tasks, file_names, locks::PlacedLock, timeline::LocatedTimeline,
};
use crate::{
    collect::{Did, EventKind, RawSample, target::comm_text},
    drain::{Moment, RawKind, RawQueues, RawTimeline, RawWindow, Tally},
};

/// A place in a module: for files the file offset, for the kernel and generated code the address.
///
/// Of a caller it is the last byte of the call, not the instruction after it, which can belong to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawFrame {
    /// Where the code comes from.
    pub module: ModuleId,
    /// Where in it.
    pub address: u64,
    /// Which code that was, of what lay there one after another, as far as it is generated and has a name.
    pub code: u64,
}

/// A sample whose frames are places.
#[derive(Clone, Debug)]
pub struct LocatedSample {
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// The name of the process at the end of the window.
    pub process: String,
    /// When it was first seen in the window, `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// How much.
    pub value: u64,
    /// Outermost first: user frames, then kernel frames.
    pub frames: Vec<RawFrame>,
}

/// A window on its way to be named and stored.
#[derive(Debug, Default)]
pub struct LocatedWindow {
    /// Its start, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// What was recorded, by kind.
    pub kinds: Vec<LocatedKind>,
    /// The modules of its samples' frames.
    pub modules: HashMap<ModuleId, Arc<Module>>,
    /// What is known of those that are generated code.
    pub generated: Vec<GeneratedCode>,
    /// How long threads waited for a CPU.
    pub queues: RawQueues,
    /// What happened at locks, if that is recorded.
    pub locks: Option<LocatedLocks>,
    /// System calls, if they are recorded.
    pub calls: Option<LocatedCalls>,
    /// Requests to devices, if they are recorded.
    pub block: Option<LocatedBlock>,
    /// System calls on files and sockets, if they are recorded.
    pub file_calls: Option<LocatedFileCalls>,
    /// Waits for locks of the kernel, if they are recorded.
    pub kernel_locks: Option<LocatedKernelLocks>,
    /// How much memory processes have, if that is recorded.
    pub memory: Option<LocatedMemory>,
    /// What the files in all these are called.
    pub files: HashMap<FileKey, FileText>,
    /// Single events, if they are kept.
    pub timeline: Option<LocatedTimeline>,
}

/// All of one kind in a window.
#[derive(Debug)]
pub struct LocatedKind {
    /// Which.
    pub kind: EventKind,
    /// The samples.
    pub samples: Vec<LocatedSample>,
    /// What became of all of them.
    pub tally: Tally,
}

impl LocatedWindow {
    /// All that has frames: the samples of all kinds, and the places of events.
    pub fn samples(&self) -> impl Iterator<Item = &LocatedSample> {
        let places = self.timeline.iter().flat_map(|timeline| &timeline.places);
        self.kinds.iter().flat_map(|kind| &kind.samples).chain(places.map(|(_, place)| place))
    }

    /// Takes over the counts of a window that cannot be kept: its samples become losses of this one.
    pub fn absorb(&mut self, dropped: &Self, cause: &'static str) {
        self.queues.queues.extend(&dropped.queues.queues);
        self.queues.takers.extend(&dropped.queues.takers);
        for kind in &mut self.kinds {
            let same = dropped.kinds.iter().filter(|dropped| dropped.kind == kind.kind);
            for dropped in same {
                kind.tally.absorb(&dropped.tally, dropped.reported(), cause);
            }
        }
        if let (Some(locks), Some(dropped)) = (&mut self.locks, &dropped.locks) {
            locks.sums.extend(dropped.sums.iter().cloned());
            locks.processes.extend(dropped.processes.clone());
            locks.deadlocks.extend(dropped.deadlocks.iter().cloned());
        }
        if let (Some(calls), Some(dropped)) = (&mut self.calls, &dropped.calls) {
            calls.tally.absorb(&dropped.tally, dropped.reported(), cause);
        }
        if let (Some(block), Some(dropped)) = (&mut self.block, &dropped.block) {
            block.tally.absorb(&dropped.tally, dropped.reported(), cause);
        }
        if let (Some(calls), Some(dropped)) = (&mut self.file_calls, &dropped.file_calls) {
            let [reported, faults] = dropped.reported();
            calls.tally.absorb(&dropped.tally, reported, cause);
            calls.faults.absorb(&dropped.faults, faults, cause);
        }
        if let (Some(locks), Some(dropped)) = (&mut self.kernel_locks, &dropped.kernel_locks) {
            locks.tally.absorb(&dropped.tally, dropped.reported(), cause);
        }
        if let (Some(timeline), Some(dropped)) = (&mut self.timeline, &dropped.timeline) {
            timeline.taken += dropped.taken;
            timeline.lost.push((cause, dropped.records()));
            timeline.lost.extend(&dropped.lost);
        }
    }
}

impl LocatedKind {
    /// The sum of its samples' values.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.samples.iter().map(|sample| sample.value).sum()
    }

    /// The sum of its losses.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.tally.lost.iter().map(|(_, value)| value).sum()
    }
}

impl Tasks {
    /// Gives every address of a window the meaning it had when the sample was taken.
    #[must_use]
    pub fn locate(&mut self, window: RawWindow) -> LocatedWindow {
        let samples = || window.kinds.iter().flat_map(|kind| &kind.samples);
        // The beginning of some escaped us: they joined the target's cgroup, or events were lost.
        let unknown = |sample: &&RawSample| sample.user_stack != 0 && !self.processes.contains_key(&sample.tgid);
        let unknown: HashSet<u32> = samples().filter(unknown).map(|sample| sample.tgid).collect();
        unknown.into_iter().for_each(|tgid| self.scan(tgid));
        let sampled: HashSet<u32> = samples().map(|sample| sample.tgid).collect();
        // A child that was forked has the code of its parent without having mapped any.
        sampled.iter().for_each(|tgid| self.look_for_generators(*tgid));
        let (mut names, mut modules) = (HashMap::new(), HashMap::new());
        let wakers: Vec<_> = window.wakers.iter().map(|waker| self.modules.waker(&waker_name(waker))).collect();
        let files = file_names::texts(&window);
        let touched = self.touched(&window, &files);
        let locks = self.place_locks(&window);
        let mut locating = Locating {
            window: &window,
            wakers: &wakers,
            touched: &touched,
            locks: &locks,
            names: &mut names,
            modules: &mut modules,
        };
        let kinds = window.kinds.iter().map(|kind| self.locate_kind(kind, &mut locating)).collect();
        let timeline = window.timeline.as_ref().map(|events| self.locate_timeline(events, &mut locating));
        let sampled = sampled.iter().filter_map(|tgid| self.processes.get(tgid));
        let generated = sampled.flat_map(|process| process.generated(|id| modules.contains_key(&id))).collect();
        let calls = window.calls.as_ref().map(|calls| self.locate_calls(calls, &window));
        let block = window.block.as_ref().map(|block| self.locate_block(block, &window));
        let kernel_locks = window.kernel_locks.as_ref().map(|locks| self.locate_kernel_locks(locks, &window));
        let file_calls = window.file_calls.as_ref().map(|calls| self.locate_file_calls(calls, &files, &window));
        let locks = self.locate_locks(&window);
        let RawWindow { start_ns, end_ns, queues, .. } = window;
        LocatedWindow {
            start_ns,
            end_ns,
            kinds,
            modules,
            generated,
            queues,
            locks,
            calls,
            block,
            file_calls,
            kernel_locks,
            memory: None,
            files,
            timeline,
        }
    }

    /// What stands for the files that samples of a window are about.
    fn touched(&mut self, window: &RawWindow, files: &HashMap<FileKey, FileText>) -> HashMap<FileKey, Arc<Module>> {
        let touched: HashSet<FileKey> =
            window.kinds.iter().flat_map(|kind| &kind.samples).filter_map(|sample| sample.file).collect();
        let name = |file: &FileKey| files.get(file).map_or("", |file| &file.text);
        touched.into_iter().map(|file| (file, self.modules.touched(name(&file)))).collect()
    }

    fn locate_timeline(&self, timeline: &RawTimeline, locating: &mut Locating<'_>) -> LocatedTimeline {
        let (mut places, mut ids) = (Vec::new(), Vec::new());
        for (kind, place) in &timeline.places {
            let located = self.locate_sample(place, locating);
            ids.push(located.is_some().then_some(places.len() as u32));
            places.extend(located.map(|located| (*kind, located)));
        }
        let placed = |event: &Moment| Some(Moment { place: ids[event.place as usize]?, ..*event });
        let events: Vec<Moment> = timeline.events.iter().filter_map(placed).collect();
        let mut lost = timeline.lost.clone();
        let missing = timeline.events.iter().filter(|event| event.is_record && ids[event.place as usize].is_none());
        lost.push(("stack_missing", missing.count() as u64));
        LocatedTimeline { places, events, taken: timeline.taken, lost }
    }

    fn locate_kind(&self, kind: &RawKind, locating: &mut Locating<'_>) -> LocatedKind {
        let mut missing = 0;
        let samples = kind.samples.iter().filter_map(|sample| {
            let located = self.locate_sample(sample, locating);
            if located.is_none() {
                missing += sample.value;
            }
            located
        });
        let samples = samples.collect();
        let mut tally = kind.tally.clone();
        tally.lost.extend([("stack_missing", missing), ("undecodable", kind.undecodable)]);
        LocatedKind { kind: kind.kind, samples, tally }
    }

    fn locate_sample(&self, sample: &RawSample, locating: &mut Locating<'_>) -> Option<LocatedSample> {
        let stacks = [sample.user_stack, sample.kernel_stack, sample.python_stack];
        let mut frames = self.locate_stack(sample.tgid, stacks, sample.first_ns, locating)?;
        if let Some(did) = sample.did {
            frames.push(locating.place(self.modules.did(), number(did)));
            let touched = sample.file.and_then(|file| locating.touched.get(&file));
            frames.extend(touched.map(|file| locating.place(file, number(did))));
        }
        if let Some(PlacedLock { lock, owner }) = sample.lock.and_then(|lock| locating.locks.get(lock as usize)) {
            frames.extend([Some(lock), owner.as_ref()].into_iter().flatten().map(|(of, at)| locating.place(of, *at)));
        }
        if let Some(waker) = sample.waker.map(|waker| waker as usize) {
            let (key, module) = (locating.window.wakers.get(waker)?, locating.wakers.get(waker)?);
            let stacks = [key.user_stack, key.kernel_stack, key.python_stack];
            // Its stack may have been lost: that it was the waker is known without.
            let woke = self.locate_stack(key.tgid, stacks, locating.window.end_ns, locating).unwrap_or_default();
            frames.extend(woke.into_iter().rev());
            frames.push(locating.place(module, 0));
            frames.extend(sample.waker_did.map(|did| locating.place(self.modules.did(), number(did))));
        }
        let Locating { names, window, .. } = locating;
        let comm = names.entry(sample.comm).or_insert_with(|| comm_text(&sample.comm)).clone();
        let process = self.processes.get(&sample.tgid).and_then(|process| process.name_at(window.end_ns));
        let process = process.map_or_else(|| comm.clone(), str::to_owned);
        let RawSample { tgid, tid, first_ns, value, .. } = *sample;
        Some(LocatedSample { tgid, tid, comm, process, first_ns, value, frames })
    }

    /// The frames of a process's stacks, which are given by their ids, user, kernel and Python: outermost first, and what they
    /// meant at `at_ns`. `None` when one of them is not there.
    fn locate_stack(
        &self,
        tgid: u32,
        [user, kernel, python]: [u64; 3],
        at_ns: u64,
        locating: &mut Locating<'_>,
    ) -> Option<Vec<RawFrame>> {
        let window = locating.window;
        let stack = |id| if id == 0 { Some(&[][..]) } else { window.stacks.get(&id).map(|frames| &frames[..]) };
        let (user, kernel, python) = (stack(user)?, stack(kernel)?, stack(python)?);
        let process = self.processes.get(&tgid);
        let space = process.and_then(|process| process.space_at(at_ns));
        let generator = process.zip(space).and_then(|(process, space)| process.generator(space));
        let mut frames = Vec::with_capacity(user.len() + kernel.len() + 1);
        let mut place = |module: &Arc<Module>, address| locating.place(module, address);
        frames.extend(user.iter().enumerate().rev().map(|(depth, frame)| {
            if let Some(stop) = why_cut_off(*frame) {
                return place(self.modules.cut_off(), stop);
            }
            // A walk by frame pointers alone keeps whatever it found, which can look like a marked address.
            let (address, marks) =
                if frame & !MARKS < USER_END { (frame & !MARKS, frame & MARKS) } else { (*frame, 0) };
            let address = if marks & EXACT != 0 { address } else { in_call(address, depth) };
            let found = space.and_then(|space| space.find(address, at_ns));
            let Some(mapping) = found else {
                // Which addresses these were says nothing.
                let hidden = space.is_some_and(|space| space.hidden);
                return place(if hidden { self.modules.hidden() } else { self.modules.unmapped() }, 0);
            };
            if mapping.module.kind == ModuleKind::Jit {
                return place(generator.map_or(&mapping.module, |generator| &generator.module), address);
            }
            place(&mapping.module, (address - mapping.start).wrapping_add(mapping.offset))
        }));
        // Where frame pointers are missing the kernel's walk goes astray, often over many addresses: one frame tells it.
        frames.dedup_by(|next, before| next == before && matches!(next.module, ModuleId::UNMAPPED | ModuleId::HIDDEN));
        if !python.is_empty() {
            frames = self.with_python(frames, python, &mut place);
        }
        let kernel = kernel.iter().enumerate().rev().map(|(depth, address)| in_call(*address, depth));
        frames.extend(kernel.map(|address| place(self.modules.kernel(), address)));
        Some(frames)
    }
}

/// What is at hand while samples of a window are located.
struct Locating<'a> {
    window: &'a RawWindow,
    /// What stands for each of its wakers.
    wakers: &'a [Arc<Module>],
    /// What stands for files.
    touched: &'a HashMap<FileKey, Arc<Module>>,
    /// What stands for locks.
    locks: &'a [PlacedLock],
    /// Names of threads, as text.
    names: &'a mut HashMap<[u8; 16], String>,
    modules: &'a mut HashMap<ModuleId, Arc<Module>>,
}

impl Locating<'_> {
    fn place(&mut self, module: &Arc<Module>, address: u64) -> RawFrame {
        self.modules.entry(module.id).or_insert_with(|| Arc::clone(module));
        RawFrame { module: module.id, address, code: 0 }
    }
}

/// The names of wakers begin with this.
pub const WOKEN_BY: &str = "woken by ";

/// What the thread is called that ended a wait.
fn waker_name(waker: &Key) -> String {
    if waker.tid == 0 {
        return format!("{WOKEN_BY}an idle CPU's interrupt");
    }
    format!("{WOKEN_BY}{} ({})", comm_text(&waker.comm), waker.tid)
}

/// What tells operations on disks from other kinds of what threads do.
const ASKED: u32 = 0x100;

/// What a thread did, as an address in [`ModuleId::DID`].
fn number(did: Did) -> u64 {
    match did {
        Did::Ran => 1,
        Did::WaitedForCpu => 2,
        Did::Blocked => 3,
        Did::Waited(why) => 1 << 32 | u64::from(why),
        Did::Called(call) => 2 << 32 | u64::from(call),
        Did::AwaitedLock(how) => 3 << 32 | u64::from(how),
        Did::Touched(what) => 4 << 32 | u64::from(what),
        Did::Asked(operation, disk) => u64::from(ASKED | operation) << 32 | u64::from(disk),
    }
}

/// What an address in [`ModuleId::DID`] stands for.
#[must_use]
pub fn did(address: u64) -> Did {
    match address {
        1 => Did::Ran,
        2 => Did::WaitedForCpu,
        3 => Did::Blocked,
        call if call >> 32 == 2 => Did::Called(call as u32),
        lock if lock >> 32 == 3 => Did::AwaitedLock(lock as u32),
        touched if touched >> 32 == 4 => Did::Touched(touched as u32),
        asked if asked >> 32 >= u64::from(ASKED) => Did::Asked((asked >> 32) as u32 & !ASKED, asked as u32),
        why => Did::Waited(why as u32),
    }
}

/// The address of the leaf as it is; those of callers point back into the call.
fn in_call(address: u64, depth: usize) -> u64 {
    address.saturating_sub(u64::from(depth > 0))
}
