//! What a recording says of itself, without its values.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::{
    open::meta,
    read::{Selection, Unreadable, each},
};
use crate::profile::{Profile, Series};

/// Windows by their ids: from when to when they are, in nanoseconds after the recording's start.
pub(super) type Windows = HashMap<i64, (u64, u64)>;

/// A recording without its values.
pub(super) struct Outline {
    /// What was recorded.
    pub(super) profile: Profile,
    /// What is known of each event, by its name.
    pub(super) series: BTreeMap<String, Series>,
    /// When the recording began.
    pub(super) start_ns: u64,
    /// The selected windows.
    pub(super) windows: Windows,
}

impl Outline {
    pub(super) fn load(connection: &Connection, selection: Selection) -> Result<Self, Unreadable> {
        let mut profile = Profile::default();
        let json = |key| meta(connection, key).map(Option::unwrap_or_default);
        profile.recording = serde_json::from_str(&json("recording")?)
            .map_err(|_| Unreadable::Insane("it does not tell what was recorded"))?;
        profile.overhead = serde_json::from_str(&json("overhead")?).unwrap_or_default();
        let start_ns: u64 = json("start_ns")?.parse().unwrap_or(0);
        let last = connection.query_row("SELECT max(end_ns) FROM window", [], |row| row.get::<_, Option<i64>>(0))?;
        if !profile.recording.complete {
            profile.recording.duration_ns = last.map_or(0, |end_ns| (end_ns as u64).saturating_sub(start_ns));
        }

        let mut series: BTreeMap<String, Series> = BTreeMap::new();
        each(connection, "SELECT name, unit, period_ns, source FROM event", |row| {
            let event: String = row.get(0)?;
            let read = Series {
                event: event.clone(),
                unit: row.get(1)?,
                period_ns: row.get::<_, i64>(2)? as u64,
                source: row.get(3)?,
                ..Series::default()
            };
            series.insert(event, read);
            Ok(())
        })?;

        let (mut windows, mut covered_ns) = (Windows::new(), 0_u64);
        each(connection, "SELECT id, start_ns, end_ns FROM window ORDER BY id", |row| {
            let window_ns = (row.get::<_, i64>(1)? as u64).saturating_sub(start_ns);
            if selection.holds(window_ns) {
                let length_ns = (row.get::<_, i64>(2)? as u64).saturating_sub(row.get::<_, i64>(1)? as u64);
                covered_ns = covered_ns.saturating_add(length_ns);
                windows.insert(row.get(0)?, (window_ns, window_ns.saturating_add(length_ns)));
            }
            Ok(())
        })?;
        if selection.from_ns.is_some() || selection.to_ns.is_some() {
            profile.slice_ns = covered_ns;
        }
        load_counters(connection, &windows, &mut series)?;
        Ok(Self { profile, series, start_ns, windows })
    }
}

/// What became of the events of each series, in these windows.
fn load_counters(
    connection: &Connection,
    windows: &Windows,
    series: &mut BTreeMap<String, Series>,
) -> Result<(), Unreadable> {
    let mut sum = 0_u64;
    each(connection, "SELECT window, event, kind, name, value FROM counter", |row| {
        let Some(series) = series.get_mut(&row.get::<_, String>(1)?) else { return Ok(()) };
        if !windows.contains_key(&row.get(0)?) {
            return Ok(());
        }
        let (kind, name, value): (String, String, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let value = u64::try_from(value).map_err(|_| Unreadable::Insane("it counts below zero"))?;
        // No sum of some of them overflows then.
        sum = sum.checked_add(value).ok_or(Unreadable::Insane("its counts are too large to be added up"))?;
        match kind.as_str() {
            "taken" => series.accounting.taken += value,
            "reported" => series.accounting.reported += value,
            "lost" => *series.accounting.lost.entry(name).or_default() += value,
            _ => *series.counters.entry(name).or_default() += value,
        }
        Ok(())
    })
}
