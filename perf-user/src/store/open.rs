//! Opening a recording. It may come from anybody: what is not exactly what perfprobe writes is refused before it is read.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{APPLICATION_ID, SCHEMA_VERSION, StoreError};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Opens a recording in one long transaction for reading, so that all of it is of one moment.
///
/// Its tables are defined as those of [`super::Writer`], with no computed columns, views or triggers, and no part of the
/// file is used twice: all that can be read from it, except for packed samples, is no more than the file.
///
/// # Errors
/// When the file is missing, foreign, of another version or damaged.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |why: String| StoreError::Open { path: path.to_owned(), why };
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    let metadata = fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(foreign());
    }
    let mut header = [0; MAGIC.len()];
    let mut file = File::open(path).map_err(|error| {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let remedy =
            if denied { "; it belongs to the user who made it: ask as them, or have them chmod it" } else { "" };
        failed(format!("{error}{remedy}"))
    })?;
    file.read_exact(&mut header).map_err(|_| foreign())?;
    if &header != MAGIC {
        return Err(foreign());
    }
    // Writable where possible: a recording whose recorder was killed may have a journal to roll back.
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY))
        .map_err(|error| failed(error.to_string()))?;
    let verdict = examine(&connection).map_err(|error| damaged(path, error.to_string()))?;
    match verdict {
        Verdict::Sound => Ok(connection),
        Verdict::Foreign => Err(foreign()),
        Verdict::Other(found) => Err(StoreError::OtherVersion { path: path.to_owned(), found }),
        Verdict::Damaged(why) => Err(damaged(path, why)),
    }
}

pub(super) fn damaged(path: &Path, why: String) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), why }
}

enum Verdict {
    Sound,
    Foreign,
    /// Its schema version.
    Other(u32),
    Damaged(String),
}

fn examine(connection: &Connection) -> rusqlite::Result<Verdict> {
    connection.execute_batch("PRAGMA trusted_schema = OFF; BEGIN")?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != i64::from(APPLICATION_ID) {
        return Ok(Verdict::Foreign);
    }
    let found = definitions(connection)?;
    if found.get("meta") != expected(false)?.get("meta") {
        return Ok(Verdict::Foreign);
    }
    match meta(connection, "schema_version")?.and_then(|text| text.parse().ok()) {
        Some(SCHEMA_VERSION) => {}
        Some(version) => return Ok(Verdict::Other(version)),
        None => return Ok(Verdict::Damaged("it does not tell its schema version".into())),
    }
    if found != expected(found.contains_key("timeline"))? {
        return Ok(Verdict::Foreign);
    }
    // Among others, that no page belongs to two rows, which would make a small file an endless one.
    let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(if sound == "ok" { Verdict::Sound } else { Verdict::Damaged(sound) })
}

/// The value of a key of the table `meta`.
pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// What makes the tables, with that of timelines or without.
pub(super) fn tables(timeline: bool) -> String {
    let timeline = if timeline { include_str!("timeline.sql") } else { "" };
    [
        include_str!("schema.sql"),
        include_str!("calls.sql"),
        include_str!("run_queue.sql"),
        include_str!("locks.sql"),
        include_str!("block.sql"),
        include_str!("file_calls.sql"),
        include_str!("kernel_locks.sql"),
        include_str!("memory.sql"),
        timeline,
    ]
    .concat()
}

/// The definitions of these, as SQLite keeps them.
fn expected(timeline: bool) -> rusqlite::Result<BTreeMap<String, String>> {
    let empty = Connection::open_in_memory()?;
    empty.execute_batch(&tables(timeline))?;
    definitions(&empty)
}

/// The definitions of everything in a file, by name; without comments and layout, which may change.
fn definitions(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map(|(name, sql): (String, String)| (name, plain(&sql)))).collect()
}

fn plain(sql: &str) -> String {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or(line));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}
