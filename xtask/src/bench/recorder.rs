//! A recorder under observation: started, waited for until it records, watched, ended, drawn.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::process::{self, BpfWork};
use super::tools::Ready;
use crate::command;

/// A recorder that does not record after this long does not work here.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Everything that a recorder does after its first perf event and before it rests is done when it has slept for so long.
pub(crate) const SETTLE: Duration = Duration::from_millis(700);
/// On a busy machine the beginning takes longer, and some tools are at work all the time.
const MOST_SETTLES: u32 = 4;
/// A recorder that has not ended this long after SIGINT is killed and counted as failed.
const END_LIMIT: Duration = Duration::from_secs(60);

/// A running recorder. Killed when dropped.
pub(crate) struct Recorder {
    child: Child,
    dir: PathBuf,
    started: Instant,
    /// The most memory seen, in bytes.
    pub(crate) peak_rss_bytes: u64,
}

/// What the end of a recording took.
pub(crate) struct Ended {
    /// From SIGINT until everything is written.
    pub(crate) after_end: Duration,
    /// CPU time of recorder and drawing together, in seconds.
    pub(crate) cpu_seconds: f64,
    /// The most memory of one process, in bytes.
    pub(crate) peak_rss_bytes: u64,
}

impl Recorder {
    /// Starts the recorder in `dir`, which is emptied.
    pub(crate) fn start(name: &str, mut record: Command, dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        record.current_dir(dir);
        record.stdin(Stdio::null()).stdout(File::create(dir.join("stdout"))?).stderr(File::create(dir.join("stderr"))?);
        // A backtrace would hide the sentence that says what is missing.
        record.env("RUST_BACKTRACE", "0");
        let started = Instant::now();
        let child = record.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, dir: dir.to_owned(), started, peak_rss_bytes: 0 })
    }

    /// Waits until it records, as `is_ready` tells of its process, and rests: until it has attached nothing more for the time
    /// `settle`, and slept for most of that. One that never rests is taken as it is in the end.
    pub(crate) fn wait_ready(&mut self, is_ready: impl Fn(u32) -> bool, settle: Duration) -> Result<()> {
        let pid = self.child.id();
        while !is_ready(pid) {
            self.check_start()?;
            thread::sleep(process::POLL);
        }
        for _ in 0..MOST_SETTLES {
            let attached = process::attachments(pid);
            let end = Instant::now() + settle;
            let (mut looks, mut at_work) = (0, 0);
            while Instant::now() < end {
                thread::sleep(process::POLL);
                looks += 1;
                at_work += u32::from(process::is_at_work(pid));
            }
            if process::attachments(pid) == attached && at_work * 3 < looks {
                break;
            }
        }
        self.check_start()
    }

    /// Waits until a BPF program has run for a sample; how long that took from the start. Needs `kernel.bpf_stats_enabled`.
    pub(crate) fn wait_first_run(&mut self) -> Result<Duration> {
        while process::bpf_work(self.child.id()).samples == 0 {
            self.check_start()?;
            thread::sleep(process::POLL);
        }
        Ok(self.started.elapsed())
    }

    /// Lets it record, and watches its memory.
    pub(crate) fn watch(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.note_memory();
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// CPU time of its threads so far.
    pub(crate) fn cpu_ns(&self) -> u64 {
        process::cpu_ns(self.child.id())
    }

    /// What its BPF programs have done so far.
    pub(crate) fn bpf_work(&self) -> BpfWork {
        process::bpf_work(self.child.id())
    }

    /// Ends the recording as Ctrl-C does, and waits until it has ended.
    pub(crate) fn end(mut self) -> Result<()> {
        self.interrupt().map(|_| ())
    }

    /// The same; then draws the picture where that is a step of its own.
    pub(crate) fn end_and_draw(mut self, tool: &Ready) -> Result<Ended> {
        let interrupted = self.interrupt()?;
        let mut cpu_seconds = process::final_cpu_seconds(self.child.id());
        let mut after_end = interrupted.elapsed();
        let mut peak_rss_bytes = self.peak_rss_bytes;
        if let Some(mut draw) = tool.draw(&self.dir) {
            draw.stdin(Stdio::null()).stderr(File::create(self.dir.join("draw-stderr"))?);
            let mut child = draw.spawn().context("cannot start the drawing")?;
            while !process::is_over(child.id()) {
                peak_rss_bytes = peak_rss_bytes.max(process::peak_rss_bytes(child.id()));
                thread::sleep(process::POLL);
            }
            cpu_seconds += process::final_cpu_seconds(child.id());
            after_end = interrupted.elapsed();
            child.wait()?;
        }
        if tool.draws() && fs::metadata(self.dir.join("out.svg")).is_ok_and(|file| file.len() > 0) {
            return Ok(Ended { after_end, cpu_seconds, peak_rss_bytes });
        }
        if tool.draws() {
            bail!("it left no picture: {}", self.complaint());
        }
        Ok(Ended { after_end, cpu_seconds, peak_rss_bytes })
    }

    /// Returns when SIGINT was sent.
    fn interrupt(&mut self) -> Result<Instant> {
        let interrupted = Instant::now();
        if !process::is_over(self.child.id()) {
            command::read(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        }
        while !process::is_over(self.child.id()) {
            if interrupted.elapsed() > END_LIMIT {
                bail!("it did not end within {} s of SIGINT", END_LIMIT.as_secs());
            }
            self.note_memory();
            thread::sleep(process::POLL);
        }
        Ok(interrupted)
    }

    fn note_memory(&mut self) {
        self.peak_rss_bytes = self.peak_rss_bytes.max(process::peak_rss_bytes(self.child.id()));
    }

    fn check_start(&mut self) -> Result<()> {
        if process::is_over(self.child.id()) {
            bail!("it ended before it recorded: {}", self.complaint());
        }
        if self.started.elapsed() > START_LIMIT {
            bail!("it did not record within {} s: {}", START_LIMIT.as_secs(), self.complaint());
        }
        Ok(())
    }

    /// The last line it wrote to standard error.
    fn complaint(&self) -> String {
        let text = fs::read(self.dir.join("stderr")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.unwrap_or("it says nothing").to_owned()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // It has ended in the ordinary case: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
