//! The threads of the target, as they are now.

use aya_ebpf::{macros::map, maps::HashMap};
use perf_ebpf::sched::Thread;

use super::marks::is_marked;

/// The threads of the target, by their ids.
#[map]
pub(super) static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(1, 0);

/// A thread of the target.
#[inline(always)]
pub(super) fn known(tid: u32) -> Option<*mut Thread> {
    if is_marked(tid) { THREADS.get_ptr_mut(&tid) } else { None }
}

/// Changes a thread so that who copies it meanwhile can tell. Threads are changed by the CPU that switches to or from them,
/// and by others that wake them: rarely at once, and then a copy is of no moment until the next change.
#[inline(always)]
pub(super) fn change(thread: &mut Thread, how: impl FnOnce(&mut Thread)) {
    begin_change(thread);
    how(thread);
    end_change(thread);
}

/// The first part of [`change`].
#[inline(always)]
pub(super) fn begin_change(thread: &mut Thread) {
    let after = &raw mut thread.changes_after;
    // SAFETY: from a reference; volatile, so that the writes stay in their order.
    unsafe { after.write_volatile(after.read_volatile().wrapping_add(1)) };
}

/// The last one: whatever has been changed meanwhile, too.
#[inline(always)]
pub(super) fn end_change(thread: &mut Thread) {
    let (changes, after) = (&raw mut thread.changes, &raw const thread.changes_after);
    // SAFETY: as above.
    unsafe { changes.write_volatile(after.read_volatile()) };
}
