//! Folded stacks as perfprobe writes them: `comm;outermost;...;leaf count`.

use std::path::Path;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The thread's name, then the frames from outermost to leaf.
    pub labels: Vec<String>,
    /// Samples.
    pub count: u64,
}

impl Line {
    /// The thread's name.
    #[must_use]
    pub fn comm(&self) -> &str {
        &self.labels[0]
    }

    /// The frames, outermost first, with their suffixes.
    #[must_use]
    pub fn frames(&self) -> &[String] {
        &self.labels[1..]
    }

    /// Whether some frame has this label, suffix included.
    #[must_use]
    pub fn has(&self, label: &str) -> bool {
        self.frames().iter().any(|frame| frame == label)
    }

    /// Whether `chain` stands in the stack, frame on frame without a gap.
    #[must_use]
    pub fn has_chain(&self, chain: &[&str]) -> bool {
        self.frames().windows(chain.len()).any(|frames| frames == chain)
    }

    /// Whether the frames `wanted` stand in the stack one below the other, the outermost first, others between them.
    #[must_use]
    pub fn in_order(&self, wanted: &[&str]) -> bool {
        let mut wanted = wanted.iter().peekable();
        for frame in self.frames() {
            if wanted.peek().is_some_and(|next| frame == **next) {
                wanted.next();
            }
        }
        wanted.peek().is_none()
    }
}

/// A folded file.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// All lines.
    pub lines: Vec<Line>,
}

impl Folded {
    /// Reads and checks the file at `path`.
    ///
    /// # Panics
    /// If a line is malformed.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let bytes =
            std::fs::read(path).unwrap_or_else(|error| panic!("read the folded stacks {}: {error}", path.display()));
        Self::parse(&String::from_utf8(bytes).expect("folded stacks are UTF-8"))
    }

    /// Checks and takes apart `text`.
    ///
    /// # Panics
    /// If a line is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let parse_line = |line: &str| {
            let (labels, count) =
                line.rsplit_once(' ').unwrap_or_else(|| panic!("no count in the folded line {line:?}"));
            let labels: Vec<String> = labels.split(';').map(str::to_owned).collect();
            assert!(labels.iter().all(|label| !label.is_empty()), "an empty frame in the folded line {line:?}");
            let count = count.parse().unwrap_or_else(|_| panic!("no count in the folded line {line:?}"));
            Line { labels, count }
        };
        Self { lines: text.lines().map(parse_line).collect() }
    }

    /// All samples.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.count(|_| true)
    }

    /// The samples of the lines that `wanted` picks.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(&Line) -> bool) -> u64 {
        self.lines.iter().filter(|line| wanted(line)).map(|line| line.count).sum()
    }

    /// The percentage of all samples in the lines that `wanted` picks; 0 where there are none.
    #[must_use]
    pub fn share(&self, wanted: impl Fn(&Line) -> bool) -> f64 {
        100.0 * self.count(wanted) as f64 / self.total().max(1) as f64
    }

    /// The lines with the most samples, for a message.
    #[must_use]
    pub fn top(&self) -> String {
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        lines.iter().take(12).map(|line| format!("{:>7} {}\n", line.count, line.labels.join(";"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Folded;

    #[test]
    fn folded_lines_are_taken_apart() {
        let folded = Folded::parse("my prog;main;work 7\nmy prog;main;read_[k] 3\n");
        assert_eq!(folded.total(), 10);
        assert_eq!(folded.count(|line| line.has("work")), 7);
        assert!(folded.lines[0].has_chain(&["main", "work"]));
        assert_eq!(folded.lines[1].comm(), "my prog");
        assert!((folded.share(|line| line.has("read_[k]")) - 30.0).abs() < 1e-9);
    }
}
