//! Which code lay where, and when: generated code takes the place of other code.

use std::collections::BTreeMap;

/// A stretch of generated code that has one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Code {
    /// Where it begins.
    pub(super) start: u64,
    /// The address after its last.
    pub(super) end: u64,
    /// Since when it is there.
    pub(super) from_ns: u64,
    /// Where in the file its name is told.
    pub(super) record: u64,
    /// Where in the file its lines are told, if they are.
    pub(super) lines: Option<u64>,
}

/// The code of a process.
#[derive(Debug, Default)]
pub(super) struct CodeTable {
    /// By the first address at which each piece still is.
    current: BTreeMap<u64, Piece>,
    /// Pieces in whose place something else came, with the time of that.
    replaced: Vec<(u64, u64, Piece)>,
}

/// What is left of code that other code has come to lie over.
#[derive(Clone, Copy, Debug)]
struct Piece {
    end: u64,
    code: Code,
}

impl CodeTable {
    /// Adds code over whatever was there.
    pub(super) fn insert(&mut self, code: Code) {
        if code.start < code.end {
            self.remove(code.start, code.end, code.from_ns);
            self.current.insert(code.start, Piece { end: code.end, code });
        }
    }

    /// From `time_ns` on nothing is known of these addresses.
    pub(super) fn remove(&mut self, start: u64, end: u64, time_ns: u64) {
        let overlapped = self.current.range(..end).rev().take_while(|(_, piece)| piece.end > start);
        let overlapped: Vec<u64> = overlapped.map(|(first, _)| *first).collect();
        for first in overlapped {
            let Some(piece) = self.current.remove(&first) else { continue };
            if piece.code.from_ns < time_ns {
                let gone = Piece { end: piece.end.min(end), ..piece };
                self.replaced.push((time_ns, first.max(start), gone));
            }
            if first < start {
                self.current.insert(first, Piece { end: start, ..piece });
            }
            if piece.end > end {
                self.current.insert(end, piece);
            }
        }
    }

    /// What lies at `address` now.
    pub(super) fn current(&self, address: u64) -> Option<&Code> {
        let (_, piece) = self.current.range(..=address).next_back()?;
        (address < piece.end).then_some(&piece.code)
    }

    /// What lay at `address` at a time.
    pub(super) fn find(&self, address: u64, time_ns: u64) -> Option<&Code> {
        let there = self.current(address).filter(|code| code.from_ns <= time_ns);
        there.or_else(|| self.find_replaced(address, time_ns))
    }

    fn find_replaced(&self, address: u64, time_ns: u64) -> Option<&Code> {
        let there = |(until_ns, first, piece): &&(u64, u64, Piece)| {
            (*first..piece.end).contains(&address) && (piece.code.from_ns..*until_ns).contains(&time_ns)
        };
        self.replaced.iter().rev().find(there).map(|(_, _, piece)| &piece.code)
    }

    /// Drops what was replaced before this.
    pub(super) fn forget_before(&mut self, time_ns: u64) {
        self.replaced.retain(|(until_ns, _, _)| *until_ns >= time_ns);
    }

    /// How many pieces it holds.
    pub(super) fn len(&self) -> usize {
        self.current.len() + self.replaced.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(start: u64, end: u64, from_ns: u64, record: u64) -> Code {
        Code { start, end, from_ns, record, lines: None }
    }

    fn record_at(table: &CodeTable, address: u64, time_ns: u64) -> Option<u64> {
        table.find(address, time_ns).map(|code| code.record)
    }

    #[test]
    fn an_address_means_what_lay_there_at_that_time() {
        let mut table = CodeTable::default();
        table.insert(code(0x1000, 0x2000, 10, 1));
        table.insert(code(0x1400, 0x1800, 20, 2));
        assert_eq!(record_at(&table, 0x1500, 9), None, "before anything was there");
        assert_eq!(record_at(&table, 0x1500, 19), Some(1));
        assert_eq!(record_at(&table, 0x1500, 20), Some(2));
        assert_eq!(record_at(&table, 0x13ff, 30), Some(1), "the rest below");
        assert_eq!(record_at(&table, 0x1800, 30), Some(1), "the rest above");
        assert_eq!(record_at(&table, 0x2000, 30), None);
        table.remove(0x1400, 0x1600, 40);
        assert_eq!((record_at(&table, 0x1500, 39), record_at(&table, 0x1500, 40)), (Some(2), None));
        assert_eq!(record_at(&table, 0x1700, 40), Some(2));
        table.forget_before(30);
        assert_eq!((record_at(&table, 0x1500, 15), record_at(&table, 0x1500, 39)), (None, Some(2)));
    }

    #[test]
    fn code_without_a_time_leaves_nothing_behind() {
        let mut table = CodeTable::default();
        (0..100).for_each(|record| table.insert(code(0x1000, 0x1000 + 0x10 * (100 - record), 0, record)));
        assert_eq!(table.len(), 100, "a hundred ends, one over the other");
        table.insert(code(0, u64::MAX, 0, 7));
        assert_eq!((table.len(), record_at(&table, 0x1000, 0)), (1, Some(7)));
        table.insert(code(5, 5, 0, 8));
        assert_eq!(record_at(&table, 5, 0), Some(7), "an empty one takes no place");
    }
}
