//! The project's chores: parses the verb, runs it, prints the error chain.
#![forbid(unsafe_code)]

mod arch;
mod bench;
mod command;
mod corpus;
mod demo;
mod deny;
mod dist;
mod ebpf;
mod fuzz;
mod install;
mod lint;
mod mounts;
mod pins;
mod soak;
mod test;
mod toolchain;
mod verify;
mod vm;
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
    /// Compare perfprobe with its peers on the same work, and print tables
    Bench(bench::Args),
    /// How many stacks of real programs are whole, beside perf's
    Corpus(corpus::Args),
    /// Build perfprobe, profile a real program for some seconds, leave a flame graph
    Demo(demo::Args),
    /// Licences, sources and known weaknesses of what is linked in
    Deny,
    /// Build the kernel half into the checked-in object, installing its pinned toolchain where it is missing
    Ebpf(ebpf::Args),
    /// Hostile input for everything that parses what perfprobe does not control
    Fuzz(fuzz::Args),
    /// Format, warnings and the project's own rules
    Lint(lint::Args),
    /// Record for hours while processes come and go; fail when anything in the recorders grows
    Soak(soak::Args),
    /// Everything that has to pass: lint, unit tests, tests against the release binary, the object
    Test(test::Args),
    /// Load every BPF program, here and on other kernels, and hold what that takes against a record
    Verify(verify::Args),
    /// Run a command on another kernel, in a guest of QEMU
    Vm(vm::Args),
    /// What is shipped, in target/dist: a static binary, man pages, completions, packages, checksums
    Dist(dist::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Bench(args) => bench::run(&args),
        Verb::Corpus(args) => corpus::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Deny => deny::run(),
        Verb::Ebpf(args) => ebpf::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Soak(args) => soak::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Vm(args) => return finish(vm::run(&args)),
        Verb::Dist(args) => dist::run(&args),
    };
    finish(outcome.map(|()| ExitCode::SUCCESS))
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
