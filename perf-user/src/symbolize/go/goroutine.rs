//! Where the stacks of Go programs end.

use std::fs::File;

use super::{GoTable, Outline};

/// What every goroutine's first function seems to have been called by.
const GOEXIT: [&[u8]; 2] = [b"runtime.goexit", b"runtime.goexit.abi0"];

/// The addresses of the function at which the stack of a goroutine ends: Go makes a frame of it below the first function's
/// own, and above that there is nothing, whatever call frame information says. `None` if the file is no Go program.
pub(crate) fn goroutine_end(file: &File) -> Option<(u64, u64)> {
    let outline = Outline::read(file).filter(GoTable::is_in)?;
    GoTable::read(file, &outline)?.addresses_of(&GOEXIT)
}

impl GoTable {
    /// The first address of the first function with one of these names, and the first of what follows.
    pub(super) fn addresses_of(&self, names: &[&[u8]]) -> Option<(u64, u64)> {
        let has_name = |index: &usize| self.name_at(*index).is_some_and(|name| names.contains(&name));
        let index = (0..self.functions).take(MOST_FUNCTIONS).find(has_name)?;
        let address = |index| self.text.checked_add(u64::from(self.entry(index)?));
        Some((address(index)?, address(index + 1)?))
    }

    /// The name of a function by its number.
    fn name_at(&self, index: usize) -> Option<&[u8]> {
        let record = super::u32_at(&self.data, self.records.checked_add(index.checked_mul(8)?.checked_add(4)?)?)?;
        let record = self.records.checked_add(record as usize)?;
        let name = super::u32_at(&self.data, record.checked_add(4)?)?;
        let text = self.data.get(self.names.checked_add(name as usize)?..)?;
        // Only names as short as those that are looked for.
        let end = text.iter().take(LONGEST + 1).position(|byte| *byte == 0)?;
        text.get(..end)
    }
}

/// No name that is looked for is longer.
const LONGEST: usize = 32;

/// The number of functions is what the file says; programs of 300 MB have a tenth of this.
const MOST_FUNCTIONS: usize = 4 << 20;
