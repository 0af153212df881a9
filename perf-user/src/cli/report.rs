//! `perfprobe report`: what a recording says, as text, JSON or a page.

use std::path::PathBuf;

use super::{Failure, select::SelectArgs, write::print};
use crate::output::{self, ExportOptions, Format};
use crate::store::Selection;

/// Say what a recording holds: hottest functions and threads, losses, cost
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .perfprobe file
    file: PathBuf,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,

    /// Rows of each table
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    /// Shorten names: std::map<...>::insert instead of std::map<int, X<Y>>::insert(int&&)
    #[arg(long)]
    simplify_names: bool,

    #[command(flatten)]
    select: SelectArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For programs: schema perfprobe.report/1
    Json,
    /// A page with the flame graph
    Html,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut profile = args.select.read(&args.file, Selection::default())?;
    if args.simplify_names {
        profile.simplify_names();
    }
    let format = match args.format {
        Form::Text => Format::Text,
        Form::Json => Format::Json,
        Form::Html => Format::Html,
    };
    let options = ExportOptions { top: Some(args.top as usize), ..ExportOptions::default() };
    let mut page = Vec::new();
    output::write(format, &profile, &options, &mut page)?;
    print(&page)
}
