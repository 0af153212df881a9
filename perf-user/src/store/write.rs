//! Writing a recording: every window is one transaction, so a recorder killed at any moment leaves a file that opens.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Params, Transaction, ffi, params};

use super::{
    APPLICATION_ID, SCHEMA_VERSION, StoreError,
    blob::{Entry, encode},
    block, calls, counts, file_calls,
    intern::Interner,
    kernel_locks, locks, memory,
    open::tables,
    run_queue, timeline,
};
use crate::{
    collect::EventKind,
    host::{
        files::{PRIVATE, Place},
        sys::FileRights,
    },
    profile::{Overhead, Recording},
    symbolize::{Function, Names},
    task::{LocatedKind, LocatedWindow, RawFrame},
};

/// How long a window waits for somebody who reads the recording: meanwhile others wait behind it, or are counted as lost.
const READER_PATIENCE: Duration = Duration::from_secs(600);

/// What the writer remembers of what it has written: some 8 MB.
const INTERNED_LIMIT: usize = 100_000;

/// A recording being written.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    /// SQLite makes and removes a journal beside the recording in every transaction.
    place: Place,
    connection: Connection,
    /// Held after the connection: closing it would release SQLite's own locks.
    _lock: File,
    interner: Interner,
    /// How many rows the interner may remember.
    pub(super) interned_limit: usize,
    windows: u32,
}

impl Writer {
    /// Creates the file, for its owner alone; what one that exists holds is replaced.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Self::create_as(path, false)
    }

    /// The same, for windows with a timeline.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create_with_timeline(path: &Path) -> Result<Self, StoreError> {
        Self::create_as(path, true)
    }

    fn create_as(path: &Path, timeline: bool) -> Result<Self, StoreError> {
        let failed = |why: String| StoreError::Create { path: path.to_owned(), why };
        let place = Place::of(path).map_err(|error| failed(error.to_string()))?;
        // SQLite would say no more than "unable to open database file".
        let lock = place.open(PRIVATE).map_err(|error| failed(error.to_string()))?;
        lock.try_lock().map_err(|_| failed("another perfprobe is writing it".into()))?;
        lock.set_len(0).map_err(|error| failed(error.to_string()))?;
        let open = || -> rusqlite::Result<Connection> {
            let _rights = rights(&place)?;
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(READER_PATIENCE)?;
            // A kill loses nothing without syncing; only the machine's own crash could, and is not worth stalls.
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.execute_batch(&format!("BEGIN; {}; COMMIT;", tables(timeline)))?;
            Ok(connection)
        };
        let connection = open().map_err(|error| failed(error.to_string()))?;
        let writer = Self {
            path: path.to_owned(),
            place,
            connection,
            _lock: lock,
            interner: Interner::default(),
            interned_limit: INTERNED_LIMIT,
            windows: 0,
        };
        writer.meta("schema_version", &SCHEMA_VERSION.to_string())?;
        Ok(writer)
    }

    /// Where it is written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what is known of the recording as a whole; repeated at its end with what only that knows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn describe(&self, recording: &Recording, overhead: &Overhead, start_ns: u64) -> Result<(), StoreError> {
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        self.meta("recording", &json(serde_json::to_string(recording)))?;
        self.meta("overhead", &json(serde_json::to_string(overhead)))?;
        self.meta("start_ns", &start_ns.to_string())
    }

    /// Announces an event kind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn event(&self, name: &str, unit: &str, period_ns: u64, source: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO event VALUES (?1, ?2, ?3, ?4)";
        self.execute(sql, params![name, unit, period_ns as i64, source])
    }

    /// Names what is new in a window, and stores it.
    ///
    /// # Errors
    /// When the file cannot be written; windows before stay in it.
    pub fn window(&mut self, window: &LocatedWindow, names: &mut Names) -> Result<(), StoreError> {
        self.try_window(window, names).map_err(|source| self.failed(source))
    }

    /// Names frames that were stored without a name. If they come again, they are other frames.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn rename(&mut self, frames: &[(RawFrame, Function)]) -> Result<(), StoreError> {
        let mut rename = || {
            let _rights = rights(&self.place)?;
            let transaction = self.connection.unchecked_transaction()?;
            frames.iter().try_for_each(|(frame, function)| self.interner.rename(&transaction, frame, function))?;
            transaction.commit()
        };
        if frames.is_empty() { Ok(()) } else { rename().map_err(|source| self.failed(source)) }
    }

    fn try_window(&mut self, window: &LocatedWindow, names: &mut Names) -> rusqlite::Result<()> {
        // Interning happens inside the transaction; if that fails the recording ends, so the two cannot drift apart.
        let transaction = self.connection.unchecked_transaction()?;
        let id = self.windows;
        {
            // The first change makes the journal. Reading files for their names takes our own rights again.
            let _rights = rights(&self.place)?;
            transaction.execute(
                "INSERT INTO window VALUES (?1, ?2, ?3)",
                params![id, window.start_ns as i64, window.end_ns as i64],
            )?;
        }
        let interner = &mut self.interner;
        interner.forget_beyond(self.interned_limit);
        interner.name_frames(&transaction, window, names)?;
        window.kinds.iter().try_for_each(|kind| write_kind(&transaction, interner, id, kind))?;
        run_queue::write(&transaction, interner, id, &window.queues)?;
        if let Some(locks) = &window.locks {
            locks::write(&transaction, interner, id, locks)?;
        }
        if let Some(calls) = &window.calls {
            calls::write(&transaction, interner, id, window, calls)?;
        }
        if let Some(block) = &window.block {
            block::write(&transaction, interner, id, window, block)?;
        }
        if let Some(calls) = &window.file_calls {
            file_calls::write(&transaction, interner, id, window, calls)?;
        }
        if let Some(locks) = &window.kernel_locks {
            kernel_locks::write(&transaction, interner, id, locks)?;
        }
        if let Some(told) = &window.memory {
            memory::write(&transaction, interner, id, told)?;
        }
        if let Some(events) = &window.timeline {
            timeline::write(&transaction, interner, id, events)?;
        }
        let counts = timeline::counts(window).into_iter();
        counts
            .map(|(what, name, value)| (timeline::COUNTED_AS, what, name, value))
            .try_for_each(|count| counts::add(&transaction, id, count))?;
        let committing = rights(&self.place)?;
        transaction.commit()?;
        drop(committing);
        self.windows += 1;
        Ok(())
    }

    fn meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        self.execute(sql, params![key, value])
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        let executed = rights(&self.place).and_then(|_rights| self.connection.execute(sql, params));
        executed.map(drop).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Write { path: self.path.clone(), source }
    }
}

