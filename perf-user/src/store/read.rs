//! Reading a recording, or a slice of one, as a profile.

use std::{collections::HashMap, path::Path};

use rusqlite::{Connection, Row};

use super::{
    StoreError,
    blob::decode,
    block, calls, file_calls, kernel_locks, latencies, locks, memory,
    open::{damaged, open},
    outline::Outline,
    rows::Rows,
    run_queue, stacks, timeline,
};
use crate::{
    collect::EventKind,
    profile::{Profile, Sample, StackId, Thread, ThreadIndex},
};

/// Which part of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Windows that begin at or after this, in nanoseconds after the recording's start.
    pub from_ns: Option<u64>,
    /// Windows that begin before this.
    pub to_ns: Option<u64>,
    /// One thread.
    pub tid: Option<u32>,
    /// One process.
    pub tgid: Option<u32>,
    /// Whether single events are wanted, too, if the recording has them.
    pub moments: bool,
    /// Whether it is wanted how long things took over time, not only in all.
    pub latencies: bool,
}

impl Selection {
    /// Whether a window that begins at this time, after the recording's start, is part of it.
    pub(super) fn holds(&self, window_ns: u64) -> bool {
        self.from_ns.is_none_or(|from| window_ns >= from) && self.to_ns.is_none_or(|to| window_ns < to)
    }
}

/// Reads the selected part of a recording.
///
/// # Errors
/// When the file is missing, foreign, of another version or damaged.
pub fn read(path: &Path, selection: Selection) -> Result<Profile, StoreError> {
    let connection = open(path)?;
    load(&connection, selection).map_err(|error| error.of(path))
}

/// Reads what was recorded, and how much of it was taken and lost, without the values themselves: in long recordings, those are
/// much to read.
///
/// # Errors
/// When the file is missing, foreign, of another version or damaged.
pub fn read_counts(path: &Path) -> Result<Profile, StoreError> {
    let connection = open(path)?;
    let counted = Outline::load(&connection, Selection::default()).map_err(|error| error.of(path))?;
    Ok(Profile { series: counted.series.into_values().collect(), ..counted.profile })
}

/// Values that a profile may hold: 11 hours of 8 busy CPUs at 99 Hz, no two samples of a window alike.
pub(super) const MAX_SAMPLES: usize = if cfg!(test) { 1 << 16 } else { 1 << 25 };

