//! A table while it is made, and when it is done.

use perf_ebpf::unwind::{PAGE_BITS, Row, Rule};

/// Code between two functions that is shorter than this is filling, and nothing runs there.
const FILLING_BYTES: u64 = 16;

/// The kernel's maps hold fewer pages. A file with holes can be of any length, and have code at both ends.
const MAX_PAGES: u64 = 1 << 20;

/// How to get from a frame of a file to its caller: rows in the order of file offsets, found through an index of pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// For each page of [`PAGE_BITS`] bits of file offset from [`Self::first_page`] on, its first row; then their number.
    pub pages: Vec<u32>,
    /// The page of the first row.
    pub first_page: u64,
    /// The rows. Each page that has any begins with one for its first byte.
    pub rows: Vec<Row>,
}

impl Table {
    /// What holds at a file offset; `None` outside of the table.
    #[must_use]
    pub fn find(&self, offset: u64) -> Option<Row> {
        let page = usize::try_from((offset >> PAGE_BITS).checked_sub(self.first_page)?).ok()?;
        let (first, end) = (*self.pages.get(page)? as usize, *self.pages.get(page + 1)? as usize);
        let rows = &self.rows[first..end];
        let after = rows.partition_point(|row| row.low() <= offset as u16);
        rows.get(after.checked_sub(1)?).copied()
    }
}

/// Stretches of code with their rules, in the order in which a file lists them.
#[derive(Debug)]
pub(super) struct Stretches {
    /// Where each stretch begins and ends, and its first row in `rows`.
    all: Vec<(u64, u64, u32)>,
    rows: Vec<(u64, Rule)>,
    room: usize,
}

impl Stretches {
    /// None yet, and room for so many rows.
    pub(super) fn with_room(rows: usize) -> Self {
        Self { all: Vec::new(), rows: Vec::new(), room: rows }
    }

    /// Begins the stretch of one function.
    pub(super) fn begin(&mut self, (start, end): (u64, u64)) {
        self.all.push((start, end, self.rows.len() as u32));
    }

    /// Adds what holds in that stretch from `start` on.
    pub(super) fn add(&mut self, start: u64, rule: Rule) {
        self.rows.push((start, rule));
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there is room for no more rows.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= self.room
    }

    /// What is left of these parts of the file when all stretches are taken out, but for what is only filling.
    pub(super) fn gaps(&self, parts: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut taken: Vec<_> = self.all.iter().map(|(start, end, _)| (*start, *end)).collect();
        taken.sort_unstable();
        let mut gaps = Vec::new();
        for (start, end) in parts {
            let mut at = *start;
            for (from, until) in &taken {
                if *from >= *end {
                    break;
                }
                gaps.push((at, *from));
                at = at.max(*until);
            }
            gaps.push((at, *end));
        }
        gaps.retain(|(start, end)| end.saturating_sub(*start) >= FILLING_BYTES);
        gaps.sort_unstable();
        gaps
    }

    /// Adds one rule from `start` up to the next stretch, at most to `end`, if there is none at `start`.
    pub(super) fn fill(&mut self, start: u64, end: u64, rule: Rule) {
        let covered = |(from, until, _): &(u64, u64, u32)| *from <= start && start < *until;
        let next = self.all.iter().map(|(from, ..)| *from).filter(|from| *from > start).min();
        if !self.all.iter().any(covered) {
            self.begin((start, next.map_or(end, |next| next.min(end))));
            self.add(start, rule);
        }
    }

