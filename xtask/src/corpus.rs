//! `cargo xtask corpus`: of real programs, how many stacks reach the entry of their thread, beside perf's copies of stacks.

mod stacks;
mod subjects;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{bench, command, install, test, workspace};
use stacks::Stacks;
use subjects::{SUBJECTS, Subject};

/// Often enough that a program of some seconds gives thousands of stacks.
const FREQUENCY: &str = "999";

/// What perf copies of each user stack, twice its default, and a ring large enough that it loses nothing of it, nor mappings.
const PERF: &[&str] = &["--call-graph", "dwarf,16384", "-m", "8M"];

/// Options of `cargo xtask corpus`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the table to docs/benchmarks.md
    #[arg(long)]
    write: bool,
    /// Leave out perf
    #[arg(long)]
    no_perf: bool,
    /// Only programs whose name contains one of these
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Records every program, and prints a table.
pub(crate) fn run(args: &Args) -> Result<()> {
    test::build()?;
    let perf = !args.no_perf;
    if perf {
        install::packages(&["linux-perf"], "perf, to compare with")?;
    }
    let folder = workspace::target().join("corpus");
    let mut table = String::from(
        "| | stacks | whole, % | without | perf, stacks | perf, whole, % | perf, without | most frequent end |\n\
         |---|---:|---:|---:|---:|---:|---:|---|\n",
    );
    let wanted =
        |subject: &&Subject| args.filter.is_empty() || args.filter.iter().any(|word| subject.name.contains(word));
    for subject in SUBJECTS.iter().filter(wanted) {
        eprintln!("{}", subject.name);
        match measure(subject, &folder, perf) {
            Ok(row) => table.push_str(&row),
            // One that cannot be had does not keep the others from being measured, and is no empty row.
            Err(error) => writeln!(table, "| {} | not measured: {error:#} | | | | | | |", subject.name)?,
        }
    }
    println!("{table}");
    if args.write {
        bench::write("corpus", &table)?;
    }
    Ok(())
}

fn measure(subject: &Subject, folder: &Path, perf: bool) -> Result<String> {
    install::packages(subject.packages, subject.name)?;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    command::read(&mut shell(subject.prepare, folder))?;
    let recorded = folder.join("stacks.folded");
    let mut record = Command::new(test::binary());
    record.args(["record", "--quiet", "-e", "cpu", "-F", FREQUENCY, "-o"]).arg(&recorded).arg("--");
    end(under(record, subject, folder))?;
    let own = Stacks::of_folded(&fs::read_to_string(&recorded)?, subject.comm);
    if own.all == 0 {
        bail!("no sample of {}", subject.comm);
    }
    let none = || String::from("–");
    let mut peer = (none(), none(), none());
    if perf {
        let data = folder.join("perf.data");
        let mut record = Command::new("perf");
        record.args(["record", "-q", "-F", FREQUENCY]).args(PERF).arg("-o").arg(&data).arg("--");
        end(under(record, subject, folder))?;
        let mut script = Command::new("perf");
        script.args(["script", "-F", "comm,ip,sym,dso", "--no-inline", "-i"]).arg(&data);
        let stacks = Stacks::of_perf(&command::read(&mut script)?, subject.comm);
        peer = (stacks.all.to_string(), stacks.share(), stacks.without.to_string());
    }
    let worst = own.worst().unwrap_or_default();
    let own = format!("{} | {} | {}", own.all, own.share(), own.without);
    Ok(format!("| {} | {own} | {} | {} | {} | {worst} |\n", subject.name, peer.0, peer.1, peer.2))
}

/// The recorder, with the program as its command.
fn under(mut recorder: Command, subject: &Subject, folder: &Path) -> Command {
    let of_shell = shell(subject.run, folder);
    recorder.arg(of_shell.get_program()).args(of_shell.get_args()).current_dir(folder);
    recorder.envs(of_shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    recorder
}

fn shell(script: &str, folder: &Path) -> Command {
    let mut shell = command::shell(script, folder);
    shell.env("SOURCES", workspace::root().join("tests/workloads"));
    shell
}

fn end(mut command: Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("cannot start the recorder")?;
    // A server that was ended by a signal says so; what counts is what was recorded.
    if output.status.code().is_none_or(|code| code == 2 || code == 127) {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
