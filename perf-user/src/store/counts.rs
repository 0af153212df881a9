//! What became of events, in the table of counters; of what is no event of its own, under a name that no event has.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::{
    lengths::sum,
    outline::Windows,
    read::{Unreadable, each},
};
use crate::{collect::EventKind, drain::Tally, profile::Accounting};

/// Writes what became of a window's events under this name, and how many were reported.
pub(super) fn write(
    transaction: &Transaction<'_>,
    window: u32,
    name: &str,
    tally: &Tally,
    reported: u64,
) -> rusqlite::Result<()> {
    let count = |what: &str, cause: &str, value: u64| add(transaction, window, (name, what, cause, value));
    count("taken", "", tally.taken)?;
    count("reported", "", reported)?;
    tally.lost.iter().try_for_each(|(cause, value)| count("lost", cause, *value))?;
    tally.facts.iter().try_for_each(|(name, value)| count("fact", name, *value))
}

/// Adds to a count of a window: of which event, what, under which name, and how much.
pub(super) fn add(
    transaction: &Transaction<'_>,
    window: u32,
    (event, what, name, value): (&str, &str, &str, u64),
) -> rusqlite::Result<()> {
    if value > 0 || what != "lost" {
        let sql = "INSERT INTO counter VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT DO UPDATE SET value = value + excluded.value";
        transaction.prepare_cached(sql)?.execute(params![window, event, what, name, value as i64])?;
    }
    Ok(())
}

/// Reads what these windows counted under this name: the account, and facts.
pub(super) fn load(
    connection: &Connection,
    windows: &Windows,
    name: &'static str,
) -> Result<(Accounting, BTreeMap<String, u64>), Unreadable> {
    let (mut accounting, mut facts) = (Accounting::default(), BTreeMap::new());
    each(connection, &format!("SELECT window, kind, name, value FROM counter WHERE event = '{name}'"), |row| {
        if !windows.contains_key(&row.get(0)?) {
            return Ok(());
        }
        let (kind, cause, value): (String, String, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let before = match kind.as_str() {
            "taken" => &mut accounting.taken,
            "reported" => &mut accounting.reported,
            "lost" => accounting.lost.entry(cause).or_default(),
            _ => facts.entry(cause).or_default(),
        };
        *before = sum(*before, value)?;
        Ok(())
    })?;
    Ok((accounting, facts))
}

/// Whether an event was recorded.
pub(super) fn is_recorded(connection: &Connection, event: EventKind) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) > 0 FROM event WHERE name = ?1", [event.name()], |row| row.get(0))
}
