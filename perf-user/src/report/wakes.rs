//! Who ended waits, and what those threads waited for themselves meanwhile.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use crate::{
    collect::EventKind,
    profile::{Frame, FrameKind, Profile, Sample},
    task::WOKEN_BY,
};

/// Waits of one thread, for one reason, that one thread ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WakeReport {
    /// The process.
    pub tgid: u32,
    /// The thread that waited.
    pub tid: u32,
    /// Its last name.
    pub comm: String,
    /// Why it waited.
    pub why: String,
    /// Who ended that, `name (tid)`; `null` if nobody was seen.
    pub waker: Option<String>,
    /// The time of these waits, as far as it ended.
    pub waited_ns: u64,
    /// Of that, the time in which the waker waited itself, by what for: as far as its last wait tells.
    pub waker_waited_ns: BTreeMap<String, u64>,
}

impl WakeReport {
    /// The thread that waited, as wakers are called.
    #[must_use]
    pub fn thread(&self) -> String {
        format!("{} ({})", self.comm, self.tid)
    }
}

/// Threads each of which waited for the next one, which waited itself for most of that time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// The threads; the first one waited for all others.
    pub links: Vec<ChainLink>,
}

/// A thread in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainLink {
    /// The thread; 0 if it was not looked at.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Why it waited.
    pub why: String,
    /// For how long: of all but the first, while the one before waited for it.
    pub waited_ns: u64,
    /// Who ended most of that.
    pub waker: Option<String>,
}

/// Chains that are told.
const CHAINS: usize = 5;

/// Of so many, the longest waits, it is looked whether they begin one.
const LOOKED_AT: usize = 100;

/// Threads in one.
const LINKS: usize = 8;

/// By thread, reason and waker, the longest time first.
pub(super) fn wakes(profile: &Profile) -> Vec<WakeReport> {
    let Some(series) = profile.series(EventKind::OffWake.name()) else { return Vec::new() };
    let mut wakes: BTreeMap<(u32, u32, &str, Option<&str>), WakeReport> = BTreeMap::new();
    for sample in &series.samples {
        let Some(thread) = profile.threads.get(sample.thread.0 as usize) else { continue };
        let told = Told::of(profile, sample);
        let wake = wakes.entry((thread.tgid, thread.tid, told.why, told.waker)).or_insert_with(|| WakeReport {
            tgid: thread.tgid,
            tid: thread.tid,
            why: told.why.to_owned(),
            waker: told.waker.map(str::to_owned),
            ..WakeReport::default()
        });
        wake.comm = profile.strings.get(thread.comm).to_owned();
        wake.waited_ns += sample.value;
        if let Some(why) = told.waker_why {
            *wake.waker_waited_ns.entry(why.to_owned()).or_default() += sample.value;
        }
    }
    let mut wakes: Vec<WakeReport> = wakes.into_values().collect();
    wakes.sort_by(|a, b| {
        (Reverse(a.waited_ns), a.tid, &a.why, &a.waker).cmp(&(Reverse(b.waited_ns), b.tid, &b.why, &b.waker))
    });
    wakes
}

/// What the stack of a sample tells beside places.
struct Told<'a> {
    why: &'a str,
    waker: Option<&'a str>,
    waker_why: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(profile: &'a Profile, sample: &Sample) -> Self {
        let name = |frame: &Frame| profile.strings.get(frame.function);
        let mut told = Self { why: "", waker: None, waker_why: None };
        let (mut is_timer, mut is_interrupt) = (false, false);
        let frames = profile.stacks.leaf_to_root(sample.stack).filter_map(|id| profile.frames.get(id.0 as usize));
        // From the innermost on: what the waker waited for, the waker, its stack, and then why the thread waited.
        for frame in frames {
            match frame.kind {
                FrameKind::Waker => {
                    told.waker_why = Some(told.why).filter(|why| !why.is_empty());
                    told.waker = Some(name(frame).trim_start_matches(WOKEN_BY));
                }
                FrameKind::Wait if told.waker.is_some() || told.why.is_empty() => told.why = name(frame),
                FrameKind::Kernel if told.waker.is_some() => {
                    let interrupt = interrupt(name(frame));
                    is_interrupt |= interrupt == Some(INTERRUPT);
                    is_timer |= interrupt == Some(TIMER);
                }
                _ => {}
            }
            if told.waker.is_some() && frame.kind == FrameKind::Wait {
                break;
            }
        }
        // Who was interrupted has not woken anybody.
        if is_timer || is_interrupt {
            (told.waker, told.waker_why) = (Some(if is_timer { TIMER } else { INTERRUPT }), None);
        }
        told
    }
}

/// What wakes in place of the thread that it interrupts.
const INTERRUPT: &str = "an interrupt";
const TIMER: &str = "a timer";

/// What a function of the kernel in a waker's stack tells: that it was in an interrupt, and what for.
fn interrupt(function: &str) -> Option<&'static str> {
    let timers = ["hrtimer_wakeup", "process_timeout", "it_real_fn", "posix_timer_fn", "timerfd_tmrproc"];
    let entries =
        ["asm_sysvec_", "asm_common_interrupt", "el1_interrupt", "el0_interrupt", "el0t_64_irq", "el1h_64_irq"];
    if timers.contains(&function) {
        return Some(TIMER);
    }
    entries.iter().any(|entry| function.starts_with(entry)).then_some(INTERRUPT)
}

