//! Parse, run, print the error chain, exit code.

use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    let started_ns = perf_user::host::sys::monotonic_ns();
    match perf_user::cli::run(started_ns) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody may be listening any more, which is no reason to panic.
            let _ = writeln!(std::io::stderr(), "perfprobe: {failure}");
            failure.exit_code()
        }
    }
}
