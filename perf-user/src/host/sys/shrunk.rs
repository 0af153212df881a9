//! Reading mapped files that somebody else may cut short meanwhile.

use std::{
    mem, ptr,
    sync::{
        Once,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
            compiler_fence,
        },
    },
};

// What the handler reads and writes between two lines of a function: atomic, with fences around what may raise the signal, or
// the compiler joins the lines.
thread_local! {
    /// Whether this thread is within [`with_files_that_shrink`].
    static EXPECTED: AtomicBool = const { AtomicBool::new(false) };
    /// Whether it has met a page that was not there any more.
    static MET: AtomicBool = const { AtomicBool::new(false) };
}

/// Runs something that reads mapped files; whether one of them was shorter than its mapping. What was read behind its end
/// was zeros then, instead of the signal that would end the process, and what came of it is not to be relied on.
pub fn with_files_that_shrink<T>(read: impl FnOnce() -> T) -> (T, bool) {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(handle);
    MET.with(|met| met.store(false, Relaxed));
    EXPECTED.with(|expected| expected.store(true, Relaxed));
    compiler_fence(SeqCst);
    let result = read();
    compiler_fence(SeqCst);
    EXPECTED.with(|expected| expected.store(false, Relaxed));
    (result, MET.with(|met| met.load(Relaxed)))
}

fn handle() {
    // SAFETY: the structure is initialized in full, and the handler is of the form that the flags promise.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

/// `si_code` of a page behind the end of a file.
const BUS_ADRERR: i32 = 2;

/// Puts a page of zeros where a file's page is missing; any other bus error ends the process, as it would without this.
extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `info`. Both system calls may be made in a handler; the page is one that could not be
    // read, in a thread that reads nothing but files of others.
    unsafe {
        let errno = *libc::__errno_location();
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let start = (*info).si_addr() as usize / page * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let replaced = (*info).si_code == BUS_ADRERR
            && EXPECTED.with(|expected| expected.load(Relaxed))
            && libc::mmap(start as *mut libc::c_void, page, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED;
        *libc::__errno_location() = errno;
        if replaced {
            MET.with(|met| met.store(true, Relaxed));
        } else {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_file_cut_short_reads_as_zeros_and_is_told() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * 4096).unwrap();
        // SAFETY: a fresh mapping of a file of that length.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), 3 * 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(base, libc::MAP_FAILED);
        // SAFETY: within the mapping.
        let read = |offset: usize| unsafe { base.cast::<u8>().add(offset).read_volatile() };
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 100], 0).unwrap();
        assert_eq!(with_files_that_shrink(|| read(99)), (7, false));
        file.set_len(50).unwrap();
        assert_eq!(with_files_that_shrink(|| (read(49), read(2 * 4096 + 5))), ((7, 0), true));
        assert_eq!(with_files_that_shrink(|| read(0)), (7, false));
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(base, 3 * 4096) };
    }
}
