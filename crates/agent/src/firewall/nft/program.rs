//! The `nft` program: text in one transaction, and listings for people.

use crate::room::RoomError;
use std::io;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The package that has it, for messages.
const REMEDY: &str = "the nft program is missing (install the package nftables)";

/// Refuses if the program is not there.
pub(super) fn check() -> Result<(), RoomError> {
    std::process::Command::new("nft")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(drop)
        .map_err(|error| failed("nft --version", &error))
}

/// Runs a script as one transaction.
pub(super) async fn run(script: &str) -> Result<(), RoomError> {
    call(&["-f", "-"], script).await.map(drop)
}

/// Runs one command and answers with what it prints.
pub(super) async fn list(command: &str) -> Result<String, RoomError> {
    call(&[command], "").await
}

async fn call(arguments: &[&str], input: &str) -> Result<String, RoomError> {
    let command = format!("nft {}", arguments.join(" "));
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&command, &error))?;
    // A pipe closed early means that nft has complained; its own words say more than EPIPE.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| failed(&command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(RoomError::Command {
        command,
        message: complaint(&String::from_utf8_lossy(&output.stderr)),
    })
}

/// The errors without the echoed input, which may be a megabyte.
fn complaint(stderr: &str) -> String {
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| line.to_ascii_lowercase().contains("error"))
        .take(3)
        .collect();
    if lines.is_empty() {
        stderr.chars().take(300).collect()
    } else {
        lines.join("; ")
    }
}

fn failed(command: &str, error: &io::Error) -> RoomError {
    if error.kind() == io::ErrorKind::NotFound {
        return RoomError::Refused(REMEDY.to_owned());
    }
    RoomError::Command {
        command: command.to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = failed("nft -f -", &io::ErrorKind::NotFound.into());
        assert_eq!(
            error.to_string(),
            "the nft program is missing (install the package nftables)"
        );
    }

    #[test]
    fn a_complaint_is_short() {
        let text = "/dev/stdin:1:1-5: Error: syntax error, unexpected junk\nadd x\n^^^^^\n";
        assert_eq!(
            complaint(text),
            "/dev/stdin:1:1-5: Error: syntax error, unexpected junk"
        );
    }
}
