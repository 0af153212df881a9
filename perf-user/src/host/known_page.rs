//! A page of this process's own whose physical address is known, and which no other page equals.

use std::{
    fs::{self, File},
    hash::{BuildHasher as _, RandomState},
    os::unix::fs::FileExt as _,
};

use super::sys;

/// The page. It lies where it does as long as this is held and nobody writes to it: unless the kernel is told to move memory together.
#[derive(Debug)]
pub struct KnownPage {
    _memory: Vec<u64>,
    value: u64,
    physical: u64,
}

impl KnownPage {
    /// Makes one; `None` if the kernel does not tell this user where memory lies, for which it takes `CAP_SYS_ADMIN`.
    #[must_use]
    pub fn new() -> Option<Self> {
        const PRESENT: u64 = 1 << 63;
        const FRAME: u64 = (1 << 55) - 1;
        let words = sys::page_bytes() as usize / size_of::<u64>();
        let value = RandomState::new().hash_one(sys::monotonic_ns());
        // In the middle of two pages, so that one of them is whole.
        let memory = vec![value; 2 * words];
        let address = &raw const memory[words] as u64;
        let entry = File::open("/proc/self/pagemap").ok()?;
        let mut word = [0; 8];
        entry.read_exact_at(&mut word, address / sys::page_bytes() * 8).ok()?;
        let word = u64::from_ne_bytes(word);
        let frame = word & FRAME;
        let physical = frame * sys::page_bytes() + address % sys::page_bytes();
        (word & PRESENT != 0 && frame != 0).then_some(Self { _memory: memory, value, physical })
    }

    /// What stands at its address.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The physical address of a word of it.
    #[must_use]
    pub fn physical(&self) -> u64 {
        self.physical
    }
}

/// Where physical memory ends, as far as the kernel tells.
#[must_use]
pub fn memory_end() -> u64 {
    let memory = fs::read_to_string("/proc/iomem").unwrap_or_default();
    let ends = memory.lines().filter_map(|line| {
        let (range, _) = line.split_once(" : System RAM")?;
        u64::from_str_radix(range.trim().split_once('-')?.1, 16).ok()
    });
    ends.max().map_or(0, |last| last.saturating_add(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn it_lies_in_memory_if_the_kernel_tells() {
        let Some(page) = KnownPage::new() else {
            assert!(!sys::is_root() || memory_end() == 0, "root is told where its memory lies");
            return;
        };
        assert!(page.physical() > 0 && page.physical().is_multiple_of(8));
        assert!(memory_end() == 0 || page.physical() < memory_end());
        assert_ne!(page.value(), KnownPage::new().unwrap().value());
    }
}
