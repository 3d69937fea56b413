//! The `novanet` binary as a library: argument parsing, tables, exit codes and wiring. Only this
//! crate of the product reads the environment, writes to the terminal, or exits; all of it writes
//! through [`say`], except `demo`, which prints.

mod applet;
mod args;
mod daemon;
mod demo;
mod environment;
mod euca;
mod failure;
mod identity;
mod keyfile;
mod manage;
mod novarc;
mod private_file;
mod reference;
mod running;
mod say;
mod table;
mod version;

use failure::Failure;
use std::io::Write as _;
use std::process::ExitCode;

/// The whole program: arguments from the process, output to its terminal.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let code = match applet::run(&args) {
        Ok(text) => print(&text),
        Err(failure) => {
            let _ = print(&failure.output);
            if !failure.message.is_empty() {
                say::error(&failure.to_string());
            }
            ExitCode::from(failure.code)
        }
    };
    say::finish();
    code
}

/// A closed pipe (`| head`) is not an error worth a panic.
fn print(text: &str) -> ExitCode {
    if text.is_empty() {
        return ExitCode::SUCCESS;
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            let failure = Failure::failed(format!("cannot write the output: {e}"));
            say::error(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}
