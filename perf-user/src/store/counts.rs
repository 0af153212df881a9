//! The account of what is no event of its own: in the table of counters, under a name that no event has.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::{
    lengths::sum,
    outline::Windows,
    read::{Unreadable, each},
};
use crate::profile::Accounting;

/// What a window counted.
pub(super) struct Counted<'a> {
    pub(super) taken: u64,
    pub(super) reported: u64,
    pub(super) lost: &'a [(&'static str, u64)],
    pub(super) facts: &'a [(&'static str, u64)],
}

/// Writes it under this name.
pub(super) fn write(
    transaction: &Transaction<'_>,
    window: u32,
    name: &str,
    counted: &Counted<'_>,
) -> rusqlite::Result<()> {
    let count = |what: &str, cause: &str, value: u64| {
        let sql =
            "INSERT INTO counter VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET value = value + excluded.value";
        transaction.prepare_cached(sql)?.execute(params![window, name, what, cause, value as i64]).map(drop)
    };
    count("taken", "", counted.taken)?;
    count("reported", "", counted.reported)?;
    let lost = counted.lost.iter().filter(|(_, value)| *value > 0);
    lost.into_iter().try_for_each(|(cause, value)| count("lost", cause, *value))?;
    counted.facts.iter().try_for_each(|(name, value)| count("fact", name, *value))
}

/// Reads what these windows counted under this name: the account, and facts.
pub(super) fn load(
    connection: &Connection,
    windows: &Windows,
    name: &str,
) -> Result<(Accounting, BTreeMap<String, u64>), Unreadable> {
    let (mut accounting, mut facts) = (Accounting::default(), BTreeMap::new());
    each(connection, "SELECT window, kind, name, value, event FROM counter", |row| {
        if row.get::<_, String>(4)? != name || !windows.contains_key(&row.get(0)?) {
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
