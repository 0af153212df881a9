//! A thread that makes tables: a large file takes a tenth of a second, and rings must not wait for it.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use super::{Cache, NoTable, StackEnd, Table, cache::identity, first_mapped, read};
use crate::task::{Module, ModuleId};

/// What came of a file.
type Made = (ModuleId, Result<Table, NoTable>);

/// What the thread is to do.
enum Wanted {
    /// A table, for what is mapped.
    Mapped(Arc<Module>),
    /// Those of a program that will be executed soon.
    Soon(PathBuf),
}

/// The thread, and the ways to it and back. It ends when this is dropped.
#[derive(Debug)]
pub struct Loader {
    wanted: Sender<Wanted>,
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
        let (wanted, jobs) = channel();
        let (answer, made) = channel();
        let mut tables = Tables { cache, stack_end, early: Vec::new() };
        std::thread::spawn(move || {
            for job in jobs {
                let module = match job {
                    Wanted::Mapped(module) => module,
                    Wanted::Soon(program) => {
                        let _ = catch_unwind(AssertUnwindSafe(|| tables.make_early(&program)));
                        continue;
                    }
                };
                // A file that no test has thought of costs its own table, not those of all others.
                let table = catch_unwind(AssertUnwindSafe(|| tables.of(&module)));
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
        self.waiting += usize::from(self.wanted.send(Wanted::Mapped(module)).is_ok());
    }

    /// Has the tables made of what a program maps when it begins: they are there once those are made that are wanted after it.
    pub fn expect(&mut self, program: PathBuf) {
        let _ = self.wanted.send(Wanted::Soon(program));
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

/// Where tables come from.
struct Tables {
    cache: Option<Cache>,
    stack_end: StackEnd,
    /// Those of files that will be mapped soon.
    early: Vec<([u64; 7], Result<Table, NoTable>)>,
}

impl Tables {
    fn of(&mut self, module: &Module) -> Result<Table, NoTable> {
        let path = module.symbols_path.as_ref().ok_or(NoTable::Absent)?;
        let file = File::open(path).map_err(|error| NoTable::Unreadable(error.to_string()))?;
        let of_file = identity(&file);
        match self.early.iter().position(|(early, _)| Some(*early) == of_file) {
            Some(at) => self.early.swap_remove(at).1,
            None => self.load(&file),
        }
    }

    fn make_early(&mut self, program: &Path) {
        for file in first_mapped(program) {
            if let Some(of_file) = identity(&file) {
                let table = self.load(&file);
                self.early.push((of_file, table));
            }
        }
    }

    fn load(&self, file: &File) -> Result<Table, NoTable> {
        if let Some(table) = self.cache.as_ref().and_then(|cache| cache.get(file)) {
            return Ok(table);
        }
        match &self.cache {
            Some(cache) => cache.keep(file, || read(file, self.stack_end)),
            None => read(file, self.stack_end),
        }
    }
}
