//! Locks as text, for a screen of 100 columns.

use std::{
    cmp::Reverse,
    collections::HashSet,
    fmt::{self, Formatter},
};

use super::{
    super::{
        human::{counted, duration, line, percent, shorten, thousands},
        text::{labelled, write_more},
    },
    LockReport, LocksReport,
};

/// Locks, waiters and holders that the text shows.
const SHOWN: usize = 5;
const SHOWN_OF_EACH: usize = 3;
const SHOWN_HOLDERS: usize = 4;

/// The width of a thread of a deadlock with its lock, and what there is of a lock's name at least.
const TOLD: usize = 89;
const LEAST: usize = 16;

/// Beyond, how many times as fast says nothing: who waited did nothing else.
const FASTEST: f64 = 20.0;

impl LocksReport {
    /// Deadlocks as text: they are said first.
    pub(in super::super) fn write_deadlocks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for deadlock in self.deadlocks.iter().take(SHOWN) {
            let threads = &deadlock.threads;
            for (at, thread) in threads.iter().enumerate() {
                let (who, owner) = (thread.thread(), deadlock.told_owner(at));
                let room = TOLD.saturating_sub(who.chars().count() + owner.chars().count() + " waits for , ".len());
                let name = shorten(&line(&thread.waits_for), room.max(LEAST));
                let text = format!("{who} waits for {name}, {owner}");
                labelled(f, if at == 0 { "DEADLOCK" } else { "" }, &shorten(&text, TOLD))?;
                if let Some(place) = &thread.place {
                    labelled(f, "", &format!("  in {}", shorten(&line(place), 84)))?;
                }
            }
            let since = match deadlock.since_ns {
                0 => "since before the recording".into(),
                ns => format!("since {} after the recording began", duration(ns)),
            };
            labelled(f, "", &since)?;
            labelled(f, "", deadlock.consequence())?;
        }
        let more = self.deadlocks.len().saturating_sub(SHOWN);
        if more > 0 { labelled(f, "", &format!("and {more} more")) } else { Ok(()) }
    }

    /// As text.
    pub(in super::super) fn write(&self, f: &mut Formatter<'_>, covered_ns: u64) -> fmt::Result {
        let (waited_ns, threads, lived_ns) = self.waited;
        let count = self.locks.len() + self.omitted;
        writeln!(f)?;
        let mut told = match count {
            0 => "nobody waited for one".into(),
            _ => {
                format!("{} waited {} for {}", counted(threads, "thread"), duration(waited_ns), counted(count, "lock"))
            }
        };
        if count > 0 && lived_ns > 0 {
            told += &format!(", {} of their time", percent(waited_ns.min(lived_ns), lived_ns));
        }
        labelled(f, "Locks", &told)?;
        let others: u64 = self.no_locks.iter().map(|wait| wait.value).sum();
        if others > 0 {
            let most = self.no_locks.first().map_or("", |wait| &wait.why);
            labelled(f, "", &format!("other waits at futexes: {}, most of it: {most}", duration(others)))?;
        }
        if self.full > 0 {
            let count = thousands(self.full);
            labelled(
                f,
                "",
                &format!("{count} more events at locks, for which there was no room: too many locks at once"),
            )?;
        }
        if count == 0 {
            return Ok(());
        }
        writeln!(f, "\n    waits    waited       p50       p99       max  at once  lock")?;
        self.locks.iter().take(SHOWN).try_for_each(|lock| lock.write(f, covered_ns))?;
        write_more(f, self.omitted + self.locks.len().saturating_sub(SHOWN), "locks")
    }
}

