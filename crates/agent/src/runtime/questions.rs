//! Answers questions of the server and of the host's own socket, both alike. Depends on the engine
//! and on the consoles of instances.

use super::engine::Engine;
use novanet_model::InstanceId;
use novanet_model::wire::{Answer, Question};
use novanet_reconcile::{DHCP, FIREWALL, INSTANCES, LINKS, Query};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The longest answer; longer ones are cut, with a note.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Reads consoles of instances without the instances' worker, which may be busy.
pub trait Console: Send + Sync {
    /// The last 64 KiB; `None`: this host has no such instance.
    fn read(&self, instance: InstanceId) -> Option<std::io::Result<String>>;
}

/// An engine that answers questions.
#[derive(Clone)]
pub struct Answers {
    engine: Engine,
    console: Arc<dyn Console>,
}

impl Answers {
    /// Answers of this engine and these consoles.
    pub fn new(engine: Engine, console: Arc<dyn Console>) -> Self {
        Self { engine, console }
    }

    /// Answers a question. Waits while the subsystems are busy, within their time limits.
    ///
    /// After a `Cleanup` (not a dry run) the host stays empty: until the next start of the agent
    /// the engine creates nothing and reports the error `host/cleanup`.
    pub async fn answer(&self, question: &Question) -> Answer {
        let result = match question {
            Question::Plan { diff } => self.engine.plan(*diff).await,
            Question::Firewall => self.engine.ask(FIREWALL, Query::Show).await,
            Question::Explain(packet) => self.engine.ask(FIREWALL, Query::Explain(*packet)).await,
            Question::Rules(view) => self.engine.ask(FIREWALL, Query::View(*view)).await,
            Question::Cleanup { dry_run, force } => self.engine.cleanup(*dry_run, *force).await,
            Question::Console { instance } => self.console(*instance).await,
        };
        match result {
            Ok(text) => Answer::Text {
                text: shortened(text),
            },
            Err(message) => Answer::Failed {
                message: shortened(message),
            },
        }
    }

    /// Answers a question of the server. While the server's database is not the one that this host
    /// follows, the number of an instance may mean another instance there: no console is sent then.
    pub async fn of_server(&self, question: &Question) -> Answer {
        match (question, self.engine.held()) {
            (Question::Console { .. }, Some(message)) => Answer::Failed { message },
            _ => self.answer(question).await,
        }
    }

    async fn console(&self, instance: InstanceId) -> Result<String, String> {
        let console = Arc::clone(&self.console);
        let read = tokio::task::spawn_blocking(move || console.read(instance));
        match read.await {
            Ok(Some(Ok(text))) => Ok(text),
            Ok(Some(Err(error))) => Err(format!("console of {instance}: {error}")),
            Ok(None) => Err(format!("{instance}: not on this host")),
            Err(error) => Err(format!("console of {instance}: {error}")),
        }
    }
}

impl Engine {
    /// The plan of the host by subsystem; `diff`: only what the next round would change.
    pub async fn plan(&self, diff: bool) -> Result<String, String> {
        let mut text = String::new();
        if let Some(why) = self.held() {
            text.extend(["# the server is not followed: ", &why, "\n"]);
        }
        for worker in self.progress() {
            for warning in worker.warnings.values() {
                text.extend(["# ", warning, "\n"]);
            }
        }
        for place in 0..self.places() {
            text.push_str(&self.ask(place, Query::Plan { diff }).await?);
        }
        Ok(text)
    }

    /// Stops all workers from creating and removing, except for [`Self::cleanup`].
    pub async fn pause(&self) -> Result<(), String> {
        for place in 0..self.places() {
            self.ask(place, Query::Pause).await?;
        }
        Ok(())
    }

    /// Removes everything of novanet's, instances first. Continues after a failure, but removes
    /// neither links nor rules of an instance that still runs. Removes the rules last: while the
    /// host answers at a floating IP, they protect the host's own services from it. Without `force`
    /// it is an error if instances run.
    pub async fn cleanup(&self, dry_run: bool, force: bool) -> Result<String, String> {
        if !dry_run {
            if !force {
                let running = running(&self.ask(LINKS, Query::InUse).await?);
                if !running.is_empty() {
                    return Err(format!(
                        "{running} run on this host: cleanup ends them and removes their disks; if that \
                         is meant: nova-manage host cleanup --force (--dry-run shows all that it removes)"
                    ));
                }
            }
            self.pause().await?;
        }
        let (mut text, mut failures) = (String::new(), String::new());
        for place in [INSTANCES, DHCP, LINKS, FIREWALL] {
            match self.ask(place, Query::Cleanup { dry_run }).await {
                Ok(removed) => text.push_str(&removed),
                Err(failed) => failures.push_str(&failed),
            }
            if place == INSTANCES && !failures.is_empty() && !dry_run {
                let in_use = self.ask(LINKS, Query::InUse).await?;
                if !in_use.is_empty() {
                    return Err(format!(
                        "{failures}dhcp, firewall and links stay as they are, \
                         because of instances that still run: {in_use}; \
                         end their processes and clean up again\n"
                    ));
                }
            }
        }
        if failures.is_empty() {
            Ok(text)
        } else {
            Err(failures)
        }
    }
}

/// The instances of these ports, each once: `nv1f, nv1f.1` belong to one instance.
fn running(ports: &str) -> String {
    let number = |port: &str| {
        let hex = port.strip_prefix("nv")?.split('.').next()?;
        i64::from_str_radix(hex, 16).ok()
    };
    let all: BTreeSet<i64> = ports.split(", ").filter_map(number).collect();
    let names: Vec<String> = all.into_iter().map(|n| InstanceId(n).to_string()).collect();
    names.join(", ")
}

fn shortened(mut text: String) -> String {
    const NOTE: &str = "\n(shortened: the answer was longer than 1 MiB)\n";
    if text.len() > MAX_ANSWER_BYTES {
        let mut end = MAX_ANSWER_BYTES - NOTE.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(NOTE);
    }
    text
}
