//! A program of which it is known where its time goes, and whether a recording says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::tools::Zig;
use crate::arch::Arch;
use crate::{command, workspace};

/// Functions of `tests/workloads/split.c` and their shares of its time, in percent.
const SHARES: &[(&str, f64)] = &[("take_seventy", 70.0), ("take_twenty", 20.0), ("take_ten", 10.0)];
/// On a busy machine there are not more; then a share can be off by as much as [`tolerance`] gives for them.
const FEWEST_SAMPLES: u64 = 60;
/// The program, by the name it is started under.
pub(super) const PROGRAM: &str = "program";
/// How long the program works.
const SECONDS: &str = "-DFOREVER_SECONDS=8.0";

/// Compiles the program.
pub(super) fn compile(zig: &Zig, arch: Arch, output: &Path) -> Result<()> {
    zig.compile(arch, &workspace::root().join("tests/workloads/split.c"), SECONDS, output)
}

/// Fails unless the recording has every function with its share, and each below `main`.
pub(super) fn check(perfprobe: &Path, recording: &Path) -> Result<()> {
    let folded = recording.with_extension("folded");
    command::read(Command::new(perfprobe).arg("export").arg(recording).arg("-o").arg(&folded))?;
    let text = fs::read_to_string(&folded).with_context(|| format!("cannot read {}", folded.display()))?;
    let _ = fs::remove_file(&folded);
    let said = judge(&text).with_context(|| format!("the recording {}", recording.display()))?;
    println!("{}: {said}", recording.display());
    Ok(())
}

/// Four standard deviations of the largest share among so many samples, in percent.
fn tolerance(samples: u64) -> f64 {
    400.0 * (0.7 * 0.3 / samples as f64).sqrt()
}

fn judge(folded: &str) -> Result<String> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut all, mut whole) = (0, 0);
    let program = format!("{PROGRAM};");
    for line in folded.lines().filter(|line| line.starts_with(&program)) {
        let (stack, count) = line.rsplit_once(' ').with_context(|| format!("is not folded: {line}"))?;
        let count: u64 = count.parse().with_context(|| format!("is not folded: {line}"))?;
        let frames: Vec<&str> = stack.split(';').collect();
        all += count;
        let Some((name, _)) = SHARES.iter().find(|(name, _)| frames.contains(name)) else { continue };
        *counts.entry(name).or_default() += count;
        let below_main =
            frames.iter().position(|frame| frame == name) > frames.iter().position(|frame| *frame == "main");
        if below_main && frames.contains(&"main") && frames.contains(&"spin_unit") {
            whole += count;
        }
    }
    let named: u64 = counts.values().sum();
    if all < FEWEST_SAMPLES || named * 20 < all * 19 || whole * 50 < named * 49 {
        bail!(
            "has {all} samples, {named} of them in the known functions, {whole} of those with their callers:\n{folded}"
        );
    }
    let mut said = format!("{all} samples");
    for (name, wanted) in SHARES {
        let share = counts.get(name).copied().unwrap_or(0) as f64 * 100.0 / named as f64;
        if (share - wanted).abs() > tolerance(named) {
            bail!("gives {share:.0} % to {name}, which took {wanted} %:\n{folded}");
        }
        said.push_str(&format!(", {name} {share:.0} %"));
    }
    Ok(said)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::judge;

    fn stack(name: &str, count: u32) -> String {
        format!("program;_start;main;split_round_[i];{name};spin_unit {count}\n")
    }

    #[test]
    fn shares_have_to_be_right_and_stacks_whole() {
        let right = stack("take_seventy", 700) + &stack("take_twenty", 200) + &stack("take_ten", 100);
        assert_eq!(judge(&right).unwrap(), "1000 samples, take_seventy 70 %, take_twenty 20 %, take_ten 10 %");
        let wrong = stack("take_seventy", 400) + &stack("take_twenty", 500) + &stack("take_ten", 100);
        assert!(judge(&wrong).is_err());
        assert!(judge(&right.replace("main;", "")).is_err(), "callers are missing");
        assert!(judge(&right.replace("00\n", "\n")).is_err(), "too few samples");
        assert!(judge(&(right.clone() + "other;f 500\n")).is_ok(), "another program's");
        assert!(judge(&(right + "program;[program+0x10] 100\n")).is_err(), "too much has no name");
    }
}
