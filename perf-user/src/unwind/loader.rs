//! A thread that makes tables: a large file takes a tenth of a second, and rings must not wait for it.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use super::{Cache, NoTable, StackEnd, Table, read};
use crate::task::{Module, ModuleId};

/// What came of a file.
type Made = (ModuleId, Result<Table, NoTable>);

/// The thread, and the ways to it and back. It ends when this is dropped.
#[derive(Debug)]
pub struct Loader {
    wanted: Sender<Arc<Module>>,
    made: Receiver<Made>,
    /// A byte for each that was made.
    ready: PipeReader,
    waiting: usize,
}

impl Loader {
    /// Starts it; tables that it makes are kept in the cache, if there is one.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn start(cache: Option<Cache>, stack_end: StackEnd) -> io::Result<Self> {
        let (ready, mut tell) = io::pipe()?;
        let (wanted, files) = channel::<Arc<Module>>();
        let (answer, made) = channel();
        std::thread::spawn(move || {
            for module in files {
                // A file that no test has thought of costs its own table, not those of all others.
                let table = catch_unwind(AssertUnwindSafe(|| load(&module, cache.as_ref(), stack_end)));
                let table = table.unwrap_or_else(|_| Err(NoTable::Unreadable("reading it failed".into())));
                if answer.send((module.id, table)).is_err() || tell.write_all(&[0]).is_err() {
                    break;
                }
            }
        });
        Ok(Self { wanted, made, ready, waiting: 0 })
    }

    /// Readable when there is something to take.
    #[must_use]
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Has the table of a file made.
    pub fn want(&mut self, module: Arc<Module>) {
        self.waiting += usize::from(self.wanted.send(module).is_ok());
    }

    /// What has been made since this was last asked.
    pub fn take(&mut self) -> Vec<Made> {
        let made: Vec<Made> = self.made.try_iter().collect();
        self.count(made.len());
        made
    }

    /// The next to be made; `None` when nothing is wanted any more, or the time is over.
    pub fn wait(&mut self, deadline: Instant) -> Option<Made> {
        let left = deadline.saturating_duration_since(Instant::now());
        let made = if self.waiting > 0 { self.made.recv_timeout(left).ok() } else { None }?;
        self.count(1);
        Some(made)
    }

    fn count(&mut self, made: usize) {
        self.waiting = self.waiting.saturating_sub(made);
        // Each byte is written right after what it tells of.
        let _ = self.ready.read_exact(&mut vec![0; made]);
    }
}

fn load(module: &Module, cache: Option<&Cache>, stack_end: StackEnd) -> Result<Table, NoTable> {
    let Some(path) = &module.symbols_path else { return Err(NoTable::Absent) };
    let file = File::open(path).map_err(|error| NoTable::Unreadable(error.to_string()))?;
    if let Some(table) = cache.and_then(|cache| cache.get(&file)) {
        return Ok(table);
    }
    match cache {
        Some(cache) => cache.keep(&file, || read(&file, stack_end)),
        None => read(&file, stack_end),
    }
}
