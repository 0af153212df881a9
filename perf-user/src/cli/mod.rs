//! The command line: one file a subcommand.

mod doctor;
mod export;
mod failure;
mod generate;
mod record;
mod report;
mod select;
mod summary;
mod write;

pub use failure::Failure;

use std::process::ExitCode;

use clap::{
    Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

use crate::collect::EventKind;

/// Says where a running Linux program spends its time, without changing or restarting it.
#[derive(Debug, Parser)]
#[command(name = "perfprobe", version, about, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start with:  sudo perfprobe record --pid 1234 -d 10s\n\
    and open the .svg it writes in a browser. `perfprobe doctor` tells what this machine allows.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Record(record::Args),
    /// Show what is done to files, peers and disks, second by second; leaves what `record -e files` leaves
    Io(record::Args),
    /// Show for what threads wait at locks, second by second; leaves what `record` leaves, which says who had them
    Locks(record::Args),
    Report(report::Args),
    Export(export::Args),
    Doctor(doctor::Args),
    #[command(hide = true)]
    Completions(generate::CompletionArgs),
    #[command(hide = true)]
    Man(generate::ManArgs),
}

/// Parses the command line of this process, and does what it says. `started_ns`: when the process began.
///
/// # Errors
/// What went wrong, and which exit code it means.
pub fn run(started_ns: u64) -> Result<ExitCode, Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            let tip = tip(&error);
            if tip.is_some() {
                error.remove(ContextKind::SuggestedArg);
            }
            // Help and version are answers; the rest is wrong use, which clap explains.
            let _ = error.print();
            if let Some(tip) = tip {
                write::say(&format!("\n  tip: {tip}"));
            }
            return Ok(if error.use_stderr() { Failure::USAGE.into() } else { ExitCode::SUCCESS });
        }
    };
    let done = |()| ExitCode::SUCCESS;
    match cli.command {
        Command::Record(args) => record::run(args, started_ns),
        Command::Io(args) => record::run(args.live(EventKind::Files), started_ns),
        Command::Locks(args) => record::run(args.live(EventKind::Locks), started_ns),
        Command::Report(args) => report::run(&args).map(done),
        Command::Export(args) => export::run(&args).map(done),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => generate::completions(&args).map(done),
        Command::Man(args) => generate::man(&args).map(done),
    }
}

/// What somebody wanted who gave an argument that there is not.
fn tip(error: &clap::Error) -> Option<String> {
    let (Some(ContextValue::String(argument)), Some(ContextValue::StyledStr(usage))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::Usage))
    else {
        return None;
    };
    let subcommand = |name: &str| usage.to_string().contains(&format!("perfprobe {name} "));
    match argument.as_str() {
        "--json" | "--html" if subcommand("report") => Some(format!("write --format {}", &argument[2..])),
        pid if subcommand("record") && pid.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(format!("to record a process that runs: perfprobe record --pid {pid}"))
        }
        program if subcommand("record") && !program.starts_with('-') => {
            Some(format!("to start a program and record it, put -- before it: perfprobe record -- {program}"))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn man_pages_are_of_what_every_terminal_has() {
        for command in Cli::command().get_subcommands() {
            let mut page = Vec::new();
            clap_mangen::Man::new(command.clone()).render(&mut page).unwrap();
            assert!(page.is_ascii(), "{}: {}", command.get_name(), String::from_utf8_lossy(&page));
        }
    }

    #[test]
    fn who_writes_what_others_understand_is_told_how_it_is_written_here() {
        let tip = |line: &str| Cli::try_parse_from(line.split(' ')).err().as_ref().and_then(tip);
        assert!(tip("perfprobe record ./x --its-own").is_some_and(|tip| tip.ends_with("perfprobe record -- ./x")));
        assert!(tip("perfprobe record -d 5s 1234").is_some_and(|tip| tip.ends_with("record --pid 1234")));
        assert_eq!(tip("perfprobe report --json x.perfprobe").as_deref(), Some("write --format json"));
        assert_eq!(tip("perfprobe record --jason -- ./x"), None);
        assert_eq!(tip("perfprobe export x"), None);
    }
}
