//! Rules for code that a file says nothing of, as C libraries that are built without unwind tables have it: its instructions
//! say where the return address is, because a function that returns has to find it.

mod flow;
mod gap;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{FlowControl, InstructionInfoFactory, Mnemonic};
use perf_ebpf::unwind::{Cfa, Rule, SavedFp};

pub(super) use gap::Gap;

use flow::{Contradiction, Flow};
use gap::fills;
use state::State;

/// More code than this without information is of a compiler that keeps frame pointers, as those of Go and of V8 do, and reading
/// it would take so long that samples come first. musl's C library has 0.4 MiB.
pub(super) const CODE_BYTES: u64 = 1 << 20;

/// How often a byte of code may be looked at, on average.
const LOOKS: u64 = 4;

/// Functions begin at multiples of this, where compilers fill what is left before.
const ALIGNED: u64 = 16;

/// What holds in an instruction, and where it ends.
type Rules = BTreeMap<u64, (u64, Rule)>;

/// The rules of what lies in the gaps, which are sorted, as stretches of one rule each. `functions` are places that are known
/// to begin one, `entry` is where the program begins.
pub(super) fn derive(gaps: &[Gap<'_>], functions: impl Iterator<Item = u64>, entry: u64) -> Vec<(u64, u64, Rule)> {
    let mut reader = Reader::new(gaps, functions);
    reader.pass(entry);
    // What comes behind a call depends on whether that returns, which is known by now.
    reader.rules.clear();
    reader.pass(entry);
    let mut stretches: Vec<(u64, u64, Rule)> = Vec::new();
    for gap in gaps {
        stretches
            .extend(gap.signal_returns().map(|(start, end)| (start, end, Rule::of(Cfa::Signal, SavedFp::Kept, 0))));
    }
    for (start, (end, rule)) in reader.rules {
        match stretches.last_mut() {
            Some((_, until, last)) if *until == start && *last == rule => *until = end,
            _ => stretches.push((start, end, rule)),
        }
    }
    stretches
}

struct Reader<'gaps> {
    gaps: &'gaps [Gap<'gaps>],
    starts: BTreeSet<u64>,
    rules: Rules,
    /// Those of the starts that never return.
    endless: BTreeSet<u64>,
    factory: InstructionInfoFactory,
    /// Instructions that may still be looked at: files are the target's, and code can be made that leads everywhere.
    left: u64,
}