    /// The table of all stretches; `None` if they lie too far apart. Where two overlap, the one that was added first holds.
    pub(super) fn into_table(self) -> Option<Table> {
        let Self { all, rows, .. } = self;
        let first = all.iter().map(|(start, ..)| *start).min()?;
        let last = all.iter().map(|(_, end, _)| *end).max()?;
        if (last >> PAGE_BITS) - (first >> PAGE_BITS) >= MAX_PAGES {
            return None;
        }
        let ends = all.iter().skip(1).map(|(_, _, first)| *first).chain([rows.len() as u32]);
        let mut stretches: Vec<_> =
            all.iter().zip(ends).map(|((start, end, first), last)| (*start, *end, *first, last)).collect();
        stretches.sort_by_key(|(start, _, first, _)| (*start, *first));
        let mut maker = Maker::default();
        let mut told = 0;
        for (start, end, first, last) in stretches {
            if end <= told {
                continue;
            }
            if told > 0 && start >= told + FILLING_BYTES {
                maker.push(told, Rule::UNKNOWN);
            }
            if first == last {
                // It could not be read: what holds before it does not hold in it.
                maker.push(start.max(told), Rule::UNKNOWN);
            }
            let mut own = rows[first as usize..last as usize].iter().peekable();
            while let Some((from, rule)) = own.next() {
                let until = own.peek().map_or(end, |(next, _)| *next);
                if until > told {
                    maker.push((*from).max(told).max(start), *rule);
                }
            }
            told = end;
        }
        maker.push(told, Rule::UNKNOWN);
        Some(maker.table)
    }
}

/// Appends rows in the order of their offsets.
#[derive(Debug, Default)]
struct Maker {
    table: Table,
    /// The last row's rule, and the page it is on.
    last: Option<(u64, Rule)>,
}

impl Maker {
    fn push(&mut self, start: u64, rule: Rule) {
        let page = start >> PAGE_BITS;
        match self.last {
            None => {
                self.table.first_page = page;
                self.table.pages.extend([0, 0]);
                self.row(page << PAGE_BITS, Rule::UNKNOWN);
            }
            Some((last_page, last)) => {
                if last == rule && last_page == page {
                    return;
                }
                // What held at the end of a page holds at the beginning of the next.
                for next in last_page + 1..=page {
                    self.table.pages.push(0);
                    self.row(next << PAGE_BITS, last);
                }
            }
        }
        if self.table.rows.last().is_some_and(|row| row.low() == start as u16) {
            self.table.rows.pop();
        }
        self.row(start, rule);
        self.last = Some((page, rule));
    }

