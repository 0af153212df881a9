//! What the recording thread waits for between two looks at the rings.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::Ended;
use crate::host::sys;

/// How often rings are looked at, and ends noticed.
const TICK_MS: i32 = 20;

/// Where news wake, they are looked at no sooner than this after the last: stacks in what was mapped meanwhile end early.
const LEAST_MS: i32 = 2;

/// Waits a tick, or less if one of the descriptors of `news` becomes readable; what ended the recording, if anything did.
pub(super) fn wait(
    signals: &OwnedFd,
    watched: &mut Vec<OwnedFd>,
    news: &[BorrowedFd<'_>],
    endless: bool,
    deadline: Option<u64>,
) -> Option<Ended> {
    let now = sys::monotonic_ns();
    let left_ms =
        deadline.map_or(TICK_MS, |deadline| (deadline.saturating_sub(now) / 1_000_000).min(TICK_MS as u64) as i32);
    let mut fds: Vec<BorrowedFd<'_>> =
        std::iter::once(signals.as_fd()).chain(watched.iter().map(|fd| fd.as_fd())).collect();
    let ends = fds.len();
    fds.extend_from_slice(news);
    let first_ms = if fds.len() > ends { left_ms.min(LEAST_MS) } else { left_ms };
    let mut ready = sys::poll_readable(&fds[..ends], first_ms);
    if first_ms < left_ms && !ready.contains(&true) {
        ready = sys::poll_readable(&fds, left_ms - first_ms);
    }
    if ready.first() == Some(&true)
        && let Some(signal) = sys::read_signal(signals.as_fd())
    {
        return Some(Ended::Signal(signal));
    }
    let mut ended = ready[1..ends].iter();
    watched.retain(|_| !ended.next().copied().unwrap_or(false));
    if !endless && watched.is_empty() {
        return Some(Ended::TargetEnded);
    }
    deadline.filter(|deadline| sys::monotonic_ns() >= *deadline).map(|_| Ended::Duration)
}
