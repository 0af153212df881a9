//! `cargo xtask demo`: builds perfprobe, profiles a real program for five seconds, says where the flame graph is.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{command, install, test, workspace};

/// Programs a machine may have, and work that keeps each busy for longer than the recording.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("sqlite3", &[":memory:", SQL]),
    ("python3", &["-c", PYTHON]),
    ("gzip", &["-9", "-c", "/dev/zero"]),
    ("sha256sum", &["/dev/zero"]),
];
const SQL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) \
                   SELECT i % 97 AS k, count(*), sum(length(hex(i * 2654435761))) FROM n GROUP BY k ORDER BY 3;";
const PYTHON: &str = "import json, re\n\
                      while True:\n    \
                      text = json.dumps([{'n': i, 's': str(i * i)} for i in range(2000)])\n    \
                      sum(len(word) for word in re.findall(r'[0-9]+', text))\n    \
                      sorted(json.loads(text), key=lambda row: row['s'])";

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to record
    #[arg(long, default_value = "5s")]
    duration: String,
}

/// Builds, records, and prints the files.
pub(crate) fn run(args: &Args) -> Result<()> {
    install::compiler()?;
    command::run(command::cargo().args(["build", "--release", "-p", "perf-user"]))?;
    let Some((program, work)) = PROGRAMS.iter().find(|(program, _)| command::find(program).is_some()) else {
        bail!("none of the programs to profile is here: try `perfprobe record -- COMMAND` with one of yours");
    };
    let dir = workspace::target().join("demo");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let picture = dir.join(format!("{program}.svg"));
    let recording = dir.join(format!("{program}.perfprobe"));
    for old in [&picture, &recording] {
        // A file that is not there needs no removing; one that cannot be removed makes the recording fail by name.
        let _ = fs::remove_file(old);
    }
    let mut record = install::as_root(&test::binary().display().to_string())?;
    record.args(["record", "--duration", &args.duration, "-o"]).arg(&recording).arg("-o").arg(&picture);
    record.arg("--").arg(program).args(*work);
    record.stdout(std::process::Stdio::inherit());
    // The program is ended by the recording's end, which its status tells: the files are what counts.
    let outcome = command::run(&mut record);
    if !picture.exists() {
        outcome?;
        bail!("the recording left no {}", picture.display());
    }
    println!("the flame graph of {program}: {}", picture.display());
    println!("more of it: {} report {}", test::binary().display(), recording.display());
    Ok(())
}
