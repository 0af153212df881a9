//! What the kernel's own variables are called.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

/// The kernel's variables by address, read from `/proc/kallsyms` when one is first asked for: that takes a tenth of a second.
#[derive(Debug, Default)]
pub struct KernelVariables {
    known: Option<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Where each variable is, and where its name begins in `names`; sorted.
    addresses: Vec<(u64, u32)>,
    /// One after another, each with a zero behind it.
    names: String,
}

/// A variable that reaches further than this is none: there is no name for what lies there.
const MOST_BYTES: u64 = 1 << 16;

/// Names that begin so are those of sections' beginnings and ends.
const BOUNDS: [&str; 5] = ["__start_", "__stop_", "_sdata", "_edata", "__bss_"];

/// A kernel that names fewer names none but the bounds of its sections (`CONFIG_KALLSYMS_ALL` is not set).
const LEAST: usize = 1_000;

impl KernelVariables {
    /// The variable at this address, `tasklist_lock`, or one that it lies in, `init_task+0x8`; `None` if the kernel does not tell.
    pub fn name(&mut self, address: u64) -> Option<String> {
        self.known.get_or_insert_with(read).name(address)
    }
}

impl Known {
    fn add(&mut self, line: &str) {
        let mut parts = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else { return };
        let Ok(address) = u64::from_str_radix(address, 16) else { return };
        let is_bound = BOUNDS.iter().any(|beginning| name.starts_with(beginning));
        if !matches!(kind, "b" | "B" | "d" | "D") || address == 0 || is_bound {
            return;
        }
        self.addresses.push((address, self.names.len() as u32));
        self.names.push_str(name);
        self.names.push('\0');
    }

    fn name(&self, address: u64) -> Option<String> {
        let at = self.addresses.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (start, name) = *self.addresses.get(at)?;
        let name = self.names.get(name as usize..)?.split('\0').next()?;
        match address - start {
            0 => Some(name.to_owned()),
            within if within < MOST_BYTES => Some(format!("{name}+{within:#x}")),
            _ => None,
        }
    }
}

fn read() -> Known {
    let mut known = Known::default();
    let Ok(file) = File::open("/proc/kallsyms") else { return known };
    let (mut reader, mut line) = (BufReader::new(file), String::new());
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        known.add(&line);
        line.clear();
    }
    if known.addresses.len() < LEAST {
        return Known::default();
    }
    known.addresses.sort_unstable();
    known.addresses.dedup_by_key(|(address, _)| *address);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within_a_variable_is_named_by_it() {
        let mut known = Known::default();
        let lines = [
            "ffffffff81000000 T _text",
            "ffffffff82000000 D init_task",
            "ffffffff82001000 b tasklist_lock",
            "ffffffffc0001000 d ext4_li_mtx\t[ext4]",
            "0000000000000000 D hidden",
            "ffffffff82001000 D __start_init_stack",
            "not a line",
        ];
        lines.iter().for_each(|line| known.add(line));
        let name = |address| known.name(address);
        assert_eq!(name(0xffff_ffff_8200_1000).as_deref(), Some("tasklist_lock"));
        assert_eq!(name(0xffff_ffff_8200_0008).as_deref(), Some("init_task+0x8"));
        assert_eq!(name(0xffff_ffff_c000_1000).as_deref(), Some("ext4_li_mtx"));
        assert_eq!(name(0xffff_ffff_8100_0000), None, "no variable lies before");
        assert_eq!(name(0xffff_ffff_8300_0000), None, "nothing is as large");
    }
}
