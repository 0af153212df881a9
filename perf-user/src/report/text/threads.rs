//! What threads did with their time, who ended their waits, and what is known of when.

use std::fmt::{self, Formatter};

use super::super::{
    PlaceReport, Report, ThreadTimes,
    human::{duration, line, percent, shorten, shorten_function, thousands},
};
use crate::profile::FrameKind;

use super::{accounting_line, labelled, write_more};

/// The width of the reasons of waits, which do, too.
const WAITS: usize = 36;

impl Report {
    pub(super) fn write_timeline(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(timeline) = &self.timeline else { return Ok(()) };
        let accounting = &timeline.accounting;
        let (from, to) = (timeline.from_ns as f64 / 1e9, timeline.to_ns as f64 / 1e9);
        let waits = match timeline.min_ns {
            0 | 1 => String::from("all waits"),
            min_ns => format!("waits of {} and longer", duration(min_ns)),
        };
        let counts = accounting_line(accounting, "events");
        labelled(f, "Timeline", &format!("from {from:.1} s to {to:.1} s: each sample, {waits}; {counts}"))?;
        for (cause, lost) in accounting.lost.iter().filter(|(_, lost)| **lost > 0) {
            labelled(f, "", &format!("lost {:>9}  {}", thousands(*lost), cause.replace('_', " ")))?;
        }
        Ok(())
    }

    pub(super) fn write_times(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n     wall running for a CPU blocked       tid  thread           longest waits")?;
        for thread in &self.threads {
            let ThreadTimes { tid, comm, wall_ns, running_ns, runnable_ns, blocked_ns, .. } = thread;
            writeln!(
                f,
                "{:>9} {:>7} {:>9} {:>7} {tid:>9}  {:<16} {}",
                duration(*wall_ns),
                percent(*running_ns, *wall_ns),
                percent(*runnable_ns, *wall_ns),
                percent(blocked_ns.values().sum(), *wall_ns),
                shorten(comm, 16),
                longest_waits(thread),
            )?;
        }
        write_more(f, self.threads_omitted, "threads")
    }

    pub(super) fn write_wakes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n   waited  thread               for                      woken by               waiting itself"
        )?;
        for wake in &self.wakes {
            let meanwhile = wake.waker_waited_ns.iter().max_by_key(|(_, ns)| **ns);
            let meanwhile = meanwhile.filter(|(_, ns)| **ns * 100 >= wake.waited_ns);
            let meanwhile = meanwhile.map(|(why, ns)| format!("{} {}", percent(*ns, wake.waited_ns), line(why)));
            let text = format!(
                "{:>9}  {:<20} {:<24} {:<22} {}",
                duration(wake.waited_ns),
                shorten_thread(&wake.comm, &wake.tid.to_string(), 20),
                shorten(&wake.why, 24),
                wake.waker.as_deref().map_or_else(|| "not seen".into(), |waker| shorten(waker, 22)),
                shorten(&meanwhile.unwrap_or_default(), 20)
            );
            writeln!(f, "{}", text.trim_end())?;
        }
        write_more(f, self.wakes_omitted, "pairs")?;
        for (at, chain) in self.chains.iter().enumerate() {
            if at == 0 {
                writeln!(f)?;
            }
            for (depth, link) in chain.links.iter().enumerate() {
                let who = if link.tid == 0 { line(&link.comm) } else { format!("{} ({})", line(&link.comm), link.tid) };
                let text = if depth == 0 {
                    format!("{who} waited {} ({}) for", duration(link.waited_ns), link.why)
                } else {
                    let next = if depth + 1 < chain.links.len() { " for" } else { "" };
                    format!("{:depth$}{who}, which waited {} of it ({}){next}", "", duration(link.waited_ns), link.why)
                };
                labelled(f, if at == 0 && depth == 0 { "Chains" } else { "" }, &text)?;
            }
        }
        Ok(())
    }
}

/// `futex 66.7% in worker_loop, sleep 9.1%`, as much of it as there is room for.
fn longest_waits(thread: &ThreadTimes) -> String {
    // Less of a function's name says nothing.
    const LEAST: usize = 10;
    let mut waits: Vec<(&str, u64)> = thread.blocked_ns.iter().map(|(why, ns)| (why.as_str(), *ns)).collect();
    waits.sort_by_key(|(why, ns)| (std::cmp::Reverse(*ns), *why));
    let mut notable = waits.iter().filter(|(_, ns)| *ns * 100 >= thread.wall_ns);
    let mut told = |place: Option<&PlaceReport>, room: usize| {
        let (why, ns) = notable.next()?;
        let reason = format!("{} {}", line(why), percent(*ns, thread.wall_ns));
        let room = room.checked_sub(reason.chars().count())?;
        let place = place.filter(|place| place.why == *why && place.value * 2 > *ns);
        let place = place.and_then(|place| {
            let link = if place.value * 10 > *ns * 9 { " in " } else { ", mostly in " };
            let room =
                room.checked_sub(link.len() + LEAST.min(place.function.len()))? + LEAST.min(place.function.len());
            Some(format!("{reason}{link}{}", shorten_function(&place.function, FrameKind::User, room)))
        });
        Some(place.unwrap_or(reason))
    };
    let Some(first) = told(thread.longest.as_ref(), WAITS) else { return String::new() };
    let second = told(None, WAITS.saturating_sub(first.chars().count() + ", ".len()));
    second.map_or_else(|| first.clone(), |second| format!("{first}, {second}"))
}

/// `name (tid)`, of which the id stays whole.
fn shorten_thread(comm: &str, tid: &str, width: usize) -> String {
    format!("{} ({tid})", shorten(comm, width.saturating_sub(tid.len() + 3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(blocked: &[(&str, u64)], function: &str, why: &str, value: u64) -> String {
        let place = PlaceReport { function: function.into(), why: why.into(), value, ..PlaceReport::default() };
        let blocked_ns = blocked.iter().map(|(why, ns)| ((*why).to_owned(), *ns)).collect();
        longest_waits(&ThreadTimes { wall_ns: 1_000, blocked_ns, longest: Some(place), ..ThreadTimes::default() })
    }

    #[test]
    fn a_place_is_told_where_it_is_most_of_a_reason() {
        let waits = [("futex", 667), ("sleep", 91), ("poll", 5)];
        assert_eq!(told(&waits, "worker", "futex", 640), "futex 66.7% in worker, sleep 9.1%");
        assert_eq!(told(&waits, "worker", "futex", 400), "futex 66.7%, mostly in worker");
        assert_eq!(told(&waits, "worker", "futex", 300), "futex 66.7%, sleep 9.1%");
        assert_eq!(told(&waits, "worker", "sleep", 91), "futex 66.7%, sleep 9.1%");
        assert_eq!(told(&[("poll", 9)], "worker", "poll", 9), "", "less than a hundredth is not told");
        let long = told(
            &[("pipe/socket/terminal", 1_000)],
            "a::very::long::name::of_a_function",
            "pipe/socket/terminal",
            1_000,
        );
        assert_eq!(long, "pipe/socket/terminal 100.0%");
        let cut = told(&waits, "a::very::long::name::of_a_function", "futex", 667);
        assert!(cut.chars().count() <= WAITS && cut.ends_with("of_a_function"), "{cut}");
    }
}