fn write_kind(
    transaction: &Transaction<'_>,
    interner: &mut Interner,
    window: u32,
    kind: &LocatedKind,
) -> rusqlite::Result<()> {
    let event = kind.kind.name();
    let mut by_process: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
    // Their kernel stacks end with perfprobe's own way there.
    let from_tracepoint = matches!(
        kind.kind,
        EventKind::OffCpu
            | EventKind::OffWake
            | EventKind::Locks
            | EventKind::Holders
            | EventKind::Io
            | EventKind::IoBytes
            | EventKind::KernelLocks
    );
    for sample in &kind.samples {
        let stack = interner.stack(transaction, &sample.frames, from_tracepoint)?;
        let thread = interner.thread(transaction, sample)?;
        by_process.entry(sample.tgid).or_default().push(Entry { thread, stack, value: sample.value });
    }
    for (tgid, entries) in by_process {
        let row = params![window, event, tgid, encode(entries)];
        transaction.execute("INSERT INTO sample VALUES (?1, ?2, ?3, ?4)", row)?;
    }
    counts::write(transaction, window, event, &kind.tally, kind.reported())
}

/// The rights with which files are made in a place; that they cannot be taken is told as SQLite tells its errors.
pub(super) fn rights(place: &Place) -> rusqlite::Result<Option<FileRights>> {
    place.rights().map_err(|error| {
        rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_PERM), Some(format!("{place}: {error}")))
    })
}
