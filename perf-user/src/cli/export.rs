//! `perfprobe export`: a recording, or a slice of it, in another format.

use std::path::PathBuf;

use super::{Failure, select::SelectArgs, write};
use crate::{
    output::{ExportOptions, Format},
    profile::WALL,
    store,
};

/// Write a recording in other formats: flame graphs, heat maps, pprof, speedscope, folded stacks, reports
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .perfprobe file
    file: PathBuf,

    /// Write this file, in the format of its name: .perfprobe .svg .html .folded .pb.gz .speedscope.json .json .txt, and of timelines
    /// .firefox.json .trace.json .heat.html; .latency.svg is how long requests, calls, page faults and waits for a CPU took over
    /// time; repeatable
    #[arg(short, long, value_name = "OUT", required = true)]
    output: Vec<PathBuf>,

    /// Which event: cpu, offcpu, sched, offwake, syscalls, io, io-bytes, files, faults, locks (who waits), holders (who made others wait for locks, and where), kernel-locks, memory (who touched it first), or wall, which is cpu and offcpu in one; default: the recording's first
    #[arg(short, long)]
    event: Option<String>,

    /// A tower for each thread
    #[arg(long)]
    per_thread: bool,

    /// Leaf first: who calls the hot functions
    #[arg(long)]
    reverse: bool,

    /// Shorten names: std::map<...>::insert instead of std::map<int, X<Y>>::insert(int&&); not in a .perfprobe
    #[arg(long)]
    simplify_names: bool,

    #[command(flatten)]
    select: SelectArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let outputs = write::formats(&args.output)?;
    if let Some((path, _)) = outputs.iter().find(|(path, _)| write::is_same_file(path, &args.file)) {
        return Err(Failure::Usage(format!("{} is the recording that is exported", path.display())));
    }
    let mut profile = args.select.read(&args.file, write::detail(&outputs))?;
    if args.simplify_names {
        profile.simplify_names();
    }
    if args.event.as_deref() == Some(WALL) {
        let wall = profile.wall().ok_or_else(|| {
            let file = args.file.display();
            Failure::Usage(format!(
                "`{WALL}` is cpu and offcpu together, and {file} does not hold both: record with -e cpu,offcpu"
            ))
        })?;
        profile.series.push(wall);
    }
    if let Some(event) = args.event.as_deref().filter(|event| profile.series(event).is_none()) {
        let known: Vec<_> = profile.series.iter().map(|series| series.event.as_str()).collect();
        let file = args.file.display();
        return Err(Failure::Usage(format!("{file} holds no event `{event}`; it holds: {}", known.join(", "))));
    }
    let options = ExportOptions {
        event: args.event.clone(),
        per_thread: args.per_thread,
        reverse: args.reverse,
        ..ExportOptions::default()
    };
    for (path, format) in outputs {
        match format {
            Format::Recording => {
                store::slice(&args.file, &path, args.select.selection())?;
                write::give_to_caller(&path);
            }
            _ => write::write(&path, format, &profile, &options)?,
        }
        write::say(&format!("wrote {}", path.display()));
    }
    Ok(())
}
