//! What only a host itself can say: its plan, its firewall, what is ours on it. Asked of the agent
//! on this host; another host's are asked there.

use super::{firewall, host};
use crate::failure::Failure;
use novanet_agent::local;
use novanet_model::flags::Flags;
use novanet_model::wire::{Answer, Question};
use std::io::ErrorKind;
use std::time::Duration;

/// Longer than any answer takes, shorter than a user's patience with a dead agent.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether a command is about the host itself and not about the database.
pub(crate) fn is_local(command: &host::Command) -> bool {
    !matches!(command, host::Command::List { .. })
}

/// `host plan`, `host cleanup`.
pub(crate) async fn host(command: host::Command, flags: &Flags) -> Result<String, Failure> {
    match command {
        host::Command::Plan { host, diff } => {
            this_one(host.as_deref(), flags)?;
            ask(flags, &Question::Plan { diff }).await
        }
        host::Command::Cleanup { host, dry_run } => {
            this_one(host.as_deref(), flags)?;
            ask(flags, &Question::Cleanup { dry_run }).await
        }
        host::Command::List { .. } => unreachable!("the database knows the hosts"),
    }
}

/// `firewall show`.
pub(crate) async fn firewall(command: firewall::Command, flags: &Flags) -> Result<String, Failure> {
    let firewall::Command::Show { host } = command;
    this_one(host.as_deref(), flags)?;
    ask(flags, &Question::Firewall).await
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

async fn ask(flags: &Flags, question: &Question) -> Result<String, Failure> {
    let state_path = flags.state_path();
    let answer = tokio::time::timeout(PATIENCE, local::ask(&state_path, question)).await;
    let answer = answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    match answer {
        Ok(Answer::Text { text }) if text.is_empty() || text.ends_with('\n') => Ok(text),
        Ok(Answer::Text { text }) => Ok(format!("{text}\n")),
        Ok(Answer::Failed { message }) => Err(Failure::failed(message)),
        Err(e) => {
            let why = match e.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    "no agent runs on this host: start novanet agent (or novanet up)".to_owned()
                }
                ErrorKind::PermissionDenied => {
                    "only the agent's own user may ask it: run this as root".to_owned()
                }
                ErrorKind::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
                _ => e.to_string(),
            };
            let path = local::socket_path(&state_path);
            Err(Failure::failed(format!(
                "agent at {}: {why}",
                path.display()
            )))
        }
    }
}
