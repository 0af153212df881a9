//! Medians and their spread, as a Markdown table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One kind of measurement. Its title is its name: no two columns of a table have the same.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Digits behind the point, of numbers below ten.
    pub(super) digits: usize,
    /// The noise decides what this says, so its spread is shown.
    pub(super) has_spread: bool,
}

/// Everything that was measured.
#[derive(Default)]
pub(super) struct Results {
    values: BTreeMap<(&'static str, &'static str), Vec<f64>>,
    notes: Vec<(&'static str, String)>,
}

impl Results {
    /// Adds one measurement.
    pub(super) fn add(&mut self, row: &'static str, column: Column, value: f64) {
        self.values.entry((row, column.title)).or_default().push(value);
    }

    /// Says why something of a row is missing, once.
    pub(super) fn note(&mut self, row: &'static str, reason: &str) {
        if !self.notes.iter().any(|(noted, text)| *noted == row && text == reason) {
            self.notes.push((row, reason.to_owned()));
        }
    }

    /// The middle of what was measured.
    pub(super) fn median(&self, row: &'static str, column: Column) -> Option<f64> {
        Some(quantile(self.values.get(&(row, column.title))?, 0.5))
    }

    /// The table, then what is missing and why.
    pub(super) fn markdown(&self, rows: &[&'static str], columns: &[Column]) -> String {
        let mut text = String::from("| |");
        for column in columns {
            text.push_str(&format!(" {} |", column.title));
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(columns.len()));
        text.push('\n');
        for row in rows {
            text.push_str(&format!("| {row} |"));
            for column in columns {
                text.push_str(&format!(" {} |", self.cell(row, *column)));
            }
            text.push('\n');
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for (row, reason) in &self.notes {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {row}: {reason}");
        }
        text
    }

    fn cell(&self, row: &'static str, column: Column) -> String {
        let Some(values) = self.values.get(&(row, column.title)) else { return "–".to_owned() };
        let middle = quantile(values, 0.5);
        // Nothing here is known to more than three figures.
        let digits = match middle.abs() {
            100.0.. => 0,
            10.0.. => column.digits.min(1),
            _ => column.digits,
        };
        if !column.has_spread || values.len() < 2 {
            return format!("{middle:.digits$}");
        }
        let (low, high) = (quantile(values, 0.25), quantile(values, 0.75));
        format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

/// A number for a sentence: with commas where it is large, with two digits behind the point where it is small.
pub(super) fn count(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The value below which this share of the values lies, between neighbours linearly. Not a number for none.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (Some(low), Some(high)) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize)) else {
        return f64::NAN;
    };
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::{Column, Results, count, quantile};

    #[test]
    fn large_numbers_have_commas() {
        assert_eq!([4.125, 999.7, 65_579.2, 1_363_628.0].map(count), ["4.12", "1,000", "65,579", "1,363,628"]);
    }

    #[test]
    fn cells_show_three_figures_and_rows_without_values_a_dash() {
        let column = Column { title: "ratio", digits: 2, has_spread: true };
        let mut results = Results::default();
        for value in [1.004, 1.0, 1.5] {
            results.add("near", column, value);
            results.add("far", column, value * 80.0);
        }
        results.note("none", "cannot be had");
        results.note("none", "cannot be had");
        assert_eq!(
            results.markdown(&["near", "far", "none"], &[column]),
            "| | ratio |\n|---|---:|\n| near | 1.00 (1.00 to 1.25) |\n| far | 80.3 (80.2 to 100.2) |\n| none | – |\n\n\
             - none: cannot be had\n"
        );
    }

    #[test]
    fn quantiles_of_few_values() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[5.0], 0.25), 5.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