/// Why a recording that opens cannot be read.
pub(super) enum Unreadable {
    Database(rusqlite::Error),
    /// It says what cannot be.
    Insane(&'static str),
    /// It holds, or pretends to hold, more than memory may.
    TooMuch(&'static str),
}

impl Unreadable {
    fn of(self, path: &Path) -> StoreError {
        match self {
            Self::Database(error) => damaged(path, error.to_string()),
            Self::Insane(what) => damaged(path, what.into()),
            Self::TooMuch(what) => StoreError::TooMuch { path: path.to_owned(), what },
        }
    }
}

impl From<rusqlite::Error> for Unreadable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

fn load(connection: &Connection, selection: Selection) -> Result<Profile, Unreadable> {
    let Outline { mut profile, mut series, start_ns, windows } = Outline::load(connection, selection)?;
    let strings = load_strings(connection)?;
    let threads = load_threads(connection, &mut profile, &strings)?;
    let rows = Rows { connection, windows: &windows, strings: &strings, selection };
    profile.run_queues = run_queue::load(&rows)?;
    profile.locks = locks::load(&rows, start_ns)?;
    profile.calls = calls::load(&rows, start_ns)?;
    profile.block = block::load(&rows, start_ns)?;
    [profile.file_calls, profile.faults] = file_calls::load(&rows)?;
    profile.kernel_locks = kernel_locks::load(&rows)?;
    profile.memory = memory::load(&rows, start_ns)?;
    if selection.latencies {
        profile.latencies = latencies::load(&rows)?;
    }
    if timeline::exists(connection)? {
        timeline::describe(connection, &mut profile, &windows)?;
        if selection.moments {
            timeline::read(connection, &profile, &mut series, &threads, selection, start_ns)?;
        }
    }
    let mut decoded = 0;
    each(connection, "SELECT window, event, tgid, data FROM sample ORDER BY window", |row| {
        let Some((window_ns, _)) = windows.get(&row.get(0)?) else { return Ok(()) };
        if selection.tgid.is_some_and(|tgid| row.get(2) != Ok(tgid)) {
            return Ok(());
        }
        let event: String = row.get(1)?;
        // Who had the locks that a thread waited for was another.
        if selection.tid.is_some() && event == EventKind::Holders.name() {
            return Ok(());
        }
        let Some(series) = series.get_mut(&event) else { return Ok(()) };
        let data: Vec<u8> = row.get(3)?;
        let entries = decode(&data).ok_or(Unreadable::Insane("a window's samples are no samples"))?;
        decoded += entries.len();
        if decoded > MAX_SAMPLES {
            return Err(Unreadable::TooMuch("samples"));
        }
        series.samples.extend(entries.into_iter().filter_map(|entry| {
            let thread = *threads.get(&entry.thread)?;
            let wanted = selection.tid.is_none_or(|tid| profile.threads[thread.0 as usize].tid == tid);
            let sample = Sample { window_ns: *window_ns, thread, stack: StackId(entry.stack), value: entry.value };
            wanted.then_some(sample)
        }));
        Ok(())
    })?;
    let sampled = series.values().flat_map(|series| &series.samples).map(|sample| sample.stack.0);
    let happened = series.values().flat_map(|series| &series.moments).map(|moment| moment.stack.0);
    let wanted = sampled.chain(happened).collect();
    let stacks = stacks::load(connection, &mut profile, &strings, wanted)?;
    for series in series.values_mut() {
        let sum = series.samples.iter().try_fold(0_u64, |sum, sample| sum.checked_add(sample.value));
        sum.ok_or(Unreadable::Insane("its values are too large to be added up"))?;
        stacks.resolve(&profile, series);
    }
    for series in series.values().filter(|series| {
        let Selection { moments, latencies, .. } = selection;
        selection == Selection { moments, latencies, ..Selection::default() }
            && series.total() != series.accounting.reported
    }) {
        let (event, found, reported) = (&series.event, series.total(), series.accounting.reported);
        profile
            .recording
            .warnings
            .push(format!("{event}: the recording is damaged: {found} of its {reported} values can be read"));
    }
    profile.series = series.into_values().collect();
    Ok(profile)
}

pub(super) fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn load_strings(connection: &Connection) -> Result<HashMap<u32, String>, Unreadable> {
    let mut strings = HashMap::new();
    each(connection, "SELECT id, text FROM string", |row| {
        strings.insert(row.get(0)?, row.get(1)?);
        Ok(())
    })?;
    Ok(strings)
}

pub(super) fn text(strings: &HashMap<u32, String>, id: u32) -> &str {
    strings.get(&id).map_or("", String::as_str)
}

fn load_threads(
    connection: &Connection,
    profile: &mut Profile,
    strings: &HashMap<u32, String>,
) -> Result<HashMap<u32, ThreadIndex>, Unreadable> {
    let (mut ids, mut known) = (HashMap::new(), HashMap::new());
    each(connection, "SELECT id, tgid, tid, comm, process FROM thread", |row| {
        let thread = Thread {
            tgid: row.get(1)?,
            tid: row.get(2)?,
            comm: profile.strings.intern(text(strings, row.get(3)?)),
            process: profile.strings.intern(text(strings, row.get(4)?)),
        };
        let next = ThreadIndex(profile.threads.len() as u32);
        let index = *known.entry(thread.clone()).or_insert(next);
        if index == next {
            profile.threads.push(thread);
        }
        ids.insert(row.get(0)?, index);
        Ok(())
    })?;
    Ok(ids)
}
