//! How much memory a thread has allocated: what caches keep to is measured, not guessed.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, which counts for every thread what it allocates and frees.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

thread_local! {
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    BYTES.set(BYTES.get().wrapping_add(bytes));
}

/// Bytes that this thread has allocated so far, less those that it has freed; negative when it frees what others allocate.
#[must_use]
pub fn heap_bytes_of_thread() -> i64 {
    BYTES.get()
}

/// Gives memory that was freed back to the system, where the C library keeps it for later, as glibc does in the middle of a
/// heap. Takes milliseconds.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer.
    unsafe {
        libc::malloc_trim(0);
    }
}

// SAFETY: every call is passed on to the system's allocator as it is. Counting allocates nothing: the cell is part of the
// thread's static storage, and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes as i64 - layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_counts_until_it_is_freed() {
        let before = heap_bytes_of_thread();
        let mut block: Vec<u8> = Vec::with_capacity(1000);
        assert_eq!(heap_bytes_of_thread() - before, 1000);
        block.reserve_exact(5000);
        assert_eq!(heap_bytes_of_thread() - before, 5000);
        drop(block);
        assert_eq!(heap_bytes_of_thread(), before);
    }
}
