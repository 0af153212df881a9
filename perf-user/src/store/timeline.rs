//! The timeline's table: the events of one process in one window as bytes, written and read back.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Transaction, params};

use super::{
    Selection,
    blob::{pack, pull, push, unpack},
    intern::Interner,
    outline::Windows,
    read::{Unreadable, each},
};
use crate::{
    collect::EventKind,
    profile::{Moment, Profile, Series, StackId, ThreadIndex, Timeline},
    task::{LocatedTimeline, LocatedWindow},
};

/// The event under which the timeline's counts are kept in the table `counter`.
pub(super) const COUNTED_AS: &str = "timeline";

/// Events that a profile may hold: 46 hours of 1,000 CPU samples and 100 long waits a second.
const MAX_EVENTS: usize = if cfg!(test) { 1 << 10 } else { 1 << 24 };

/// Packed, more than a window can hold.
const MAX_BYTES: usize = 16 << 20;

/// One event: when it began and how long it took, and rows of the tables `thread` and `stack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    start_ns: u64,
    length_ns: u64,
    thread: u32,
    stack: u32,
}

/// Encodes events: for each the time since the one before it began, how long it took, and thread and stack as
/// differences to it, zigzag; all as LEB128.
fn encode(mut entries: Vec<Entry>) -> Vec<u8> {
    entries.sort_unstable();
    let mut plain = Vec::new();
    let mut before = Entry { start_ns: 0, length_ns: 0, thread: 0, stack: 0 };
    let zigzag = |now: u32, before: u32| {
        let step = i64::from(now) - i64::from(before);
        (step << 1 ^ step >> 63) as u64
    };
    for entry in entries {
        push(&mut plain, entry.start_ns - before.start_ns);
        push(&mut plain, entry.length_ns);
        push(&mut plain, zigzag(entry.thread, before.thread));
        push(&mut plain, zigzag(entry.stack, before.stack));
        before = entry;
    }
    pack(&plain)
}

/// Decodes what [`encode`] made; `None` when the bytes are damaged.
fn decode(data: &[u8]) -> Option<Vec<Entry>> {
    let plain = unpack(data, MAX_BYTES)?;
    let (mut rest, mut entries) = (&plain[..], Vec::new());
    let mut before = Entry { start_ns: 0, length_ns: 0, thread: 0, stack: 0 };
    let step = |coded: u64, before: u32| {
        let step = (coded >> 1) as i64 ^ -((coded & 1) as i64);
        u32::try_from(i64::from(before).checked_add(step)?).ok()
    };
    while !rest.is_empty() {
        before = Entry {
            start_ns: before.start_ns.checked_add(pull(&mut rest)?)?,
            length_ns: pull(&mut rest)?,
            thread: step(pull(&mut rest)?, before.thread)?,
            stack: step(pull(&mut rest)?, before.stack)?,
        };
        entries.push(before);
    }
    Some(entries)
}

/// Writes the events of a window; their frames have been named.
pub(super) fn write(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    window: u32,
    timeline: &LocatedTimeline,
) -> rusqlite::Result<()> {
    let mut rows = Vec::new();
    for (kind, place) in &timeline.places {
        let stack = interner.stack(transaction, &place.frames, *kind == EventKind::OffCpu)?;
        rows.push((kind.name(), place.tgid, interner.thread(transaction, place)?, stack));
    }
    let mut blobs: BTreeMap<(&str, u32), Vec<Entry>> = BTreeMap::new();
    for event in &timeline.events {
        let (kind, tgid, thread, stack) = rows[event.place as usize];
        let entry = Entry { start_ns: event.start_ns, length_ns: event.length_ns, thread, stack };
        blobs.entry((kind, tgid)).or_default().push(entry);
    }
    for ((kind, tgid), entries) in blobs {
        let row = params![window, kind, tgid, encode(entries)];
        transaction.execute("INSERT INTO timeline VALUES (?1, ?2, ?3, ?4)", row)?;
    }
    Ok(())
}

/// Whether a recording has a timeline.
pub(super) fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) > 0 FROM sqlite_master WHERE name = 'timeline'", [], |row| row.get(0))
}

