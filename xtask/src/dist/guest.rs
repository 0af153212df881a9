//! The binary for another architecture, recording in a guest of that architecture; this machine reports.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::tools::Zig;
use super::{Dist, shares};
use crate::vm::Machines;
use crate::vm::guest::{Accelerator, Clock, Guest, Root};
use crate::{command, workspace};

const KERNEL: &str = "6.12";
/// A program from its first instruction, and the whole machine with that program at work.
const COMMAND: &str = "set -e
perfprobe doctor
perfprobe record --quiet -o one.perfprobe -- program
program 2>/dev/null &
perfprobe record --quiet --all -d 6s -o all.perfprobe
for name in one all; do echo \"begin $name\"; base64 $name.perfprobe; echo end; done
";

/// Boots, records, and judges the recordings here.
pub(super) fn run(dist: &Dist, zig: &Zig) -> Result<()> {
    let dir = workspace::target().join("dist/recordings");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let program = dir.join(shares::PROGRAM);
    shares::compile(zig, dist.arch, &program)?;
    let machines = Machines::prepare(dist.arch)?;
    let guest = Guest {
        kernel: machines.kernel(KERNEL)?,
        cpus: 2,
        memory: 1024,
        parameters: String::new(),
        root: Root::None,
        accelerator: Accelerator::Tcg,
        clock: Clock::Wall,
        limit: Some(Duration::from_secs(600)),
        command: Some(COMMAND.to_owned()),
        files: vec![dist.binary(), program],
    };
    let mut lines = Vec::new();
    let ended = machines.ready().run(&guest, Some(&mut |line: &str| lines.push(line.to_owned())))?;
    if ended.code != Ok(0) {
        bail!(
            "recording on {} failed ({:?}):\n{}\n{}",
            guest.kernel.release,
            ended.code,
            ended.console,
            lines.join("\n")
        );
    }
    for name in ["one", "all"] {
        let begin = format!("begin {name}");
        let text: Vec<&str> = lines.iter().map(String::as_str).skip_while(|line| *line != begin).skip(1).collect();
        let encoded = dir.join(format!("{name}.base64"));
        let recording = dir.join(format!("{name}.perfprobe"));
        fs::write(&encoded, text.split(|line| *line == "end").next().unwrap_or_default().join("\n"))?;
        let file = File::create(&recording).with_context(|| format!("cannot create {}", recording.display()))?;
        command::run(Command::new("base64").arg("--decode").arg(&encoded).stdout(file))?;
        shares::check(&dist.native, &recording)?;
    }
    println!("recorded on {}", guest.kernel.release);
    Ok(())
}
