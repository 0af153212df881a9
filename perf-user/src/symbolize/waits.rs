//! Why threads wait, in words.

use perf_ebpf::memory::{ANONYMOUS, FILE, HEAP, HUGE, SHARED, STACK};
use perf_ebpf::sched::{
    AT_KERNEL_LOCK, INTERRUPTED, TASK_INTERRUPTIBLE, TASK_NOLOAD, TASK_STOPPED, TASK_UNINTERRUPTIBLE, system_call,
    task_state,
};

use crate::collect::Did;

/// What the frame is called that stands for what a thread did.
#[must_use]
pub fn name(did: Did) -> &'static str {
    match did {
        Did::Ran => "running",
        Did::WaitedForCpu => "waiting for a CPU",
        Did::Blocked => "blocked",
        Did::Waited(why) => reason(why),
        Did::Called(call) => super::calls::call_name(call).unwrap_or("unknown system call"),
        Did::AwaitedLock(how) => super::kernel_locks::kernel_lock_kind(how),
        Did::Touched(what) => memory_kind(what),
        Did::Asked(operation, _) => super::block::operation_label(operation),
    }
}

/// How the kinds of memory end that came in huge pages.
pub const HUGE_PAGES: &str = ", in huge pages";

/// What was touched for the first time: of [`perf_ebpf::memory`].
fn memory_kind(what: u32) -> &'static str {
    let is_huge = what & HUGE != 0;
    match what & !HUGE {
        HEAP if is_huge => "heap, in huge pages",
        HEAP => "heap",
        STACK => "stack",
        ANONYMOUS if is_huge => "anonymous memory, in huge pages",
        ANONYMOUS => "anonymous memory",
        FILE => "mapped file",
        SHARED => "shared memory",
        _ if is_huge => "memory, in huge pages",
        _ => "memory",
    }
}

/// A wait for a lock of the kernel's own, where the kernel tells of those.
const KERNEL_LOCK: &str = "kernel lock";

/// The reason by the task's state and the system call that it was in.
fn reason(why: u32) -> &'static str {
    let state = task_state(why);
    if state == 0 {
        // Preempted, and by the time it came back woken by nobody.
        return "waiting for a CPU";
    }
    if state & TASK_STOPPED != 0 {
        return "stopped";
    }
    if state & AT_KERNEL_LOCK != 0 {
        return KERNEL_LOCK;
    }
    if system_call(why) == INTERRUPTED {
        return if state & TASK_UNINTERRUPTIBLE != 0 { "page fault" } else { "interrupted" };
    }
    if state & TASK_UNINTERRUPTIBLE != 0 && state & TASK_NOLOAD == 0 {
        return match call(why) {
            Some(libc::SYS_vfork | libc::SYS_clone | libc::SYS_clone3) => "child",
            _ => "disk or kernel lock",
        };
    }
    if state & (TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE) == 0 {
        return "blocked";
    }
    match call(why) {
        Some(libc::SYS_nanosleep | libc::SYS_clock_nanosleep) => "sleep",
        Some(libc::SYS_futex | libc::SYS_futex_waitv | FUTEX_WAIT) => "futex",
        Some(libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 | libc::SYS_ppoll | libc::SYS_pselect6) => "poll",
        Some(libc::SYS_wait4 | libc::SYS_waitid) => "child",
        Some(libc::SYS_rt_sigtimedwait | libc::SYS_rt_sigsuspend) => "signal",
        Some(libc::SYS_accept | libc::SYS_accept4) => "accept",
        Some(
            libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
            | libc::SYS_connect,
        ) => "socket",
        Some(
            libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_pread64
            | libc::SYS_preadv
            | libc::SYS_preadv2
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_pwrite64
            | libc::SYS_pwritev
            | libc::SYS_pwritev2
            | libc::SYS_splice
            | libc::SYS_sendfile,
        ) => "pipe/socket/terminal",
        Some(libc::SYS_flock | libc::SYS_fcntl) => "file lock",
        Some(libc::SYS_io_uring_enter | libc::SYS_io_getevents) => "asynchronous I/O",
        #[cfg(target_arch = "x86_64")]
        Some(libc::SYS_epoll_wait | libc::SYS_poll | libc::SYS_select) => "poll",
        #[cfg(target_arch = "x86_64")]
        Some(libc::SYS_pause) => "signal",
        _ => "blocked",
    }
}

/// `futex_wait(2)`, Linux 6.7.
const FUTEX_WAIT: libc::c_long = 455;

fn call(why: u32) -> Option<libc::c_long> {
    let number = system_call(why);
    (number < NO_NUMBER).then_some(libc::c_long::from(number))
}

/// No system call has a number as large.
const NO_NUMBER: u32 = 0x1000;

#[cfg(test)]
mod tests {
    use perf_ebpf::sched::{NO_SYSTEM_CALL, TASK_WAKEKILL, why};

    use super::*;

    #[test]
    fn reasons_come_from_the_state_and_the_system_call() {
        let reason = |state, call: libc::c_long| reason(why(state, call as u32));
        assert_eq!(reason(TASK_INTERRUPTIBLE, libc::SYS_clock_nanosleep), "sleep");
        assert_eq!(reason(TASK_INTERRUPTIBLE, libc::SYS_futex), "futex");
        assert_eq!(reason(TASK_INTERRUPTIBLE, libc::SYS_read), "pipe/socket/terminal");
        assert_eq!(reason(TASK_UNINTERRUPTIBLE, libc::SYS_read), "disk or kernel lock");
        assert_eq!(reason(TASK_UNINTERRUPTIBLE | TASK_WAKEKILL, INTERRUPTED.into()), "page fault");
        assert_eq!(reason(4, libc::SYS_read), "stopped");
        assert_eq!(reason(TASK_UNINTERRUPTIBLE | AT_KERNEL_LOCK, libc::SYS_munmap), "kernel lock");
        assert_eq!(reason(0, NO_SYSTEM_CALL.into()), "waiting for a CPU");
        assert_eq!(reason(TASK_UNINTERRUPTIBLE | TASK_NOLOAD, NO_SYSTEM_CALL.into()), "blocked");
    }
}
