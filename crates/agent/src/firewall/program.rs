//! Programs of the packet filters (`nft`, `iptables-restore`, `ipset`): found once, run with a
//! script on standard input, and named with their package when they are missing. Knows no backend.

use novanet_reconcile::SubsystemError;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Debian's places for it. Not `PATH`: only the binary reads the environment, and sudo and cron
/// leave `sbin` out of it.
const PLACES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program, found once.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    /// The package that has it, for messages.
    package: &'static str,
    path: PathBuf,
}

impl Program {
    /// Refuses if it is not there, and names the package.
    pub(super) fn find(name: &'static str, package: &'static str) -> Result<Self, SubsystemError> {
        Self::find_in(&[OsStr::new(PLACES)], name, package)
    }

    fn find_in(
        lists: &[&OsStr],
        name: &'static str,
        package: &'static str,
    ) -> Result<Self, SubsystemError> {
        lists
            .iter()
            .flat_map(std::env::split_paths)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
            .map(|path| Self {
                name,
                package,
                path,
            })
            .ok_or_else(|| missing(name, package))
    }

    /// The last part of its path behind all links (`xtables-nft-multi`).
    pub(super) fn real_name(&self) -> String {
        let path = self
            .path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone());
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Runs it with these arguments and this input, and answers with what it prints. `started` gets
    /// the process number before the process gets its input: the kernel names the sender of a
    /// transaction by that number.
    pub(super) async fn call(
        &self,
        arguments: &[&str],
        input: &str,
        started: impl FnOnce(u32),
    ) -> Result<String, SubsystemError> {
        let command = [&[self.name], arguments].concat().join(" ");
        let mut child = Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.failed(&command, &error))?;
        if let Some(id) = child.id() {
            started(id);
        }
        // A pipe closed early means that the program has complained; its own words say more than EPIPE.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child
            .wait_with_output()
            .await
            .map_err(|error| self.failed(&command, &error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(SubsystemError::Command {
            command,
            message: complaint(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    fn failed(&self, command: &str, error: &io::Error) -> SubsystemError {
        if error.kind() == io::ErrorKind::NotFound {
            return missing(self.name, self.package);
        }
        SubsystemError::Command {
            command: command.to_owned(),
            message: error.to_string(),
        }
    }
}

fn missing(name: &str, package: &str) -> SubsystemError {
    SubsystemError::Refused(format!(
        "the {name} program is missing (install the package {package})"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Program::find_in(&[folder.path().as_os_str()], "nft", "nftables")
            .expect_err("nothing there");
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
