//! What is said while a recording goes on.

use std::io::{IsTerminal as _, Write as _};

use super::Chosen;
use crate::{cli::write::say, record::Progress};

/// The line that tells how far a recording has come, if somebody is there to read it.
pub(super) struct ProgressLine {
    shown: bool,
}

impl ProgressLine {
    pub(super) fn new(quiet: bool, chosen: &Chosen) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        if !quiet {
            let told = chosen.warnings.iter().chain(&chosen.notes);
            told.for_each(|told| say(&format!("perfprobe: {told}")));
        }
        Self { shown }
    }

    /// Says that what happens from now on is recorded: who waits for that begins then.
    pub(super) fn begins(quiet: bool, chosen: &Chosen) {
        if !quiet {
            say(&format!("Recording {}; Ctrl-C ends it.", chosen.label));
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        if self.shown {
            let Progress { elapsed, reported, lost, recorder_share, bpf_share } = progress;
            let (seconds, share, bpf) = (elapsed.as_secs_f64(), recorder_share * 100.0, bpf_share * 100.0);
            let mut stderr = std::io::stderr();
            let _ = write!(
                stderr,
                "\r\x1b[K{seconds:.0} s  {reported} samples  {lost} lost  overhead {bpf:.2} % BPF + {share:.1} % recorder of a CPU"
            );
            let _ = stderr.flush();
        }
    }

    pub(super) fn clear(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
