//! Locks of the kernel in words.

use perf_ebpf::kernel_lock::{MAPPINGS, MUTEX, PERCPU, READ, RT, SPIN, WRITE};

/// What kind of lock is waited for, and how, by the bits of [`perf_ebpf::kernel_lock`].
#[must_use]
pub fn kernel_lock_kind(how: u32) -> &'static str {
    let any = |bits: u32| how & bits != 0;
    match how {
        _ if any(MAPPINGS) && any(WRITE) => "mmap_lock, writing",
        _ if any(MAPPINGS) => "mmap_lock, reading",
        _ if any(MUTEX) => "mutex",
        _ if any(PERCPU) && any(WRITE) => "percpu-rwsem, writing",
        _ if any(PERCPU) => "percpu-rwsem, reading",
        _ if any(RT) => "rt-mutex",
        _ if any(SPIN) && any(WRITE) => "rwlock, writing",
        _ if any(SPIN) && any(READ) => "rwlock, reading",
        _ if any(SPIN) => "spinlock",
        _ if any(WRITE) => "rwsem, writing",
        _ if any(READ) => "rwsem, reading",
        _ => "semaphore",
    }
}

/// Functions of the kernel by which it takes locks begin with one of these: which took one is told by who called them.
const TAKES: [&str; 26] = [
    "native_queued_spin_lock",
    "queued_spin_lock",
    "queued_read_lock",
    "queued_write_lock",
    "resilient_queued_spin_lock",
    "__pv_queued_spin_lock",
    "_raw_spin_",
    "_raw_read_",
    "_raw_write_",
    "do_raw_",
    "mutex_lock",
    "__mutex_lock",
    "ww_mutex_lock",
    "mutex_optimistic_spin",
    "down_",
    "__down_",
    "___down_",
    "rwsem_",
    "percpu_down_",
    "__percpu_down_",
    "percpu_rwsem_",
    "rt_mutex_",
    "__rt_mutex_",
    "rt_spin_lock",
    "rtlock_",
    "__traceiter_contention_",
];

/// Whether a function of the kernel does no more than take a lock.
#[must_use]
pub fn takes_kernel_lock(function: &str) -> bool {
    function == "down" || TAKES.iter().any(|beginning| function.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_bits_of_the_event() {
        assert_eq!(kernel_lock_kind(SPIN), "spinlock");
        assert_eq!(kernel_lock_kind(SPIN | READ), "rwlock, reading");
        assert_eq!(kernel_lock_kind(MUTEX | SPIN), "mutex");
        assert_eq!(kernel_lock_kind(WRITE | MAPPINGS), "mmap_lock, writing");
        assert_eq!(kernel_lock_kind(PERCPU | READ), "percpu-rwsem, reading");
        assert_eq!(kernel_lock_kind(0), "semaphore");
    }

    #[test]
    fn who_takes_a_lock_is_not_who_only_does_so_for_others() {
        assert!(takes_kernel_lock("_raw_spin_lock_irqsave") && takes_kernel_lock("down_write_killable"));
        assert!(takes_kernel_lock("__mutex_lock.constprop.0") && !takes_kernel_lock("ext4_file_write_iter"));
    }
}
