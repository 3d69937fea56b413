//! Questions about a host's own state: its plan, its firewall, what of it is ours. The agent on
//! this host answers; for another host the server passes the question on ([`super::remote`]).

use super::{firewall, host, remote, saved_settings, structure};
use crate::args::Format;
use crate::failure::Failure;
use crate::table;
use novanet_agent::local;
use novanet_agent::runtime::Offline;
use novanet_model::flags::Flags;
use novanet_model::wire::{Answer, Question, RulesForm, RulesView};
use std::io::ErrorKind;
use std::time::Duration;

/// Longer than any answer takes, shorter than a user's patience with a dead agent.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Exit code of `host plan --diff` where something differs, as diff(1) has 1 for that.
const DIFFERS: u8 = 2;

/// Whether a command is about the host itself and not about the database.
pub(crate) fn is_local(command: &host::Command) -> bool {
    matches!(
        command,
        host::Command::Plan { .. } | host::Command::Cleanup { .. }
    )
}

/// `host plan`, `host cleanup`: by the agent, or by this process while no agent runs. For another
/// host only the plan and the dry run: a host is cleaned up on itself.
pub(crate) async fn host(
    command: host::Command,
    flags: &Flags,
    format: Format,
) -> Result<String, Failure> {
    let changes = !matches!(command, host::Command::Plan { diff: false, .. });
    let difference = matches!(command, host::Command::Plan { diff: true, .. });
    let text = ask_host(command, flags).await?;
    let items = structure::plan(&text, changes);
    let text = match format {
        Format::Table | Format::Plain => text,
        Format::Json => table::json(&items),
    };
    if difference && !items.is_empty() {
        return Err(Failure::answer(DIFFERS, text));
    }
    Ok(text)
}

/// The host's answer in its own words.
async fn ask_host(command: host::Command, flags: &Flags) -> Result<String, Failure> {
    let (other, question, offline) = match command {
        host::Command::Plan { host, diff } => {
            (host, Question::Plan { diff }, Offline::Plan { diff })
        }
        host::Command::Cleanup {
            host,
            dry_run,
            force,
        } => (
            host,
            Question::Cleanup { dry_run, force },
            Offline::Cleanup { dry_run, force },
        ),
        host::Command::List { .. }
        | host::Command::Adopt { .. }
        | host::Command::Confirm { .. }
        | host::Command::Zone { .. }
        | host::Command::Rename { .. }
        | host::Command::Delete { .. } => {
            unreachable!("the database knows the hosts")
        }
    };
    if let Some(other) = another(other.as_deref(), flags) {
        if matches!(question, Question::Cleanup { dry_run: false, .. }) {
            return Err(Failure::failed(format!(
                "host {other}: this is {}, and cleanup ends what runs on a host: on {other} itself, \
                 type: nova-manage host cleanup (--dry-run shows from here what it would remove)",
                flags.host()
            )));
        }
        return remote::ask(other, &question, flags).await.map(line);
    }
    match ask(flags, &question).await {
        Err(NoAnswer::NoAgent) => {
            let settings = saved_settings::settings(flags)?;
            let done = novanet_agent::runtime::offline(&settings, offline).await;
            done.map_err(|e| Failure::failed(e.to_string()))?
                .map(line)
                .map_err(Failure::failed)
        }
        other => other.map_err(|why| why.failure(flags)),
    }
}

/// `firewall show`.
pub(crate) async fn firewall(
    command: firewall::Command,
    flags: &Flags,
    format: Format,
) -> Result<String, Failure> {
    let (host, view) = match command {
        firewall::Command::Show { host, view } => (host, view),
        firewall::Command::Explain { host, packet } => {
            let text = ask_about(host.as_deref(), &Question::Explain(packet), flags).await?;
            return firewall::explained(&text, format);
        }
        firewall::Command::Block { .. }
        | firewall::Command::Unblock { .. }
        | firewall::Command::List => unreachable!("the database has the provider rules"),
    };
    let is_json = format == Format::Json;
    let view = view.map(|view| RulesView {
        form: view.form.or(is_json.then_some(RulesForm::Json)),
        ..view
    });
    let question = view.map_or(Question::Firewall, Question::Rules);
    let text = ask_about(host.as_deref(), &question, flags).await?;
    match view {
        Some(view) if view.form == Some(RulesForm::Json) => json_lines(&text),
        None if is_json => Ok(table::json(&structure::rules(&text))),
        _ => Ok(text),
    }
}

/// The answer of this host, or of another one.
async fn ask_about(
    host: Option<&str>,
    question: &Question,
    flags: &Flags,
) -> Result<String, Failure> {
    if let Some(other) = another(host, flags) {
        return Ok(line(remote::ask(other, question, flags).await?));
    }
    let answer = ask(flags, question).await;
    answer.map_err(|why| why.failure(flags))
}

/// One array of the objects that a host writes one a line.
fn json_lines(text: &str) -> Result<String, Failure> {
    let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let objects: Vec<_> = lines.collect::<Result<_, _>>().map_err(|_| {
        Failure::failed(
            "the host's answer is longer than 1 MiB: ask for one --instance or --address"
                .to_owned(),
        )
    })?;
    Ok(table::json(&objects))
}

/// The host that is meant, if it is not this one.
fn another<'a>(host: Option<&'a str>, flags: &Flags) -> Option<&'a str> {
    host.filter(|host| *host != flags.host())
}

/// Why the agent did not answer.
enum NoAnswer {
    /// None runs.
    NoAgent,
    /// It could not do it.
    Failed(String),
    /// The conversation failed.
    Socket(String),
}

impl NoAnswer {
    fn failure(self, flags: &Flags) -> Failure {
        let why = match self {
            Self::Failed(message) => return Failure::failed(message),
            Self::NoAgent => {
                "no agent runs on this host: start novanet agent (or novanet up)".to_owned()
            }
            Self::Socket(why) => why,
        };
        let path = local::socket_path(&flags.state_path());
        Failure::failed(format!("agent at {}: {why}", path.display()))
    }
}

async fn ask(flags: &Flags, question: &Question) -> Result<String, NoAnswer> {
    let state_path = flags.state_path();
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, local::ask(&state_path, question)).await;
    match answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
        Ok(Answer::Text { text }) => Ok(line(text)),
        Ok(Answer::Failed { message }) => Err(NoAnswer::Failed(message)),
        Err(e) => Err(match e.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => NoAnswer::NoAgent,
            ErrorKind::PermissionDenied => NoAnswer::Socket(
                "only the agent's own user may ask it: run this as root".to_owned(),
            ),
            ErrorKind::TimedOut => {
                NoAnswer::Socket(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
            }
            _ => NoAnswer::Socket(e.to_string()),
        }),
    }
}

/// Text with a newline at its end, if it has any.
fn line(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
