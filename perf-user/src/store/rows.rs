//! Rows of windows that a reader selects: their first column is the window, their second the process.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use super::{
    Selection,
    outline::Windows,
    read::{Unreadable, each, text},
};

/// Where rows are read from, and which of them.
pub(super) struct Rows<'a> {
    pub(super) connection: &'a Connection,
    pub(super) windows: &'a Windows,
    pub(super) strings: &'a HashMap<u32, String>,
    pub(super) selection: Selection,
}

impl Rows<'_> {
    /// What a query finds of selected processes. Of which threads these are is not known, so nothing is read where one is selected.
    pub(super) fn of_processes(
        &self,
        sql: &str,
        mut read: impl FnMut(u32, &Row<'_>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        if self.selection.tid.is_some() {
            return Ok(());
        }
        each(self.connection, sql, |row| match self.process(row)? {
            Some(tgid) => read(tgid, row),
            None => Ok(()),
        })
    }

    /// What a query finds of selected threads, which are named in the column `at`.
    pub(super) fn of_threads(
        &self,
        sql: &str,
        at: usize,
        mut read: impl FnMut((u32, u32), &Row<'_>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        each(self.connection, sql, |row| {
            let tid: u32 = row.get(at)?;
            let Some(tgid) = self.process(row)? else { return Ok(()) };
            if self.selection.tid.is_none_or(|wanted| wanted == tid) { read((tgid, tid), row) } else { Ok(()) }
        })
    }

    /// The process of a row, if it is selected.
    fn process(&self, row: &Row<'_>) -> Result<Option<u32>, Unreadable> {
        let tgid: u32 = row.get(1)?;
        let is_selected = self.selection.tgid.is_none_or(|wanted| wanted == tgid);
        Ok((is_selected && self.windows.contains_key(&row.get(0)?)).then_some(tgid))
    }

    /// The text that a column names.
    pub(super) fn text(&self, row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
        Ok(text(self.strings, row.get(at)?).to_owned())
    }
}
