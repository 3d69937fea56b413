//! A shell of root on a host of a lab, at a terminal of 100 columns: variables, folders and jobs
//! stay from one command to the next. Depends on `script` (util-linux) and `bash`.

use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Host, Process};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// In the host: the shell's commands come this way, each ended by a zero byte.
const PIPE: &str = "/run/manual.commands";
/// Runs each command with the exit status of the one before, and says its own between two bytes
/// that no program prints.
const LOOP: &str = r#"
exec 3<>/run/manual.commands
status=0
while IFS= read -r -d '' -u 3 line; do
  (exit "$status")
  eval "$line" </dev/null 3>&-
  status=$?
  printf '\001%d\002' "$status"
done
"#;

/// What a command printed, and its exit status.
pub(super) struct Said {
    pub(super) text: String,
    pub(super) status: i32,
}

/// A running shell.
pub(super) struct Shell<'a> {
    host: &'a Host,
    _process: Process,
    output: Receiver<Vec<u8>>,
    heard: Vec<u8>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(host: &'a Host) -> Result<Self> {
        // ssh and others look for the home of root there, whatever HOME says.
        host.sh(&format!(
            "mkfifo {PIPE}; mount -t tmpfs -o mode=700 home /root"
        ))?;
        let path = std::env::var("PATH")?;
        let mut command = Command::new("script");
        command
            .args([
                "-qfec",
                "exec bash --noprofile --norc -c \"$LOOP\"",
                "/dev/null",
            ])
            .env("LOOP", LOOP)
            .env("PATH", format!("/run/bin:{path}"))
            .env("HOME", "/root")
            .env("COLUMNS", "100")
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .env("SHELL", "/bin/bash")
            .env_remove("NOVANET_FLAGFILE")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let process = host.spawn(&mut command)?;
        let mut out = process.stdout().context("the shell's output")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut shell = Self {
            host,
            _process: process,
            output,
            heard: Vec::new(),
        };
        shell.run("cd", Duration::from_mins(1))?;
        Ok(shell)
    }

    /// Runs a command to its end.
    pub(super) fn run(&mut self, line: &str, limit: Duration) -> Result<Said> {
        self.host.exec_in(|| -> Result<()> {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(PIPE)?;
            pipe.write_all(format!("{line}\0").as_bytes())?;
            Ok(())
        })??;
        let end = Instant::now() + limit;
        loop {
            if let Some(stop) = self.heard.iter().position(|byte| *byte == 2) {
                let said: Vec<u8> = self.heard.drain(..=stop).collect();
                let said = String::from_utf8_lossy(&said[..stop]).replace('\r', "");
                let (text, status) = said.rsplit_once('\u{1}').context("no exit status")?;
                return Ok(Said {
                    text: text.to_owned(),
                    status: status.parse()?,
                });
            }
            let left = end.saturating_duration_since(Instant::now());
            let heard = String::from_utf8_lossy(&self.heard);
            ensure!(!left.is_zero(), "it did not end within {limit:?}: {heard}");
            match self.output.recv_timeout(left) {
                Ok(more) => self.heard.extend(more),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(error) => return Err(error).context(format!("the shell ended: {heard}")),
            }
        }
    }
}