/// Who waited for whom, who waited for whom in turn: of the longest waits, as long as each waker waited itself for at least half
/// of the time that it was waited for.
pub(super) fn chains(wakes: &[WakeReport]) -> Vec<ChainReport> {
    let mut chains: Vec<ChainReport> = Vec::new();
    for wake in wakes.iter().take(LOOKED_AT) {
        let mut links = vec![link(wake)];
        let (mut last, mut of_it_ns) = (wake, wake.waited_ns);
        while links.len() < LINKS
            && let Some((why, ns)) = last.waker_waited_ns.iter().max_by_key(|(why, ns)| (**ns, Reverse(*why)))
            && *ns * 2 >= last.waited_ns
        {
            let waker = last.waker.as_deref().unwrap_or_default();
            // Of the time that is told of, the same share as of all waits of the two.
            of_it_ns = (u128::from(of_it_ns) * u128::from(*ns) / u128::from(last.waited_ns.max(1))) as u64;
            // Its own wait, of that reason, for whoever ended most of it, and is not told of yet.
            let is_told = |next: &WakeReport| {
                let ends = next.waker.as_deref().unwrap_or_default();
                links.iter().any(|link| ends == format!("{} ({})", link.comm, link.tid))
            };
            let next = wakes.iter().find(|next| next.why == *why && next.thread() == waker && !is_told(next));
            let (tid, comm) = next.map_or((0, waker.to_owned()), |next| (next.tid, next.comm.clone()));
            let waker = next.and_then(|next| next.waker.clone());
            links.push(ChainLink { tid, comm, why: why.clone(), waited_ns: of_it_ns, waker });
            match next {
                Some(next) if links.iter().filter(|link| link.tid == next.tid).count() == 1 => last = next,
                _ => break,
            }
        }
        // A chain that is the end of another says nothing new, if that tells most of its time.
        let has = |links: &[ChainLink], head: &ChainLink| {
            links.iter().skip(1).any(|link| link.tid == head.tid && link.waited_ns >= head.waited_ns / 2)
        };
        if links.len() > 1 && !chains.iter().any(|chain| has(&chain.links, &links[0])) {
            chains.retain(|chain| !has(&links, &chain.links[0]));
            chains.push(ChainReport { links });
        }
    }
    chains.truncate(CHAINS);
    chains
}

fn link(wake: &WakeReport) -> ChainLink {
    ChainLink {
        tid: wake.tid,
        comm: wake.comm.clone(),
        why: wake.why.clone(),
        waited_ns: wake.waited_ns,
        waker: wake.waker.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn wake(comm: &str, tid: u32, why: &str, waker: &str, waited_ns: u64, meanwhile: &[(&str, u64)]) -> WakeReport {
        WakeReport {
            tgid: 1,
            tid,
            comm: comm.into(),
            why: why.into(),
            waker: Some(waker.into()),
            waited_ns,
            waker_waited_ns: meanwhile.iter().map(|(why, ns)| ((*why).to_owned(), *ns)).collect(),
        }
    }

    #[test]
    fn a_chain_goes_on_while_wakers_waited_themselves() {
        let wakes = [
            wake("b", 2, "pipe", "c (3)", 3_250, &[("sleep", 3_000)]),
            wake("a", 1, "futex", "b (2)", 3_200, &[("pipe", 3_100)]),
            wake("c", 3, "sleep", "an interrupt", 3_100, &[]),
            wake("d", 4, "futex", "a (1)", 50, &[("futex", 10)]),
        ];
        let chains = chains(&wakes);
        let told: Vec<Vec<(u32, u64)>> =
            chains.iter().map(|chain| chain.links.iter().map(|link| (link.tid, link.waited_ns)).collect()).collect();
        assert_eq!(told, [vec![(1, 3_200), (2, 3_100), (3, 2_861)]]);
    }

    #[test]
    fn threads_that_wait_for_one_another_end() {
        let wakes = [
            wake("a", 1, "futex", "b (2)", 100, &[("futex", 90)]),
            wake("b", 2, "futex", "a (1)", 100, &[("futex", 90)]),
        ];
        let chains = chains(&wakes);
        assert!(chains.iter().all(|chain| chain.links.len() <= 2), "{chains:?}");
    }

    #[test]
    fn no_link_is_longer_than_the_one_before() {
        let wakes = [
            wake("b", 2, "futex", "c (3)", 9_000, &[("sleep", 8_000)]),
            wake("b", 2, "futex", "a (1)", 8_500, &[("futex", 8_400)]),
            wake("a", 1, "futex", "b (2)", 100, &[("futex", 90)]),
            wake("c", 3, "sleep", "a timer", 80, &[]),
        ];
        let chains = chains(&wakes);
        let told: Vec<Vec<u64>> =
            chains.iter().map(|chain| chain.links.iter().map(|link| link.waited_ns).collect()).collect();
        assert!(told.iter().all(|times| times.windows(2).all(|pair| pair[1] <= pair[0])), "{told:?}");
        let first = chains.iter().find(|chain| chain.links[0].tid == 1).unwrap();
        assert_eq!(first.links.iter().map(|link| link.tid).collect::<Vec<_>>(), [1, 2, 3], "not back to itself");
    }
}
