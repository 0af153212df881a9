//! What is printed after a recording: its report on one screen, and the files that were written.

use std::{io::Write as _, path::Path};

use crate::{
    profile::Profile,
    report::{ReportOptions, report},
};

/// Rows of each table: the whole is to fit a screen.
const ROWS: usize = 10;

/// Prints it. Standard error: standard output belongs to the command that was recorded.
pub(super) fn print(profile: &Profile, written: &[&Path]) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "\n{}", report(profile, &ReportOptions { top: Some(ROWS) }));
    let _ = writeln!(stderr);
    for path in written {
        let _ = writeln!(stderr, "wrote {}", path.display());
    }
}