impl LockReport {
    fn write(&self, f: &mut Formatter<'_>, covered_ns: u64) -> fmt::Result {
        let waited = duration(self.wait_ns);
        let name = shorten(&line(&self.label()), 42);
        match &self.counted {
            Some(of) => {
                let [p50, p99, max] = [of.p50_ns, of.p99_ns, of.max_wait_ns].map(duration);
                let most = if of.most_waiting == 0 { "-".into() } else { thousands(of.most_waiting) };
                let waits = thousands(of.waits);
                writeln!(f, "{waits:>9} {waited:>9} {p50:>9} {p99:>9} {max:>9} {most:>8}  {name}")?;
            }
            None => writeln!(f, "{:>9} {waited:>9} {:>9} {:>9} {:>9} {:>8}  {name}", "", "", "", "", "")?,
        }
        let mut label = "waiters";
        let mut told = HashSet::new();
        for waiter in self.waiters.iter().filter(|waiter| waiter.place.is_some()) {
            let place = waiter.place.as_deref().unwrap_or_default();
            if told.len() >= SHOWN_OF_EACH || !told.insert(place) {
                continue;
            }
            let same = self.waiters.iter().filter(|other| other.place.as_deref() == Some(place));
            let share = percent(same.map(|waiter| waiter.wait_ns).sum(), self.wait_ns);
            writeln!(f, "{:10}{label:<8} {share:>6}  {}", "", shorten(&line(place), 70))?;
            label = "";
        }
        // Who lets go of what several can have is not all who had it.
        label = if self.holders.iter().all(|holder| holder.inferred) { "woken by" } else { "held by" };
        let mut holders: Vec<(String, u64)> = Vec::new();
        for holder in &self.holders {
            let place = holder.place.as_ref().map_or(String::new(), |place| format!(" in {place}"));
            let waited = holder.waited.as_ref().map_or(String::new(), |why| match why.strip_prefix("waiting ") {
                Some(rest) => format!(", waiting {rest}"),
                None => format!(", waiting: {why}"),
            });
            let text = format!("{}{place}{waited}", holder.thread);
            match holders.iter_mut().find(|(known, _)| *known == text) {
                Some((_, blamed_ns)) => *blamed_ns += holder.blamed_ns,
                None => holders.push((text, holder.blamed_ns)),
            }
        }
        holders.sort_by_key(|(_, blamed_ns)| Reverse(*blamed_ns));
        for (text, blamed_ns) in holders.iter().take(SHOWN_HOLDERS) {
            let share = percent(*blamed_ns, self.wait_ns);
            writeln!(f, "{:10}{label:<8} {share:>6}  {}", "", shorten(&line(text), 73))?;
            label = "";
        }
        let more = holders.len().saturating_sub(SHOWN_HOLDERS) + self.holders_omitted;
        if more > 0 {
            writeln!(f, "{:26}and {} more", "", thousands(more as u64))?;
        }
        if let Some(of) = self.counted.as_ref().filter(|of| of.holds > 0) {
            let (count, average) = (thousands(of.holds), duration(of.hold_ns / of.holds.max(1)));
            let max = duration(of.hold_max_ns);
            writeln!(f, "{:10}holds    {count} after a wait for it, {average} on average, at most {max}", "")?;
        }
        if let Some(of) = self.counted.as_ref().filter(|of| of.convoy) {
            let contended_ns = of.contended_ns.min(covered_ns);
            let (share, handed) = (percent(contended_ns, covered_ns), percent(of.handed_on, of.waits));
            let queue = format!("never empty for {share} of the time; {handed} of wake-ups left others waiting");
            writeln!(f, "{:10}convoy   {queue}", "")?;
        }
        if self.timeout_ns > 0 {
            writeln!(f, "{:10}timeout  {} of the waits' time ended so", "", duration(self.timeout_ns))?;
        }
        match self.speedup_at_most {
            Some(times) if times > FASTEST => {
                writeln!(f, "{:10}if free  who waited for it did hardly anything else: no bound says much", "")
            }
            Some(times) if times >= 1.05 => {
                writeln!(f, "{:10}if free  who waited for it were at most {times:.1} times as fast", "")
            }
            _ => Ok(()),
        }
    }
}
