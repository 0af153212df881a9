//! The thread that names and stores windows, so that slow symbols or a slow disk never keep the kernel's maps waiting.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
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

/// The recording, why some names could not be had, and whether all was stored.
type Written = (Writer, Vec<String>, Result<(), StoreError>);

/// The thread, and the way to it.
pub(super) struct StoreThread {
    sender: SyncSender<LocatedWindow>,
    thread: JoinHandle<Written>,
    dropped: Option<LocatedWindow>,
}

impl StoreThread {
    pub(super) fn start(writer: Writer, names: NameOptions, java_map: bool) -> Self {
        let (sender, receiver) = sync_channel(BACKLOG);
        let thread = std::thread::spawn(move || write_all(writer, names, java_map, &receiver));
        Self { sender, thread, dropped: None }
    }

    /// Hands a window on, and says whether it still can be stored; if not, [`Self::finish`] tells why. A window that finds
    /// the backlog full becomes a counted loss of the next.
    pub(super) fn send(&mut self, mut window: LocatedWindow) -> bool {
        if let Some(dropped) = self.dropped.take() {
            window.absorb(&dropped, RECORDER_SLOW);
        }
        match self.sender.try_send(window) {
            Ok(()) => true,
            Err(TrySendError::Full(window)) => {
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

fn write_all(mut writer: Writer, names: NameOptions, java_map: bool, windows: &Receiver<LocatedWindow>) -> Written {
    let mut names = Names::new(names).asking_java(java_map);
    let stored = windows.iter().try_for_each(|mut window| {
        names.locate_generated(&mut window);
        writer.rename(&names.take_late())?;
        writer.window(&window, &mut names)
    });
    let stored = stored.and_then(|()| writer.rename(&names.take_last()));
    let unnamed = names.refused().into_iter().chain(names.warning()).collect();
    (writer, unnamed, stored)
}
