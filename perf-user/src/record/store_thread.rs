//! The thread that names and stores windows, so that slow symbols or a slow disk never keep the kernel's maps waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use crate::{
    store::{StoreError, Writer},
    symbolize::{NameOptions, Names},
    task::LocatedWindow,
};

/// The cause under which a window counts that could not be stored in time.
const RECORDER_SLOW: &str = "recorder_slow";

/// Windows that may wait to be stored: so many seconds of slowness cost nothing but memory.
const BACKLOG: usize = 60;

/// Frames in them, which are most of what they take: some 100 MB.
const BACKLOG_FRAMES: usize = 4 << 20;

/// The recording, why some names could not be had, and whether all was stored.
type Written = (Writer, Vec<String>, Result<(), StoreError>);

/// The thread, and the way to it.
pub(super) struct StoreThread {
    sender: SyncSender<LocatedWindow>,
    thread: JoinHandle<Written>,
    dropped: Option<LocatedWindow>,
    /// Frames in windows that wait.
    waiting: Arc<AtomicUsize>,
}

impl StoreThread {
    /// Starts it; `first` is what it does to the recording first.
    pub(super) fn start(
        writer: Writer,
        names: NameOptions,
        java_map: bool,
        first: impl FnOnce(&Writer) -> Result<(), StoreError> + Send + 'static,
    ) -> Self {
        let (sender, receiver) = sync_channel(BACKLOG);
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let thread = std::thread::spawn(move || match first(&writer) {
            Ok(()) => write_all(writer, names, java_map, &receiver, &left),
            Err(error) => (writer, Vec::new(), Err(error)),
        });
        Self { sender, thread, dropped: None, waiting }
    }

    /// Hands a window on, and says whether it still can be stored; if not, [`Self::finish`] tells why. A window that finds
    /// the backlog full becomes a counted loss of the next.
    pub(super) fn send(&mut self, mut window: LocatedWindow) -> bool {
        if let Some(dropped) = self.dropped.take() {
            window.absorb(&dropped, RECORDER_SLOW);
        }
        let (frames, waiting) = (frames_of(&window), self.waiting.load(Ordering::Relaxed));
        if waiting > 0 && waiting + frames > BACKLOG_FRAMES {
            self.dropped = Some(window);
            return !self.thread.is_finished();
        }
        self.waiting.fetch_add(frames, Ordering::Relaxed);
        match self.sender.try_send(window) {
            Ok(()) => true,
            Err(TrySendError::Full(window)) => {
                self.waiting.fetch_sub(frames, Ordering::Relaxed);
                self.dropped = Some(window);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Waits until all is stored.
    ///
    /// # Panics
    /// When the thread did.
    pub(super) fn finish(self) -> Written {
        if let Some(dropped) = self.dropped {
            // Nothing hurries any more: the last window waits for its place.
            let _ = self.sender.send(dropped);
        }
        drop(self.sender);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn frames_of(window: &LocatedWindow) -> usize {
    window.samples().map(|sample| sample.frames.len()).sum()
}

fn write_all(
    mut writer: Writer,
    names: NameOptions,
    java_map: bool,
    windows: &Receiver<LocatedWindow>,
    waiting: &AtomicUsize,
) -> Written {
    let mut names = Names::new(names).asking_java(java_map);
    let stored = windows.iter().try_for_each(|mut window| {
        waiting.fetch_sub(frames_of(&window), Ordering::Relaxed);
        names.locate_generated(&mut window);
        writer.rename(&names.take_late())?;
        writer.window(&window, &mut names)
    });
    let stored = stored.and_then(|()| writer.rename(&names.take_last()));
    let unnamed = names.refused().into_iter().chain(names.warning()).collect();
    (writer, unnamed, stored)
}