    fn row(&mut self, start: u64, rule: Rule) {
        let page = ((start >> PAGE_BITS) - self.table.first_page) as usize;
        self.table.rows.push(Row::new(start, rule));
        self.table.pages[page + 1] = self.table.rows.len() as u32;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use perf_ebpf::unwind::{Cfa, SavedFp};

    use super::*;

    fn sp(offset: i32) -> Rule {
        Rule::of(Cfa::Sp, SavedFp::Kept, offset)
    }

    /// Start, end, and rows of a start and an offset.
    type Stretch = (u64, u64, &'static [(u64, i32)]);

    fn stretches(stretches: &[Stretch]) -> Stretches {
        let mut made = Stretches::with_room(100);
        for (start, end, rows) in stretches {
            made.begin((*start, *end));
            rows.iter().for_each(|(from, offset)| made.add(*from, sp(*offset)));
        }
        made
    }

    fn table(list: &[Stretch]) -> Table {
        stretches(list).into_table().unwrap()
    }

    fn found(table: &Table, offset: u64) -> Option<i32> {
        table.find(offset).filter(|row| row.kind() != Cfa::Unknown as u8).map(Row::offset)
    }

    #[test]
    fn rows_hold_until_the_next_across_pages_and_not_between_functions() {
        let table = table(&[
            (0x3_0000, 0x3_0100, &[(0x3_0000, 8), (0x3_0010, 16)]),
            (0x1_ff00, 0x2_0100, &[(0x1_ff00, 8), (0x1_ff80, 32)]),
            (0x3_0108, 0x3_0200, &[(0x3_0108, 24)]),
        ]);
        let expected = [
            (0x1_0000, None),
            (0x1_feff, None),
            (0x1_ff00, Some(8)),
            (0x1_ffff, Some(32)),
            (0x2_0000, Some(32)),
            (0x2_00ff, Some(32)),
            (0x2_0100, None),
            (0x2_ffff, None),
            (0x3_0000, Some(8)),
            (0x3_000f, Some(8)),
            (0x3_00ff, Some(16)),
            (0x3_0108, Some(24)),
            (0x3_0200, None),
            (0x9_0000, None),
        ];
        for (offset, rule) in expected {
            assert_eq!(found(&table, offset), rule, "{offset:#x}");
        }
        assert_eq!(table.find(0), None);
    }

    #[test]
    fn what_was_added_first_holds_where_two_overlap() {
        let table = table(&[(0x100, 0x200, &[(0x100, 8)]), (0x180, 0x280, &[(0x180, 16), (0x1f0, 24), (0x240, 32)])]);
        let expected = [(0x100, Some(8)), (0x1ff, Some(8)), (0x200, Some(24)), (0x240, Some(32)), (0x280, None)];
        for (offset, rule) in expected {
            assert_eq!(found(&table, offset), rule, "{offset:#x}");
        }
    }

    #[test]
    fn a_gap_is_filled_up_to_the_next_function_and_nothing_is_covered() {
        let mut made = Stretches::with_room(100);
        for (start, end) in [(0x100, 0x120), (0x148, 0x200)] {
            made.begin((start, end));
            made.add(start, sp(8));
        }
        made.fill(0x120, 0x160, sp(99));
        made.fill(0x100, 0x160, sp(77));
        made.fill(0x400, 0x440, sp(55));
        let table = made.into_table().unwrap();
        let expected = [(0x11f, Some(8)), (0x120, Some(99)), (0x147, Some(99)), (0x148, Some(8)), (0x43f, Some(55))];
        for (offset, rule) in expected {
            assert_eq!(found(&table, offset), rule, "{offset:#x}");
        }
    }

    #[test]
    fn gaps_are_what_no_stretch_covers() {
        let mut made = Stretches::with_room(usize::MAX);
        for stretch in [(0x148, 0x200), (0x100, 0x140), (0x240, 0x280), (0x250, 0x260)] {
            made.begin(stretch);
        }
        assert_eq!(
            made.gaps(&[(0x80, 0x300), (0x400, 0x420)]),
            [(0x80, 0x100), (0x200, 0x240), (0x280, 0x300), (0x400, 0x420)]
        );
        assert_eq!(made.gaps(&[(0x110, 0x130), (0x1f0, 0x230)]), [(0x200, 0x230)]);
    }

    #[test]
    fn a_function_whose_rows_cannot_be_read_has_no_rules_of_another() {
        let table = table(&[(0x100, 0x200, &[(0x100, 8)]), (0x200, 0x300, &[]), (0x300, 0x400, &[(0x300, 16)])]);
        let expected = [(0x1ff, Some(8)), (0x200, None), (0x2ff, None), (0x300, Some(16))];
        for (offset, rule) in expected {
            assert_eq!(found(&table, offset), rule, "{offset:#x}");
        }
    }

    #[test]
    fn code_at_both_ends_of_a_long_file_with_holes_makes_no_table() {
        let at = |start: u64| {
            stretches(&[(0x100, 0x200, &[(0x100, 8)]), (start, start + 0x100, &[(0x100, 8)])]).into_table()
        };
        assert!(at(1 << 60).is_none());
        assert!(at(MAX_PAGES << PAGE_BITS).is_none());
        assert!(at((MAX_PAGES << PAGE_BITS) - 0x1000).is_some());
    }

    #[test]
    fn rows_that_say_the_same_are_one() {
        let table = table(&[(0x100, 0x200, &[(0x100, 8), (0x180, 8)]), (0x200, 0x300, &[(0x200, 8)])]);
        assert_eq!(table.rows.len(), 3, "the page's start, one for both functions, the end: {table:?}");
    }
}
