//! The files a recording leaves: the recording itself, if wanted, and what is drawn from it.

use std::path::{Path, PathBuf};

use super::Chosen;
use crate::{
    cli::{Failure, write},
    host::sys,
    output::{ExportOptions, Format},
    profile::Profile,
    store::StoreError,
};

#[derive(Debug)]
pub(super) struct Outputs {
    recording: PathBuf,
    /// Whether the recording is one of the files asked for, or only the way to them.
    keep: bool,
    drawn: Vec<(PathBuf, Format)>,
}

impl Outputs {
    /// Decides on names, and makes sure that all can be written.
    pub(super) fn prepare(asked: Vec<(PathBuf, Format)>, chosen: &Chosen) -> Result<Self, Failure> {
        let (mut recordings, mut drawn): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(_, format)| *format == Format::Recording);
        if recordings.len() > 1 {
            return Err(Failure::Usage("there can be only one .perfprobe output".into()));
        }
        let stem = default_stem(&chosen.file_stem);
        if recordings.is_empty() && drawn.is_empty() {
            recordings.push((format!("{stem}.perfprobe").into(), Format::Recording));
            drawn.push((format!("{stem}.svg").into(), Format::Svg));
        }
        for (path, _) in recordings.iter().chain(&drawn) {
            write::check_writable(path)?;
        }
        let all: Vec<&Path> = recordings.iter().chain(&drawn).map(|(path, _)| path.as_path()).collect();
        for (at, path) in all.iter().enumerate() {
            if let Some(other) = all[..at].iter().find(|other| write::is_same_file(path, other)) {
                let (path, other) = (path.display(), other.display());
                return Err(Failure::Usage(format!("the outputs {other} and {path} are the same file")));
            }
        }
        let keep = !recordings.is_empty();
        let recording = match (recordings.pop(), drawn.first()) {
            (Some((path, _)), _) => path,
            (None, Some((beside, _))) => beside.with_file_name(format!(".{stem}.perfprobe")),
            (None, None) => format!("{stem}.perfprobe").into(),
        };
        Ok(Self { recording, keep, drawn })
    }

    /// Where to record to.
    pub(super) fn recording(&self) -> &Path {
        &self.recording
    }

    /// Whether something is drawn from the recording.
    pub(super) fn draws(&self) -> bool {
        !self.drawn.is_empty()
    }

    /// Removes the recording of a run that never began.
    pub(super) fn forget(&self) {
        let _ = std::fs::remove_file(&self.recording);
    }

    /// Draws everything that was asked for. A failure leaves the recording, and says where.
    pub(super) fn write_all(
        &self,
        quiet: bool,
        read: impl FnOnce(&Path) -> Result<Profile, StoreError>,
    ) -> anyhow::Result<Profile> {
        write::give_to_caller(&self.recording);
        let profile = read(&self.recording)?;
        for (path, format) in &self.drawn {
            if let Err(error) = write::write(path, *format, &profile, &ExportOptions::default()) {
                let kept = self.recording.display();
                return Err(
                    error.context(format!("the recording is kept in {kept}; `perfprobe export` can draw it again"))
                );
            }
        }
        if !self.keep && std::fs::remove_file(&self.recording).is_err() && !quiet {
            write::say(&format!("perfprobe: {} could not be removed", self.recording.display()));
        }
        Ok(profile)
    }

    /// The files that are there at the end.
    pub(super) fn written(&self) -> Vec<&Path> {
        let recording = self.keep.then_some(self.recording.as_path());
        recording.into_iter().chain(self.drawn.iter().map(|(path, _)| path.as_path())).collect()
    }
}

/// `perfprobe-<comm>-<pid>-<date>-<time>`, with nothing in it that a shell or a file system minds.
fn default_stem(target: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+') { c } else { '_' };
    let target: String = target.chars().map(plain).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let [year, month, day, hour, minute, second] = sys::local_time(now);
    format!("perfprobe-{target}-{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}
