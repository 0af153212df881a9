//! Parse, run, print the error chain, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let started_ns = perf_user::host::sys::monotonic_ns();
    match perf_user::cli::run(started_ns) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("perfprobe: {failure}");
            failure.exit_code()
        }
    }
}
