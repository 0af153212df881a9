//! Which ids have anything to do with the target. Most events of a machine are others': one load tells, where a look into a hash
//! map would take many times as long.

use aya_ebpf::{macros::map, maps::Array};
use perf_ebpf::target::MARK_SLOTS;

/// Not 0 where the id of a process or thread of the target belongs. Marks stay: one that is not true any more costs a look.
#[map]
static MARKS: Array<u8> = Array::with_max_entries(MARK_SLOTS, 0);

/// Before the id is put into a map that is only asked for marked ones.
#[inline(always)]
pub(super) fn mark(id: u32) {
    if let Some(mark) = MARKS.get_ptr_mut(id & (MARK_SLOTS - 1)) {
        // SAFETY: the map's; all who write to it write the same.
        unsafe { *mark = 1 };
    }
}

/// Whether the id may be one of the target's: never false for those that are.
#[inline(always)]
pub(super) fn is_marked(id: u32) -> bool {
    MARKS.get(id & (MARK_SLOTS - 1)).is_some_and(|mark| *mark != 0)
}
