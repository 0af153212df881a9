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

use clap::{Parser, Subcommand};

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
        Err(error) => {
            // Help and version are answers; the rest is wrong use, which clap explains.
            let _ = error.print();
            return Ok(if error.use_stderr() { Failure::USAGE.into() } else { ExitCode::SUCCESS });
        }
    };
    let done = |()| ExitCode::SUCCESS;
    match cli.command {
        Command::Record(args) => record::run(args, started_ns),
        Command::Report(args) => report::run(&args).map(done),
        Command::Export(args) => export::run(&args).map(done),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => generate::completions(&args).map(done),
        Command::Man(args) => generate::man(&args).map(done),
    }
}
