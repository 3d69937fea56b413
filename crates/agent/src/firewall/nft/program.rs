//! The `nft` program: runs scripts as one transaction, and lists tables for people. Depends on no
//! other file of the renderer.

use novanet_reconcile::SubsystemError;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The package that has it, for messages.
const REMEDY: &str = "the nft program is missing (install the package nftables)";

/// Debian's places for it. Not `PATH`: only the binary reads the environment, and sudo and cron
/// leave `sbin` out of it.
const PLACES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program, found once.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
}

impl Program {
    /// Refuses if it is not there, and names the package.
    pub(super) fn find() -> Result<Self, SubsystemError> {
        Self::find_in(&[OsStr::new(PLACES)])
    }

    fn find_in(lists: &[&OsStr]) -> Result<Self, SubsystemError> {
        lists
            .iter()
            .flat_map(std::env::split_paths)
            .map(|folder| folder.join("nft"))
            .find(|path| path.is_file())
            .map(|path| Self { path })
            .ok_or_else(|| SubsystemError::Refused(REMEDY.to_owned()))
    }

    /// Runs a script as one transaction. `started` gets the process number before the process gets
    /// the script: the kernel names the sender of the transaction by that number.
    pub(super) async fn run(
        &self,
        script: &str,
        started: impl FnOnce(u32),
    ) -> Result<(), SubsystemError> {
        self.call(&["-f", "-"], script, started).await.map(drop)
    }

    /// Runs one command and answers with what it prints.
    pub(super) async fn list(&self, command: &str) -> Result<String, SubsystemError> {
        self.call(&[command], "", drop).await
    }

    async fn call(
        &self,
        arguments: &[&str],
        input: &str,
        started: impl FnOnce(u32),
    ) -> Result<String, SubsystemError> {
        let command = format!("nft {}", arguments.join(" "));
        let mut child = Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&command, &error))?;
        if let Some(id) = child.id() {
            started(id);
        }
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
        Err(SubsystemError::Command {
            command,
            message: complaint(&String::from_utf8_lossy(&output.stderr)),
        })
    }
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

fn failed(command: &str, error: &io::Error) -> SubsystemError {
    if error.kind() == io::ErrorKind::NotFound {
        return SubsystemError::Refused(REMEDY.to_owned());
    }
    SubsystemError::Command {
        command: command.to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Program::find_in(&[folder.path().as_os_str()]).expect_err("nothing there");
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
