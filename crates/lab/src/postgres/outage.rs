//! Stops a server and starts it again, as an operator does.

use super::{Postgres, binaries, give_to_server_user};
use anyhow::{Result, ensure};
use std::process::{Command, Stdio};

impl Postgres {
    /// Stops the server; its data stays. Only for one of a test's own.
    pub fn stop(&self) -> Result<()> {
        self.control(&["-m", "fast", "stop"])
    }

    /// Starts it again, on the same port.
    pub fn start_again(&self) -> Result<()> {
        let folder = self.folder().display();
        let options = format!(
            "-p {} -k {folder} -c listen_addresses=127.0.0.1",
            self.port()
        );
        self.control(&["-o", &options, "start"])
    }

    fn control(&self, words: &[&str]) -> Result<()> {
        let folder = self.folder();
        let user = give_to_server_user(folder)?;
        let mut words_of_command: Vec<&str> = user.split_whitespace().collect();
        let program = binaries()?.join("pg_ctl").display().to_string();
        words_of_command.push(&program);
        let data = folder.join("data").display().to_string();
        let log = folder.join("again.log").display().to_string();
        words_of_command.extend(["-D", &data, "-l", &log, "-w", "-s"]);
        words_of_command.extend(words);
        let status = Command::new(words_of_command[0])
            .args(&words_of_command[1..])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "pg_ctl {words:?}: {status}");
        Ok(())
    }
}
