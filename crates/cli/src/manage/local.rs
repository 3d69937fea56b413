//! What only a host itself can say: its plan, its firewall, what is ours on it. Asked of the agent
//! on this host; another host's are asked there.

use super::{firewall, host};
use crate::failure::Failure;
use novanet_model::flags::Flags;
use novanet_model::wire::{Answer, Question};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longer than any answer takes, shorter than a user's patience with a dead agent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a command is about the host itself and not about the database.
pub(crate) fn is_local(command: &host::Command) -> bool {
    !matches!(command, host::Command::List { .. })
}

/// `host plan`, `host cleanup`.
pub(crate) fn host(command: host::Command, flags: &Flags) -> Result<String, Failure> {
    match command {
        host::Command::Plan { host, diff } => {
            this_one(host.as_deref(), flags)?;
            ask(flags, &Question::Plan { diff })
        }
        host::Command::Cleanup { host, dry_run } => {
            this_one(host.as_deref(), flags)?;
            ask(flags, &Question::Cleanup { dry_run })
        }
        host::Command::List { .. } => unreachable!("the database knows the hosts"),
    }
}

/// `firewall show`.
pub(crate) fn firewall(command: firewall::Command, flags: &Flags) -> Result<String, Failure> {
    let firewall::Command::Show { host } = command;
    this_one(host.as_deref(), flags)?;
    ask(flags, &Question::Firewall)
}

fn this_one(host: Option<&str>, flags: &Flags) -> Result<(), Failure> {
    match host {
        Some(other) if other != flags.host() => Err(Failure::failed(format!(
            "host {other}: this is {}: run the command on {other} itself",
            flags.host()
        ))),
        _ => Ok(()),
    }
}

/// A line of JSON each way, over the agent's socket.
fn ask(flags: &Flags, question: &Question) -> Result<String, Failure> {
    let path = flags.path("agent_socket");
    let failed = |e: std::io::Error| {
        let why = match e.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                "no agent runs on this host: start novanet agent (or novanet up)".to_owned()
            }
            ErrorKind::PermissionDenied => "only root may ask the agent".to_owned(),
            ErrorKind::WouldBlock => format!("no answer within {} s", PATIENCE.as_secs()),
            _ => e.to_string(),
        };
        Failure::failed(format!("agent socket {}: {why}", path.display()))
    };
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut line = serde_json::to_vec(question)
        .unwrap_or_else(|e| unreachable!("questions are plain data: {e}"));
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .map_err(failed)?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Text { text }) if text.is_empty() || text.ends_with('\n') => Ok(text),
        Ok(Answer::Text { text }) => Ok(format!("{text}\n")),
        Ok(Answer::Failed { message }) => Err(Failure::failed(message)),
        Err(e) => Err(failed(e.into())),
    }
}
