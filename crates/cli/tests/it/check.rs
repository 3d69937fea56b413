//! One sandbox, one `check()`: runs the binary and shows its output, with every part that differs
//! between runs (paths, uuids, times, keys) replaced by its name.

use novanet_lab::{Database, Postgres};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A state path of its own; gone with the test.
pub(crate) struct Sandbox {
    dir: TempDir,
    /// The database, where it is not a file in there.
    database: Option<Database>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            database: None,
        }
    }

    /// With a database of its own on PostgreSQL.
    pub(crate) fn on_postgres() -> Self {
        let server = Postgres::shared().unwrap();
        Self {
            database: Some(server.fresh_database().unwrap()),
            ..Self::new()
        }
    }

    /// The database on PostgreSQL.
    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    /// Runs SQL there by psql.
    pub(crate) fn psql(&self, sql: &str) {
        let name = &self.database().name;
        Postgres::shared().unwrap().psql(name, sql).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The binary under a name, without anything of this machine's configuration.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_novanet"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NOVANET_")) {
            command.env_remove(name);
        }
        command
            .env("NOVANET_FLAGFILE", "")
            .env("NOVANET_STATE_PATH", self.path())
            .env("NOVANET_HOST", "cloud1")
            .env("NOVANET_MY_IP", "192.0.2.7")
            .current_dir(self.path())
            .args(args);
        command
    }

    /// Runs `nova-manage LINE`.
    pub(crate) fn manage(&self, line: &str) -> Output {
        let connection = self.database.as_ref();
        let connection = connection.map(|d| format!("--sql_connection={}", d.url));
        let args: Vec<&str> = std::iter::once("manage")
            .chain(connection.as_deref())
            .chain(line.split_whitespace())
            .collect();
        self.command(&args).output().unwrap()
    }

    /// Runs `nova-manage LINE` and shows everything that came out.
    pub(crate) fn check(&self, line: &str) -> String {
        show(&self.manage(line), self.path())
    }
}

/// Exit code, stdout, stderr; empty parts are left out.
pub(crate) fn show(output: &Output, dir: &Path) -> String {
    let mut text = format!("exit {}", output.status.code().unwrap());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let part = String::from_utf8(bytes.clone()).unwrap();
        if !part.is_empty() {
            let _ = write!(text, "\n--- {name}\n{}", part.trim_end());
        }
    }
    let text = text.replace(dir.to_str().unwrap(), "DIR");
    text.split('\n').map(stable).collect::<Vec<_>>().join("\n")
}

/// Replaces uuids, times, keys and digests.
fn stable(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | ':') {
            word.push(c);
            continue;
        }
        out.push_str(&name_of(&word));
        word.clear();
        out.push(c);
    }
    out.trim_end().to_owned()
}

fn name_of(word: &str) -> String {
    let shape: String = word
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    let hex = |s: &str| s.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if word.len() == 36 && hex(word) {
        "UUID".to_owned()
    } else if shape == "9999-99-99" {
        "DATE".to_owned()
    } else if shape == "99:99:99" {
        "TIME".to_owned()
    } else if word.starts_with("sha256:") {
        "DIGEST".to_owned()
    } else {
        word.to_owned()
    }
}
