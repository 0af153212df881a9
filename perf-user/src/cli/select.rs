//! Arguments that several subcommands share: durations, and the part of a recording that is wanted.

use std::{path::Path, time::Duration};

use crate::{
    profile::{IDLE, Profile},
    store::{self, Selection},
};

use super::Failure;

/// Parses `10s`, `2m`, `1h`, `500ms`, `50us` or a plain number of seconds.
///
/// # Errors
/// What is wrong with it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no duration; write it like 10s, 2m or 1h"))?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return Err(format!("`{unit}` is no unit of time; use us, ms, s, m, h or d")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is too long"))
}

/// Parses the id of a thread or process.
fn id(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "it takes a number; the report has those of threads and processes beside their names".into())
}

/// Whether a reason is the one that was asked for by its beginning, in capitals or not.
fn begins(why: &str, asked: &str) -> bool {
    why.get(..asked.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(asked)) && !asked.is_empty()
}

/// The part of a recording that is wanted.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SelectArgs {
    /// Only from this time after the start on (5s, 2m); rounds to windows of a second
    #[arg(long, value_name = "T", value_parser = duration)]
    from: Option<Duration>,

    /// Only up to this time after the start
    #[arg(long, value_name = "T", value_parser = duration)]
    to: Option<Duration>,

    /// Only this thread
    #[arg(long, value_name = "TID", value_parser = id)]
    thread: Option<u32>,

    /// Only this process
    #[arg(long, value_name = "PID", value_parser = id)]
    process: Option<u32>,

    /// Of waits, only those for these reasons, a comma between: futex,sleep,pipe; the report lists them,
    /// their beginnings are enough
    #[arg(long, value_name = "WHY", value_delimiter = ',')]
    reason: Vec<String>,

    /// Of waits, not those of threads without work: accept, idle: pool, poll, signal, sleep; the report says what that hides
    #[arg(long, conflicts_with = "reason")]
    hide_idle: bool,
}

impl SelectArgs {
    /// Reads the wanted part of a recording, in as much detail as `detail` wants.
    pub(super) fn read(&self, path: &Path, detail: Selection) -> Result<Profile, Failure> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(Failure::Usage("--from must be before --to".into()));
        }
        let mut profile =
            store::read(path, Selection { moments: detail.moments, latencies: detail.latencies, ..self.selection() })?;
        // A pool is several threads: one of them alone does not show it.
        let pools = match self.thread {
            Some(_) => store::read(path, Selection { tid: None, ..self.selection() })?.pools(),
            None => profile.pools(),
        };
        profile.name_idle(&pools);
        if let Some(from) = self.from.filter(|from| from.as_nanos() >= u128::from(profile.recording.duration_ns)) {
            let seconds = profile.recording.duration_ns as f64 / 1e9;
            return Err(Failure::Usage(format!("--from {from:?} is after the recording's end, at {seconds:.1} s")));
        }
        if let Some(tid) = self.thread.filter(|tid| !profile.threads.iter().any(|thread| thread.tid == *tid)) {
            return Err(Failure::Usage(format!("no thread {tid} was sampled in {}", path.display())));
        }
        if let Some(tgid) = self.process.filter(|tgid| !profile.threads.iter().any(|thread| thread.tgid == *tgid)) {
            return Err(Failure::Usage(format!("no process {tgid} was sampled in {}", path.display())));
        }
        let reasons = profile.reasons();
        if let Some(unknown) = self.reason.iter().find(|asked| !reasons.iter().any(|why| begins(why, asked))) {
            let known = reasons.into_iter().collect::<Vec<_>>().join("; ");
            let known = if known.is_empty() {
                "it holds no waits: record with -e offcpu".into()
            } else {
                format!("there is: {known}")
            };
            return Err(Failure::Usage(format!("no thread waited for `{unknown}` in {}; {known}", path.display())));
        }
        if !self.reason.is_empty() {
            profile.keep_waits(|why| self.reason.iter().any(|asked| begins(why, asked)));
        } else if self.hide_idle {
            profile.keep_waits(|why| !IDLE.contains(&why));
        }
        Ok(profile)
    }

    /// The same, as the store is told it.
    pub(super) fn selection(&self) -> Selection {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Selection {
            from_ns: self.from.map(ns),
            to_ns: self.to.map(ns),
            tid: self.thread,
            tgid: self.process,
            ..Selection::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("100us").unwrap(), Duration::from_micros(100));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        for wrong in ["", "s", "-1s", "1y", "1.2.3s", "99999999999999999999h", "ten"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
