//! `cargo xtask verify`: what each BPF program costs each kernel's verifier, held against a record.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::vm::facts::{self, Facts, Program};
use crate::vm::matrix::Matrix;
use crate::vm::table::own_column;
use crate::{command, test, workspace};

/// What the verifier walks through before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`).
const LIMIT: u64 = 1_000_000;
/// The part of it that a program may use: what other compilers and kernels add has to have room.
const MOST: u64 = LIMIT / 4;
/// How much more than the record is too much, in percent.
const GROWTH_PERCENT: u64 = 20;
/// How long a guest may take to boot and load the programs.
const GUEST_LIMIT: Duration = Duration::from_secs(300);
const HEAD: &str = "program\tkernel\tinstructions\tverified\n";

/// Options of `cargo xtask verify`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// In guests too: a kernel's series, `edges` for the oldest and the newest, `all`
    #[arg(long, value_name = "SERIES")]
    vm: Vec<String>,
    /// Make what is found the record
    #[arg(long)]
    record: bool,
}

/// The record: instructions that each program has and that the verifier walks through, for each kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    program: String,
    kernel: String,
    instructions: u64,
    verified: Option<u64>,
}

/// Loads every program here and in guests, prints what that took, and holds it against the record or makes it that.
pub(crate) fn run(args: &Args) -> Result<()> {
    test::build()?;
    let binary = test::binary();
    let own = Facts::parse(&command::read(Command::new(&binary).args(["doctor", "--json"]))?)?;
    let mut found = vec![(own_column(&own)?, own)];
    if !args.vm.is_empty() {
        let script = facts::script(binary.to_str().context("the path of perfprobe is not UTF-8")?);
        let matrix = Matrix::prepare(&args.vm)?;
        matrix.complain()?;
        for run in matrix.run(&script, GUEST_LIMIT, &|_, _| {})? {
            found.push((run.column.clone(), Facts::find(&run.lines).context(run.kernel.release)?));
        }
    }
    println!("{:<16} {:<10} {:>12} {:>10} {:>9}", "program", "kernel", "instructions", "verified", "load");
    let mut budget = Budget::read().or_else(|error| if args.record { Ok(Budget::default()) } else { Err(error) })?;
    let mut failures = Vec::new();
    for (column, facts) in &found {
        if facts.programs.is_empty() {
            failures.push(format!("{column}: the programs cannot be loaded; `perfprobe doctor` says why"));
        }
        for program in &facts.programs {
            let Program { program, instructions, verified_instructions, load_us } = program;
            let verified = verified_instructions.map_or_else(|| "not told".to_owned(), |count| count.to_string());
            println!("{program:<16} {column:<10} {instructions:>12} {verified:>10} {:>6.1} ms", *load_us as f64 / 1e3);
        }
        if args.record {
            budget.set(column, &facts.programs);
        }
        failures.extend(budget.check(column, &facts.programs).err().map(|error| error.to_string()));
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    if args.record {
        budget.write()?;
    }
    Ok(())
}

impl Budget {
    /// The checked-in one.
    pub(crate) fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no record of the verifier's work", path.display()))
    }

    fn write(&self) -> Result<()> {
        let path = path();
        fs::write(&path, self.render()).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
        Ok(())
    }

    fn set(&mut self, kernel: &str, programs: &[Program]) {
        self.rows.retain(|row| row.kernel != kernel);
        self.rows.extend(programs.iter().map(|program| Row {
            program: program.program.clone(),
            kernel: kernel.to_owned(),
            instructions: program.instructions,
            verified: program.verified_instructions,
        }));
        self.rows.sort_by(|a, b| a.program.cmp(&b.program));
    }

    /// Fails when a program takes the verifier much more work than the record says, or too much of what it may take. A
    /// kernel that is not in the record is held against the limit alone.
    pub(crate) fn check(&self, kernel: &str, programs: &[Program]) -> Result<()> {
        let known = self.rows.iter().any(|row| row.kernel == kernel);
        for Program { program, verified_instructions, .. } in programs {
            let Some(verified) = *verified_instructions else { continue };
            if verified > MOST {
                bail!("{program} on {kernel}: {verified} instructions verified, more than {MOST}");
            }
            let row = self.rows.iter().find(|row| row.program == *program && row.kernel == kernel);
            match row.and_then(|row| row.verified) {
                Some(record) if verified * 100 > record * (100 + GROWTH_PERCENT) => bail!(
                    "{program} on {kernel}: {verified} instructions verified, {GROWTH_PERCENT} % more than the recorded {record}; \
                     where that is worth it, `cargo xtask verify --vm all --record`"
                ),
                None if known => bail!("{program} is not in the record: `cargo xtask verify --vm all --record`"),
                _ => {}
            }
        }
        Ok(())
    }

    fn render(&self) -> String {
        self.rows.iter().fold(HEAD.to_owned(), |mut text, row| {
            let verified = row.verified.map_or_else(|| "-".to_owned(), |count| count.to_string());
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}\t{}\t{}\t{verified}", row.program, row.kernel, row.instructions);
            text
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let row = |line: &str| {
            let [program, kernel, instructions, verified] = line.split('\t').collect::<Vec<_>>()[..] else {
                return None;
            };
            let verified = if verified == "-" { None } else { Some(verified.parse().ok()?) };
            let (program, kernel) = (program.to_owned(), kernel.to_owned());
            Some(Row { program, kernel, instructions: instructions.parse().ok()?, verified })
        };
        Some(Self { rows: text.strip_prefix(HEAD)?.lines().map(row).collect::<Option<Vec<_>>>()? })
    }
}

fn path() -> PathBuf {
    workspace::root().join("docs/verifier.tsv")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(verified: Option<u64>) -> [Program; 1] {
        [Program { program: "sample".into(), instructions: 100, verified_instructions: verified, load_us: 1 }]
    }

    #[test]
    fn a_fifth_more_is_too_much_and_so_is_a_quarter_of_the_limit() {
        let mut budget = Budget::default();
        budget.set("6.1", &program(Some(1000)));
        assert_eq!(Budget::parse(&budget.render()), Some(budget.clone()));
        assert!(budget.check("6.1", &program(Some(1200))).is_ok());
        assert!(budget.check("6.1", &program(Some(1201))).is_err());
        assert!(budget.check("7.x", &program(Some(250_000))).is_ok());
        assert!(budget.check("7.x", &program(Some(250_001))).is_err());
    }

    #[test]
    fn a_program_without_a_record_is_named_and_a_kernel_that_tells_nothing_is_not() {
        let mut budget = Budget::default();
        budget.set("5.10", &program(None));
        assert_eq!(Budget::parse(&budget.render()), Some(budget.clone()));
        assert!(budget.check("5.10", &program(None)).is_ok());
        let other = [Program {
            program: "other".into(),
            ..program(Some(1)).into_iter().next().unwrap_or_else(|| unreachable!())
        }];
        assert!(budget.check("5.10", &other).is_err());
    }
}