/// Reads what is known of the timeline in these windows, each with its beginning and end after the recording's start.
pub(super) fn describe(connection: &Connection, profile: &mut Profile, windows: &Windows) -> Result<(), Unreadable> {
    let min_ns = profile.recording.options["timeline_min_ns"].as_u64().unwrap_or(0);
    let mut timeline = Timeline { min_ns, from_ns: u64::MAX, ..Timeline::default() };
    each(connection, "SELECT window, kind, name, value FROM counter WHERE event = 'timeline'", |row| {
        let Some((from_ns, to_ns)) = windows.get(&row.get(0)?) else { return Ok(()) };
        timeline.from_ns = timeline.from_ns.min(*from_ns);
        timeline.to_ns = timeline.to_ns.max(*to_ns);
        let (kind, name, value): (String, String, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let value = u64::try_from(value).map_err(|_| Unreadable::Insane("it counts below zero"))?;
        let sum = match kind.as_str() {
            "taken" => &mut timeline.accounting.taken,
            "reported" => &mut timeline.accounting.reported,
            _ => timeline.accounting.lost.entry(name).or_default(),
        };
        *sum = sum.checked_add(value).ok_or(Unreadable::Insane("its counts are too large to be added up"))?;
        Ok(())
    })?;
    timeline.from_ns = timeline.from_ns.min(timeline.to_ns);
    profile.timeline = Some(timeline);
    Ok(())
}

/// Reads the events that are, with a part at least, in the selected time; waits are cut to it. They name stored stacks.
pub(super) fn read(
    connection: &Connection,
    profile: &Profile,
    series: &mut BTreeMap<String, Series>,
    threads: &HashMap<u32, ThreadIndex>,
    selection: Selection,
    start_ns: u64,
) -> Result<(), Unreadable> {
    let Some(Timeline { from_ns, to_ns, .. }) = profile.timeline else { return Ok(()) };
    let mut count = 0;
    // Waits are kept where they ended, which can be long after the selected time.
    each(connection, "SELECT event, tgid, data FROM timeline ORDER BY window", |row| {
        if selection.tgid.is_some_and(|tgid| row.get(1) != Ok(tgid)) {
            return Ok(());
        }
        let Some(series) = series.get_mut(&row.get::<_, String>(0)?) else { return Ok(()) };
        let data: Vec<u8> = row.get(2)?;
        for entry in decode(&data).ok_or(Unreadable::Insane("a window's events are no events"))? {
            let Some(thread) = threads.get(&entry.thread).copied() else { continue };
            if selection.tid.is_some_and(|tid| profile.threads[thread.0 as usize].tid != tid) {
                continue;
            }
            // A sample may have been taken before the clock was read that is the recording's start.
            let end_ns = entry.start_ns.saturating_add(entry.length_ns).saturating_sub(start_ns);
            let begun_ns = entry.start_ns.saturating_sub(start_ns);
            let is_in = if entry.length_ns == 0 {
                begun_ns >= from_ns && begun_ns <= to_ns
            } else {
                begun_ns < to_ns && end_ns > from_ns
            };
            if !is_in {
                continue;
            }
            let (begun_ns, end_ns) = (begun_ns.max(from_ns), end_ns.min(to_ns));
            let length_ns = end_ns.saturating_sub(begun_ns);
            series.moments.push(Moment { start_ns: begun_ns, length_ns, thread, stack: StackId(entry.stack) });
            count += 1;
            if count > MAX_EVENTS {
                return Err(Unreadable::TooMuch("events"));
            }
        }
        Ok(())
    })?;
    for series in series.values_mut() {
        series.moments.sort_by_key(|moment| (moment.start_ns, moment.thread));
    }
    Ok(())
}

/// Of a row's data, what is left with only the events of these threads; `None` when it is damaged.
pub(super) fn keep_threads(data: &[u8], threads: &[u32]) -> Option<Vec<u8>> {
    let mut entries = decode(data)?;
    entries.retain(|entry| threads.contains(&entry.thread));
    Some(encode(entries))
}

/// What a window adds to the counts.
pub(super) fn counts(window: &LocatedWindow) -> Vec<(&'static str, &'static str, u64)> {
    let Some(timeline) = &window.timeline else { return Vec::new() };
    let lost = timeline.lost.iter().map(|(cause, value)| ("lost", *cause, *value));
    [("taken", "", timeline.taken), ("reported", "", timeline.records())].into_iter().chain(lost).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        for count in [0_u32, 1, 7, 5000] {
            let mut entries: Vec<_> = (0..count)
                .map(|at| Entry {
                    start_ns: (1 << 50) - u64::from(at) * 977,
                    length_ns: u64::from(at % 3) << 33,
                    thread: at % 5,
                    stack: at.wrapping_mul(7919) % 100_000,
                })
                .collect();
            let data = encode(entries.clone());
            entries.sort_unstable();
            assert_eq!(decode(&data).unwrap(), entries);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_not_believed() {
        let entries = (0..500).map(|at| Entry { start_ns: at, length_ns: 7, thread: 1, stack: 3 }).collect();
        let data = encode(entries);
        assert!(decode(&data[..data.len() / 2]).is_none());
        assert!(decode(&[]).is_none());
        assert!(decode(&[0, 1, 1, 1, 0]).is_none(), "a thread below zero");
        assert!(decode(&[0, 1, 1, 2]).is_none(), "cut off");
    }
}
