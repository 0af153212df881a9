//! The project's chores: parses the verb, runs it, prints the error chain.
#![forbid(unsafe_code)]

mod command;
mod ebpf;
mod install;
mod pins;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's chores, one verb a file.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the kernel half into the checked-in object, installing its pinned toolchain where it is missing
    Ebpf(ebpf::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Ebpf(args) => ebpf::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
