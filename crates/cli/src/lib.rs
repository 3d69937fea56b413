//! The `novanet` binary as a library: argument parsing, tables, exit codes and wiring. Only this
//! crate reads the environment, writes to the terminal, or exits.

#![allow(clippy::print_stdout, clippy::print_stderr)] // the one crate that talks to people

mod args;
mod bench;
mod daemon;
mod demo;
mod environment;
mod euca;
mod face;
mod failure;
mod keyfile;
mod manage;
mod table;

use failure::Failure;
use std::io::Write as _;
use std::process::ExitCode;

/// The whole program: arguments from the process, output to its terminal.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    match face::run(&args) {
        Ok(text) => print(&text),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// A closed pipe (`| head`) is not an error worth a panic.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!(
                "{}",
                Failure::failed(format!("cannot write the output: {e}"))
            );
            ExitCode::FAILURE
        }
    }
}
