//! Reading a recording, or a slice of one, as a profile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    path::Path,
};

use rusqlite::{Connection, OpenFlags, Row, params};

use super::{APPLICATION_ID, SCHEMA_VERSION, StoreError, blob::decode};
use crate::profile::{Frame, FrameId, FrameKind, Profile, Sample, Series, StackId, Thread, ThreadIndex};

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
/// When the file is missing, foreign, newer or damaged.
pub fn read(path: &Path, selection: Selection) -> Result<Profile, StoreError> {
    let connection = open(path)?;
    load(&connection, selection).map_err(|error| damaged(path, &error))
}

fn damaged(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), why: error.to_string() }
}

pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |why: String| StoreError::Open { path: path.to_owned(), why };
    let mut header = [0; 16];
    let mut file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    std::io::Read::read_exact(&mut file, &mut header).map_err(|_| foreign())?;
    if &header != b"SQLite format 3\0" {
        return Err(foreign());
    }
    // Writable where possible: a recording whose recorder was killed may have a journal to roll back.
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY))
        .map_err(|error| failed(error.to_string()))?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id").map_err(|error| damaged(path, &error))?;
    if application != i64::from(APPLICATION_ID) {
        return Err(foreign());
    }
    let others = "SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index')";
    let others: i64 = connection.query_row(others, [], |row| row.get(0)).map_err(|error| damaged(path, &error))?;
    if others != 0 {
        return Err(foreign());
    }
    let version = meta(&connection, "schema_version").map_err(|error| damaged(path, &error))?;
    match version.as_deref().and_then(|text| text.parse::<u32>().ok()) {
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::Newer { path: path.to_owned(), found }),
        Some(_) => Ok(connection),
        None => Err(StoreError::Damaged { path: path.to_owned(), why: "it does not tell its schema version".into() }),
    }
}

pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    use rusqlite::OptionalExtension as _;
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// The functions at a stored place, outermost first, and whether it has no symbol.
#[derive(Debug, Default)]
struct Place {
    frames: Vec<FrameId>,
    unnamed: Option<String>,
}

fn load(connection: &Connection, selection: Selection) -> rusqlite::Result<Profile> {
    let mut profile = Profile::default();
    let json = |key| meta(connection, key).map(Option::unwrap_or_default);
    profile.recording = serde_json::from_str(&json("recording")?).map_err(|_| rusqlite::Error::InvalidQuery)?;
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

    let (mut windows, mut covered_ns): (HashMap<i64, u64>, u64) = (HashMap::new(), 0);
    each(connection, "SELECT id, start_ns, end_ns FROM window ORDER BY id", |row| {
        let window_ns = (row.get::<_, i64>(1)? as u64).saturating_sub(start_ns);
        if selection.holds(window_ns) {
            windows.insert(row.get(0)?, window_ns);
            covered_ns += (row.get::<_, i64>(2)? as u64).saturating_sub(row.get::<_, i64>(1)? as u64);
        }
        Ok(())
    })?;

    each(connection, "SELECT window, event, kind, name, value FROM counter", |row| {
        let Some(series) = series.get_mut(&row.get::<_, String>(1)?) else { return Ok(()) };
        if !windows.contains_key(&row.get(0)?) {
            return Ok(());
        }
        let (kind, name, value): (String, String, u64) = (row.get(2)?, row.get(3)?, row.get::<_, i64>(4)? as u64);
        match kind.as_str() {
            "taken" => series.accounting.taken += value,
            "reported" => series.accounting.reported += value,
            "lost" => *series.accounting.lost.entry(name).or_default() += value,
            _ => *series.counters.entry(name).or_default() += value,
        }
        Ok(())
    })?;

    if selection.from_ns.is_some() || selection.to_ns.is_some() {
        profile.slice_ns = covered_ns;
    }
    let strings = load_strings(connection)?;
    let threads = load_threads(connection, &mut profile, &strings)?;
    let mut samples: Vec<(String, Sample)> = Vec::new();
    each(connection, "SELECT window, event, tgid, data FROM sample ORDER BY window", |row| {
        let Some(window_ns) = windows.get(&row.get(0)?) else { return Ok(()) };
        if selection.tgid.is_some_and(|tgid| row.get(2) != Ok(tgid)) {
            return Ok(());
        }
        let event: String = row.get(1)?;
        let data: Vec<u8> = row.get(3)?;
        let entries = decode(&data).ok_or(rusqlite::Error::InvalidQuery)?;
        samples.extend(entries.into_iter().filter_map(|entry| {
            let thread = *threads.get(&entry.thread)?;
            let (stack, value) = (StackId(entry.stack), entry.value);
            Some((event.clone(), Sample { window_ns: *window_ns, thread, stack, value }))
        }));
        Ok(())
    })?;
    if let Some(tid) = selection.tid {
        samples.retain(|(_, sample)| profile.threads[sample.thread.0 as usize].tid == tid);
    }
    let wanted = samples.iter().map(|(_, sample)| sample.stack.0).collect();
    let stacks = load_stacks(connection, &mut profile, &strings, wanted)?;
    for (event, mut sample) in samples {
        let Some(series) = series.get_mut(&event) else { continue };
        let Some((stack, unnamed)) = stacks.get(&sample.stack.0) else { continue };
        sample.stack = *stack;
        for reason in unnamed {
            *series.unsymbolized.entry(reason.clone()).or_default() += sample.value;
        }
        series.samples.push(sample);
    }
    for series in series
        .values()
        .filter(|series| selection == Selection::default() && series.total() != series.accounting.reported)
    {
        let (event, found, reported) = (&series.event, series.total(), series.accounting.reported);
        profile
            .recording
            .warnings
            .push(format!("{event}: the recording is damaged: {found} of its {reported} values can be read"));
    }
    profile.series = series.into_values().collect();
    Ok(profile)
}

fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn load_strings(connection: &Connection) -> rusqlite::Result<HashMap<u32, String>> {
    let mut strings = HashMap::new();
    each(connection, "SELECT id, text FROM string", |row| {
        strings.insert(row.get(0)?, row.get(1)?);
        Ok(())
    })?;
    Ok(strings)
}

fn text(strings: &HashMap<u32, String>, id: u32) -> &str {
    strings.get(&id).map_or("", String::as_str)
}

fn load_threads(
    connection: &Connection,
    profile: &mut Profile,
    strings: &HashMap<u32, String>,
) -> rusqlite::Result<HashMap<u32, ThreadIndex>> {
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

/// The wanted stacks by their stored ids, each with the reasons for which its frames have no names.
fn load_stacks(
    connection: &Connection,
    profile: &mut Profile,
    strings: &HashMap<u32, String>,
    wanted: BTreeSet<u32>,
) -> rusqlite::Result<HashMap<u32, (StackId, Vec<String>)>> {
    let mut nodes: HashMap<u32, (u32, u32)> = HashMap::new();
    each(connection, "SELECT id, caller, frame FROM stack", |row| {
        nodes.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        Ok(())
    })?;
    let mut places: HashMap<u32, Place> = HashMap::new();
    let mut frames: HashMap<Frame, FrameId> = HashMap::new();
    let mut stacks = HashMap::from([(0, (StackId::EMPTY, Vec::new()))]);
    for id in wanted {
        // From the leaf to the first caller that is known already, then back.
        let (mut path, mut at) = (Vec::new(), id);
        while !stacks.contains_key(&at) {
            let Some((caller, frame)) = nodes.get(&at).copied().filter(|(caller, _)| *caller < at) else { break };
            path.push((at, frame));
            at = caller;
        }
        let Some(mut known) = stacks.get(&at).cloned() else { continue };
        for (node, frame) in path.into_iter().rev() {
            let place = match places.entry(frame) {
                Entry::Occupied(place) => place.into_mut(),
                Entry::Vacant(place) => place.insert(load_place(connection, profile, &mut frames, strings, frame)?),
            };
            for frame in &place.frames {
                known.0 = profile.stacks.push(known.0, *frame);
            }
            known.1.extend(place.unnamed.clone());
            stacks.insert(node, known.clone());
        }
    }
    Ok(stacks)
}

fn load_place(
    connection: &Connection,
    profile: &mut Profile,
    frames: &mut HashMap<Frame, FrameId>,
    strings: &HashMap<u32, String>,
    id: u32,
) -> rusqlite::Result<Place> {
    let sql =
        "SELECT frame.unnamed, frame.address, module.kind, module.path, line.depth, line.function, line.file, line.line
        FROM frame JOIN module ON module.id = frame.module JOIN line ON line.frame = frame.id
        WHERE frame.id = ?1 ORDER BY line.depth";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![id])?;
    let mut place = Place::default();
    while let Some(row) = rows.next()? {
        place.unnamed = row.get(0)?;
        let (module_kind, path): (String, String) = (row.get(2)?, row.get(3)?);
        let kind = match module_kind.as_str() {
            "kernel" => FrameKind::Kernel,
            "jit" => FrameKind::Jit,
            _ if row.get::<_, u32>(4)? > 0 => FrameKind::Inlined,
            _ => FrameKind::User,
        };
        let frame = Frame {
            function: profile.strings.intern(text(strings, row.get(5)?)),
            module: profile.strings.intern(&path),
            file: profile.strings.intern(text(strings, row.get(6)?)),
            line: row.get(7)?,
            kind,
            symbolized: place.unnamed.is_none(),
            address: row.get::<_, i64>(1)? as u64,
        };
        let next = FrameId(profile.frames.len() as u32);
        let frame_id = *frames.entry(frame).or_insert(next);
        if frame_id == next {
            profile.frames.push(frame);
        }
        place.frames.push(frame_id);
    }
    Ok(place)
}
