//! Folded stacks: `comm;outermost;...;leaf count`, the input of `flamegraph.pl`, `inferno` and many viewers.

use std::io::{self, Write};

use super::ExportOptions;
use crate::profile::{Profile, Series};

pub(super) fn write(
    profile: &Profile,
    series: &Series,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (stack, value) in profile.fold(series, options.into()) {
        let mut line = String::new();
        for (depth, label) in stack.iter().enumerate() {
            if depth > 0 {
                line.push(';');
            }
            line.extend(label.chars().map(|character| match character {
                // It separates frames.
                ';' => ':',
                other if other.is_control() => ' ',
                other => other,
            }));
        }
        writeln!(out, "{line} {value}")?;
    }
    Ok(())
}