impl<'gaps> Reader<'gaps> {
    fn new(gaps: &'gaps [Gap<'gaps>], functions: impl Iterator<Item = u64>) -> Self {
        let bytes: u64 = gaps.iter().map(|gap| gap.bytes.len() as u64).sum();
        let (starts, left) = (BTreeSet::new(), LOOKS * bytes);
        let mut reader = Self {
            gaps,
            starts,
            rules: Rules::new(),
            endless: BTreeSet::new(),
            factory: InstructionInfoFactory::new(),
            left,
        };
        reader.starts = functions.filter(|start| reader.gap(*start).is_some()).collect();
        reader.add_called();
        reader
    }

    fn gap(&self, at: u64) -> Option<&Gap<'_>> {
        let after = self.gaps.partition_point(|gap| gap.start <= at);
        self.gaps.get(after.checked_sub(1)?).filter(|gap| gap.holds(at))
    }

    /// Looks at everything once.
    fn pass(&mut self, entry: u64) {
        if self.gap(entry).is_some() {
            self.starts.insert(entry);
            self.function(entry, State::OUTERMOST, true);
        }
        for start in self.starts.clone() {
            self.function(start, State::START, true);
        }
        // Cold parts of functions lie by themselves, so what they belong to comes first.
        for aligned in [ALIGNED, 1] {
            self.gaps.iter().for_each(|gap| self.sweep(gap, aligned));
        }
    }

    /// Finds functions without a name: what is called begins one.
    fn add_called(&mut self) {
        let mut called = Vec::new();
        let mut begins: Vec<Vec<bool>> = self.gaps.iter().map(|gap| vec![false; gap.bytes.len()]).collect();
        for (gap, begins) in self.gaps.iter().zip(&mut begins) {
            let mut at = gap.start;
            while at < gap.end() {
                let Some(instruction) = gap.decode(at) else {
                    at += 1;
                    continue;
                };
                begins[(at - gap.start) as usize] = true;
                if instruction.flow_control() == FlowControl::Call && instruction.is_call_near() {
                    called.push(instruction.near_branch_target());
                }
                let next = self.starts.range(at + 1..).next().copied().unwrap_or(u64::MAX);
                at = instruction.next_ip().min(next);
            }
        }
        called.sort_unstable();
        called.dedup();
        // Where the code is only read wrongly, a call leads between two instructions.
        let begins = |at: u64| {
            let number = self.gaps.partition_point(|gap| gap.start <= at).checked_sub(1)?;
            begins[number].get((at - self.gaps[number].start) as usize).copied()
        };
        let called: Vec<u64> = called.into_iter().filter(|at| begins(*at) == Some(true)).collect();
        self.starts.extend(called);
    }

    /// Adds the rules of the function that begins at a place; if that is only `known` from its instructions, they have to leave
    /// it, or begin it, as a function's do.
    fn function(&mut self, start: u64, state: State, known: bool) {
        if self.rules.contains_key(&start) {
            return;
        }
        let flow = match self.follow(start, state, Flow::default(), false) {
            // A call that never returns is the last of many functions, and what fills up behind it is no code of theirs.
            Err(Contradiction(_)) => self.follow(start, state, Flow::default(), true),
            done => done,
        };
        match flow.map(|flow| self.follow_tables(start, flow)) {
            Ok(flow) => {
                if known && !flow.leaves && flow.tables.is_empty() {
                    self.endless.insert(start);
                }
                let consistent = known || flow.leaves || self.gap(start).is_some_and(|gap| gap.makes_frame(start));
                self.keep(flow, consistent);
            }
            Err(Contradiction(flow)) => self.keep(flow, false),
        }
    }

    fn keep(&mut self, flow: Flow, consistent: bool) {
        for (at, (end, state)) in flow.states {
            let rule = if consistent { state.rule() } else { Rule::UNKNOWN };
            self.rules.entry(at).or_insert((end, rule));
        }
    }

    /// A jump through a table leads to places behind it that nothing else leads to, and leaves the stack as it is.
    fn follow_tables(&mut self, start: u64, flow: Flow) -> Flow {
        let mut kept = flow;
        let Some((&state, others)) = kept.tables.split_first() else { return kept };
        if state == State::START || others.iter().any(|other| *other != state) {
            return kept;
        }
        let limit = self.starts.range(start + 1..).next().copied().unwrap_or(u64::MAX);
        let mut at = start;
        while at < limit {
            if let Some((end, _)) = kept.states.get(&at) {
                at = *end;
                continue;
            }
            let Some(instruction) = self.gap(at).and_then(|gap| gap.decode(at)) else { break };
            if fills(&instruction) {
                at = instruction.next_ip();
                continue;
            }
            let known = kept.changes.len();
            kept = match self.follow(at, state, kept, false) {
                Ok(flow) => flow,
                // The next function has begun, without a name.
                Err(Contradiction(mut flow)) => {
                    flow.take_back(known);
                    return flow;
                }
            };
        }
        kept
    }

    /// Follows the code from a place, and adds to what is known of the function.
    fn follow(&mut self, start: u64, state: State, mut flow: Flow, filled: bool) -> Result<Flow, Contradiction> {
        let mut open = vec![(start, state)];
        while let Some((mut at, mut state)) = open.pop() {
            loop {
                let is_other = at != start && self.starts.contains(&at);
                let Some(instruction) = self.gap(at).filter(|_| !is_other).and_then(|gap| gap.decode(at)) else {
                    // Into another function, by a jump at its end or because it has no end of its own.
                    if !state.may_leave() {
                        return Err(Contradiction(flow));
                    }
                    flow.leaves |= !state.is_outermost() && !self.endless.contains(&at);
                    break;
                };
                if let Some((_, known)) = flow.states.get(&at) {
                    match known.meet(state) {
                        Some(met) if met == *known => break,
                        Some(met) => state = met,
                        None => return Err(Contradiction(flow)),
                    }
                }
                if self.left == 0 {
                    return Err(Contradiction(flow));
                }
                self.left -= 1;
                flow.set(at, (instruction.next_ip(), state));
                let next = state.after(&instruction, &mut self.factory);
                match instruction.flow_control() {
                    FlowControl::UnconditionalBranch => {
                        (at, state) = (instruction.near_branch_target(), next);
                        continue;
                    }
                    FlowControl::ConditionalBranch => open.push((instruction.near_branch_target(), next)),
                    FlowControl::IndirectBranch => {
                        flow.leaves |= next.may_leave() && !next.is_outermost();
                        flow.tables.push(next);
                        break;
                    }
                    FlowControl::Return => {
                        if !state.may_leave() {
                            return Err(Contradiction(flow));
                        }
                        flow.leaves |= !state.is_outermost();
                        break;
                    }
                    FlowControl::Exception | FlowControl::Interrupt => break,
                    FlowControl::Call | FlowControl::IndirectCall => {
                        let is_call = instruction.mnemonic() == Mnemonic::Call;
                        let endless = self.endless.contains(&instruction.near_branch_target());
                        if is_call && (endless || self.never_returns(instruction.next_ip(), filled)) {
                            break;
                        }
                    }
                    FlowControl::Next | FlowControl::XbeginXabortXend => {
                        if instruction.mnemonic() == Mnemonic::Hlt {
                            break;
                        }
                    }
                }
                (at, state) = (instruction.next_ip(), next);
            }
        }
        Ok(flow)
    }

    /// Whether a call that ends at a place is the last instruction of a function: the next one begins behind it, or, if that
    /// is to be thought so, what fills up to where one may begin.
    fn never_returns(&self, mut at: u64, filled: bool) -> bool {
        let behind = at;
        while let Some(instruction) = self.gap(at).and_then(|gap| gap.decode(at)) {
            if self.starts.contains(&at) {
                return true;
            }
            if !fills(&instruction) {
                return filled && at > behind && at.is_multiple_of(ALIGNED);
            }
            at = instruction.next_ip();
        }
        true
    }

    /// Takes what nothing has led to for functions that only pointers lead to, if it begins where functions do and returns.
    fn sweep(&mut self, gap: &Gap<'_>, aligned: u64) {
        let mut at = gap.start;
        while at < gap.end() {
            if let Some((end, _)) = self.rules.get(&at) {
                at = *end;
                continue;
            }
            match gap.decode(at) {
                Some(instruction) if fills(&instruction) || !at.is_multiple_of(aligned) => at = instruction.next_ip(),
                Some(_) => self.function(at, State::START, false),
                None => at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests;
