//! Medians and their spread, as a Markdown table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::tools::Tool;

/// What is measured, in the order of the columns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Share of the work that the target does not get done, in percent, 99 samples a second
    Lost99,
    /// The same at 999 samples a second
    Lost999,
    /// The same by the target's CPU time
    LostCpu999,
    /// Nanoseconds in BPF programs for each sample
    BpfNs,
    /// Milliseconds from start to the first sample
    FirstSampleMs,
    /// Share of a CPU that the recorder takes while it records, in percent
    RecorderCpu,
    /// CPU seconds from start to picture
    CpuSeconds,
    /// The most memory, in MB
    PeakMb,
    /// Seconds from the end of the recording to the picture on disk
    PictureSeconds,
}

impl Metric {
    const ALL: [Self; 9] = [
        Self::Lost99,
        Self::Lost999,
        Self::LostCpu999,
        Self::BpfNs,
        Self::FirstSampleMs,
        Self::RecorderCpu,
        Self::CpuSeconds,
        Self::PeakMb,
        Self::PictureSeconds,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Lost99 => "work lost, 99 Hz, %",
            Self::Lost999 => "work lost, 999 Hz, %",
            Self::LostCpu999 => "work lost per CPU second, 999 Hz, %",
            Self::BpfNs => "BPF a sample, ns",
            Self::FirstSampleMs => "first sample, ms",
            Self::RecorderCpu => "recorder CPU, %",
            Self::CpuSeconds => "CPU, start to picture, s",
            Self::PeakMb => "peak memory, MB",
            Self::PictureSeconds => "end to picture, s",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::BpfNs | Self::FirstSampleMs => 0,
            Self::PeakMb => 1,
            Self::Lost99
            | Self::Lost999
            | Self::LostCpu999
            | Self::RecorderCpu
            | Self::CpuSeconds
            | Self::PictureSeconds => 2,
        }
    }

    /// The noise decides what these say, so their spread is shown.
    fn has_spread(self) -> bool {
        matches!(self, Self::Lost99 | Self::Lost999 | Self::LostCpu999)
    }
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Results {
    values: BTreeMap<(Tool, Metric), Vec<f64>>,
    notes: Vec<(Tool, String)>,
}

impl Results {
    /// Adds one measurement.
    pub(crate) fn add(&mut self, tool: Tool, metric: Metric, value: f64) {
        self.values.entry((tool, metric)).or_default().push(value);
    }

    /// Says why something of a tool is missing, once.
    pub(crate) fn note(&mut self, tool: Tool, reason: &str) {
        if !self.notes.iter().any(|(noted, text)| *noted == tool && text == reason) {
            self.notes.push((tool, reason.to_owned()));
        }
    }

    /// The table, then what is missing and why.
    pub(crate) fn markdown(&self, tools: &[Tool]) -> String {
        let mut text = String::from("| |");
        for metric in Metric::ALL {
            text.push_str(&format!(" {} |", metric.title()));
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(Metric::ALL.len()));
        text.push('\n');
        for tool in tools {
            text.push_str(&format!("| {} |", tool.name()));
            for metric in Metric::ALL {
                text.push_str(&format!(" {} |", self.cell(*tool, metric)));
            }
            text.push('\n');
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for (tool, reason) in &self.notes {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {}: {reason}", tool.name());
        }
        text
    }

    fn cell(&self, tool: Tool, metric: Metric) -> String {
        let Some(values) = self.values.get(&(tool, metric)) else { return "–".to_owned() };
        let digits = metric.digits();
        let middle = quantile(values, 0.5);
        if !metric.has_spread() {
            return format!("{middle:.digits$}");
        }
        let (low, high) = (quantile(values, 0.25), quantile(values, 0.75));
        format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
    }
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
    use super::quantile;

    #[test]
    fn quantiles_of_few_values() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[5.0], 0.25), 5.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
