//! Folded stacks: `comm;outermost;...;leaf count`, the input of `flamegraph.pl`, `inferno` and many viewers.

use std::io::{self, Write};

use super::ExportOptions;
use crate::profile::{Profile, Series};
use crate::report::human;

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
            line.extend(human::line(label).chars().map(|character| match character {
                // It separates frames.
                ';' => ':',
                other => other,
            }));
        }
        writeln!(out, "{line} {value}")?;
    }
    Ok(())
}
