//! Which stacks are whole: the outermost frame is where a thread begins.

use std::collections::BTreeMap;

/// Where threads begin, by the names that C libraries give these places.
const ENTRIES: &[&str] = &[
    "_start",
    "_start_c",
    "__libc_start_main",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "start_thread",
    "_dl_start_user",
];

/// What perfprobe says of a process whose memory the kernel has taken back.
const ENDING: &str = "[unwound no further: the process was ending]";

/// Samples of one program.
#[derive(Default)]
pub(super) struct Stacks {
    pub(super) all: u64,
    whole: u64,
    /// Beside `all`: samples at which there was no user stack to be walked, because the process was ending and had given its
    /// memory back, or had not yet come to user space. perf keeps no user stack of these.
    pub(super) without: u64,
    /// What the others end with.
    ends: BTreeMap<String, u64>,
}

impl Stacks {
    /// From `comm;outermost;...;leaf count`.
    pub(super) fn of_folded(text: &str, comm: &str) -> Self {
        let mut stacks = Self::default();
        for line in text.lines() {
            let Some((stack, count)) = line.rsplit_once(' ') else { continue };
            let mut frames = stack.split(';');
            if frames.next() != Some(comm) {
                continue;
            }
            // Threads of the kernel, and samples in the kernel before the first return to user space, have no user frame.
            let outermost = frames.next().filter(|frame| !frame.ends_with("_[k]"));
            let number = count.parse().unwrap_or(0);
            if outermost.is_none_or(|frame| frame == ENDING) {
                stacks.without += number;
                continue;
            }
            let end = match outermost {
                Some(frame) if frame.starts_with("[unwound") => {
                    format!("{frame} in {}", frames.next().unwrap_or("nothing"))
                }
                other => other.unwrap_or_default().to_owned(),
            };
            stacks.add(&end, number);
        }
        stacks
    }

    /// From `perf script -F comm,ip,sym,dso`: a line of the thread's name, then a frame a line, leaf first.
    pub(super) fn of_perf(text: &str, comm: &str) -> Self {
        let mut stacks = Self::default();
        for sample in text.split("\n\n") {
            let mut lines = sample.trim_start_matches('\n').lines();
            if lines.next().map(str::trim) != Some(comm) {
                continue;
            }
            let outermost = lines.last().map(str::trim).unwrap_or_default();
            let (_address, frame) = outermost.split_once(' ').unwrap_or_default();
            let (symbol, object) = frame.rsplit_once(" (").unwrap_or((frame, ""));
            if object == "[kernel.kallsyms])" || object.ends_with(".ko)") {
                stacks.without += 1;
                continue;
            }
            let symbol = symbol.split('+').next().unwrap_or_default();
            let end =
                if symbol == "[unknown]" && object != "[unknown])" { format!("[{object}+0x") } else { symbol.into() };
            stacks.add(&end, 1);
        }
        stacks
    }

    /// A place without a name counts as an entry, for both tools: the entry of a stripped program has none.
    fn add(&mut self, end: &str, count: u64) {
        self.all += count;
        if ENTRIES.contains(&end) || end.starts_with('[') && end.contains("+0x") {
            self.whole += count;
        } else {
            *self.ends.entry(end.to_owned()).or_default() += count;
        }
    }

    /// The percentage of whole ones.
    pub(super) fn share(&self) -> String {
        if self.all == 0 { String::from("–") } else { format!("{:.1}", 100.0 * self.whole as f64 / self.all as f64) }
    }

    /// How most of the others end.
    pub(super) fn worst(&self) -> Option<String> {
        let (end, count) = self.ends.iter().max_by_key(|(_, count)| **count)?;
        Some(format!("{count}: `{}`", end.replace('|', "/")))
    }
}

#[cfg(test)]
mod tests {
    use super::Stacks;

    #[test]
    fn what_reaches_an_entry_is_whole() {
        let folded = "a;_start;main;f 90\na;[prog+0x10];f 5\na;[unwound no further: x];g;f 3\na;syscall_[k] 2\nb;f 7\n\
            a;[unwound no further: the process was ending];_exit 4\n";
        let own = Stacks::of_folded(folded, "a");
        assert_eq!((own.all, own.whole, own.without), (98, 95, 6));
        assert_eq!(own.worst().as_deref(), Some("3: `[unwound no further: x] in g`"));
        let script = "a \n\t 401 f (/bin/a)\n\t 402 _start+0x1 (/bin/a)\n\na \n\t 401 f (/bin/a)\n\nb \n\t 4 g (/bin/b)\n\n\
            a \n\t 401 f (/bin/a)\n\t 402 [unknown] (/bin/a)\n\na \n\t 401 f (/bin/a)\n\t 402 [unknown] ([unknown])\n\n\
            a \n\t ff1 do_exit ([kernel.kallsyms])\n";
        let perf = Stacks::of_perf(script, "a");
        assert_eq!((perf.all, perf.whole, perf.without), (4, 2, 1));
    }
}
