//! `cargo xtask soak`: records for hours while processes come and go, and fails when anything in the recorders grows.

mod look;
mod recorder;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{command, install, workspace};
use look::Look;
use recorder::Recorder;

/// Short programs of every kind: small and large ones, pipelines, scripts, and programs that no process ran before and that
/// are gone when their symbols are wanted. Each turn starts seven to nine processes.
const CHURN: &str = r#"
n=0
while :; do
    n=$((n + 1)); own="$DIR/program-$n"
    cp "$(command -v gzip)" "$own"; "$own" -c /proc/self/exe /bin/sh > /dev/null; rm -f "$own"
    ls -R /usr/share/doc | sort | md5sum > /dev/null
    awk 'BEGIN { for (i = 0; i < 100000; i++) s += i }' < /dev/null
    sleep "$PAUSE"
done"#;

/// What a turn of the churn starts.
const PROCESSES_A_TURN: f64 = 8.0;

/// Memory may differ by this between two times of the same state: buffers of windows, heap not returned.
const SLACK_BYTES: u64 = 4 << 20;

/// Open files may: the recorder keeps some of programs that ended, for the next process that runs them.
const SLACK_FILES: u64 = 320;

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to record
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// How many processes should come and go in an hour
    #[arg(long, default_value_t = 10_000)]
    processes_per_hour: u32,
    /// Seconds between two looks at the recorders
    #[arg(long, default_value_t = 60)]
    every: u64,
}

/// Records, looks, and says whether anything grew or stayed behind.
pub(crate) fn run(args: &Args) -> Result<()> {
    install::packages(&["bpftool"], "counting the entries of BPF maps")?;
    command::run(command::cargo().args(["build", "--release", "-p", "perf-user"]))?;
    let dir = workspace::target().join("soak");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let pause = 3600.0 * PROCESSES_A_TURN / f64::from(args.processes_per_hour.max(1));
    let churn = Churn::start(&dir, pause)?;
    let mut recorders = [
        Recorder::start(&dir, "all", &["--all"])?,
        Recorder::start(&dir, "family", &["--pid", &churn.0.id().to_string()])?,
    ];
    let (begin, forks) = (Instant::now(), forks());
    let mut table = File::create(dir.join("looks.tsv")).context("cannot create the table of looks")?;
    writeln!(table, "recorder\t{}", Look::HEADER)?;
    while begin.elapsed() < Duration::from_secs(args.minutes * 60) {
        std::thread::sleep(Duration::from_secs(args.every));
        for recorder in &mut recorders {
            let name = recorder.name;
            writeln!(table, "{name}\t{}", recorder.look(begin.elapsed())?)?;
        }
    }
    let hours = begin.elapsed().as_secs_f64() / 3600.0;
    println!("{:.2} hours, {:.0} processes an hour", hours, (self::forks() - forks) as f64 / hours);
    let faults: Vec<String> = recorders.into_iter().map(Recorder::finish).collect::<Result<Vec<_>>>()?.concat();
    drop(churn);
    println!("every look: {}", dir.join("looks.tsv").display());
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

/// Processes that the machine has started since it booted.
fn forks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().find_map(|line| line.strip_prefix("processes ")?.trim().parse().ok()).unwrap_or(0)
}

/// The shell that starts programs. Ended when dropped.
struct Churn(Child);

impl Churn {
    fn start(dir: &Path, pause: f64) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", CHURN]).env("DIR", dir).env("PAUSE", format!("{pause:.3}"));
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(shell.spawn().context("cannot start `sh`")?))
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
