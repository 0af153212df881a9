//! What is printed after a recording: its report on one screen, and the files that were written.

use std::{io::Write as _, path::Path};

use crate::{
    profile::{Accounting, Profile},
    report::{ReportOptions, accounting_line, human::line, report},
};

/// Rows of each table: the whole is to fit a screen.
const ROWS: usize = 10;

/// Prints it; if `quiet`, only that more was lost than a reader of the files may overlook. Standard error: standard output
/// belongs to the command that was recorded.
pub(super) fn print(profile: &Profile, written: &[&Path], quiet: bool) {
    let mut stderr = std::io::stderr().lock();
    if quiet {
        for series in profile.series.iter().filter(|series| series.accounting.lost_share() > Accounting::NOTABLE_LOSS) {
            let (event, counts) = (&series.event, accounting_line(&series.accounting, &series.unit));
            let _ = writeln!(stderr, "perfprobe: {event} events were lost: {counts}");
        }
        return;
    }
    let _ = writeln!(stderr, "\n{}", report(profile, &ReportOptions { top: Some(ROWS) }));
    for path in written {
        let _ = writeln!(stderr, "wrote {}", line(&path.to_string_lossy()));
    }
}
