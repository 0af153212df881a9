//! `docs/kernels.md`: what works on which kernel, as `perfprobe doctor` finds it there.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::facts::Facts;
use crate::workspace;

/// What stands before the table.
const HEAD: &str = "# Kernels\n\n\
    What `perfprobe doctor` finds as root on the newest Debian kernel of each series, in an emulated guest, and on the \
    machine this\npage was made on. `cargo xtask vm --table` writes it, and `cargo xtask test --vm` fails where a kernel \
    differs from it.\n\n";
/// Begins the name of the machine's own column.
const OWN: &str = "own ";
const WORKS: &str = "works";

/// Features by kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    columns: Vec<String>,
    /// A feature, and a cell for each column; empty where it was not looked at.
    rows: Vec<(String, Vec<String>)>,
}

/// The name of this machine's column.
pub(crate) fn own_column(facts: &Facts) -> Result<String> {
    Ok(format!("{OWN}{}", facts.series()?))
}

impl Table {
    /// The checked-in one.
    pub(crate) fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no table of kernels", path.display()))
    }

    /// Replaces the checked-in one.
    pub(crate) fn write(&self) -> Result<()> {
        let path = path();
        fs::write(&path, self.render()).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
        Ok(())
    }

    /// Puts what was found into a kernel's column.
    pub(crate) fn set(&mut self, column: &str, facts: &Facts) {
        let place = self.columns.iter().position(|known| known == column).unwrap_or_else(|| {
            self.columns.push(column.to_owned());
            self.rows.iter_mut().for_each(|(_, cells)| cells.push(String::new()));
            self.columns.len() - 1
        });
        self.rows.iter_mut().for_each(|(_, cells)| cells[place].clear());
        for check in &facts.checks {
            let cell = match check.state.as_str() {
                "ok" => WORKS.to_owned(),
                "fallback" => format!("by fallback: {}", check.detail),
                _ => format!("no: {}", check.detail),
            };
            let row = self.rows.iter().position(|(feature, _)| *feature == check.name).unwrap_or_else(|| {
                self.rows.push((check.name.clone(), vec![String::new(); self.columns.len()]));
                self.rows.len() - 1
            });
            self.rows[row].1[place] = cell;
        }
        self.rows.retain(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()));
    }

    /// Fails when a kernel's column is not what was found. On the machine's own, which others have with other processors,
    /// what works better is no failure.
    pub(crate) fn check(&self, column: &str, facts: &Facts) -> Result<()> {
        let is_own = column.starts_with(OWN);
        if is_own && !self.columns.iter().any(|known| known == column) {
            return Ok(());
        }
        let mut found = self.clone();
        found.set(column, facts);
        let cell = |table: &Self, feature: &str| -> Option<String> {
            let place = table.columns.iter().position(|known| known == column)?;
            let (_, cells) = table.rows.iter().find(|(name, _)| name == feature)?;
            Some(cells[place].clone())
        };
        let mut differences = String::new();
        for (feature, _) in &found.rows {
            let (before, now) = (cell(self, feature).unwrap_or_default(), cell(&found, feature).unwrap_or_default());
            if before != now && !(is_own && before != WORKS) {
                let _ = write!(differences, "\n  {feature}: `{before}` in the table, `{now}` found");
            }
        }
        if !differences.is_empty() {
            bail!("docs/kernels.md differs (`cargo xtask vm --table` writes it):{differences}");
        }
        Ok(())
    }

    fn render(&self) -> String {
        let mut notes: Vec<&str> = Vec::new();
        let mut text =
            format!("{HEAD}| Feature | {} |\n|---|{}\n", self.columns.join(" | "), "---|".repeat(self.columns.len()));
        for (feature, cells) in &self.rows {
            let _ = write!(text, "| {feature} |");
            for cell in cells {
                let Some((word, why)) = cell.split_once(": ") else {
                    let _ = write!(text, " {cell} |");
                    continue;
                };
                let known = notes.iter().position(|note| *note == why).unwrap_or_else(|| {
                    notes.push(why);
                    notes.len() - 1
                });
                let _ = write!(text, " {word} ({}) |", known + 1);
            }
            text.push('\n');
        }
        for (index, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "{}{}. {note}", if index == 0 { "\n" } else { "" }, index + 1);
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let note = |number: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{number}. ")));
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let columns = lines.next()?.split(" | ").skip(1).map(str::to_owned).collect();
        let cell = |cell: &str| match cell.strip_suffix(')').and_then(|cell| cell.rsplit_once(" (")) {
            Some((word, number)) => Some(format!("{word}: {}", note(number)?)),
            None => Some(cell.trim().to_owned()),
        };
        let row = |line: &str| {
            let mut cells = line.split(" | ");
            Some((cells.next()?.to_owned(), cells.map(cell).collect::<Option<Vec<_>>>()?))
        };
        Some(Self { columns, rows: lines.map(row).collect::<Option<Vec<_>>>()? })
    }
}

fn path() -> PathBuf {
    workspace::root().join("docs/kernels.md")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn facts(states: &[(&str, &str, &str)]) -> Facts {
        let checks = states
            .iter()
            .map(|(name, state, detail)| format!(r#"{{"name":"{name}","state":"{state}","detail":"{detail}"}}"#));
        let checks: Vec<String> = checks.collect();
        Facts::parse(&format!(r#"{{"kernel":"6.18.4-fc","checks":[{}],"programs":[]}}"#, checks.join(","))).unwrap()
    }

    #[test]
    fn a_table_is_read_back_and_a_difference_is_named() {
        let mut table = Table::default();
        table.set("5.10", &facts(&[("clock", "fallback", "a timer"), ("BTF", "ok", "there")]));
        table.set("7.x", &facts(&[("clock", "fallback", "a timer"), ("BTF", "limited", "none"), ("new", "ok", "")]));
        assert_eq!(Table::parse(&table.render()), Some(table.clone()), "{}", table.render());
        assert!(table.render().contains("| BTF | works | no (2) |"), "{}", table.render());
        let better = facts(&[("clock", "ok", ""), ("BTF", "ok", "")]);
        let error = table.check("5.10", &better).unwrap_err().to_string();
        assert!(error.contains("clock: `by fallback: a timer`") && !error.contains("BTF"), "{error}");
    }

    #[test]
    fn the_machine_may_be_better_than_the_one_the_table_was_made_on_and_not_worse() {
        let mut table = Table::default();
        let column = own_column(&facts(&[])).unwrap();
        assert_eq!(column, "own 6.18");
        table.set(&column, &facts(&[("clock", "fallback", "a timer"), ("BTF", "ok", "")]));
        assert!(table.check(&column, &facts(&[("clock", "ok", ""), ("BTF", "ok", "")])).is_ok());
        assert!(table.check(&column, &facts(&[("clock", "ok", ""), ("BTF", "limited", "")])).is_err());
        assert!(table.check("own 6.1", &facts(&[("BTF", "limited", "")])).is_ok(), "of another series");
    }
}
