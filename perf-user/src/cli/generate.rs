//! `perfprobe completions` and `perfprobe man`: generated from the definitions that parse the command line.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::CommandFactory as _;

use super::{Cli, Failure, write::print};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Write the man pages
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Into this directory; default: print perfprobe(1)
    directory: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "perfprobe", &mut script);
    print(&script)
}

pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    match &args.directory {
        None => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?,
        Some(directory) => pages(directory)?,
    }
    Ok(())
}

fn pages(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)
}
