//! Questions to hosts: ephemeral, in memory, bounded, with a time limit. They travel in the agents'
//! long polls; answers are posted.

use novanet_model::wire::{Answer, Asked, Question};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// At most so many questions wait for one host; more mean that it does not answer.
const MOST: usize = 64;

/// Questions that wait.
#[derive(Debug, Default)]
pub struct Questions {
    hosts: Mutex<BTreeMap<String, Waiting>>,
    /// Somebody asked something.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Not yet given to the host.
    new: Vec<Asked>,
    /// Who waits for which answer.
    open: BTreeMap<String, oneshot::Sender<Answer>>,
}

impl Questions {
    /// Asks a host and waits for its answer; `None` when there is none in time.
    pub async fn ask(&self, host: &str, question: Question, limit: Duration) -> Option<Answer> {
        let id = uuid::Uuid::new_v4().to_string();
        let (sender, receiver) = oneshot::channel();
        {
            let mut hosts = self.lock();
            let waiting = hosts.entry(host.to_owned()).or_default();
            if waiting.open.len() >= MOST {
                return None;
            }
            waiting.new.push(Asked {
                id: id.clone(),
                question,
            });
            waiting.open.insert(id.clone(), sender);
        }
        self.asked.notify_waiters();
        let answer = tokio::time::timeout(limit, receiver).await;
        if let Some(waiting) = self.lock().get_mut(host) {
            waiting.open.remove(&id);
            waiting.new.retain(|asked| asked.id != id);
        }
        answer.ok()?.ok()
    }

    /// Takes the questions that a host has not seen.
    pub(crate) fn take(&self, host: &str) -> Vec<Asked> {
        self.lock()
            .get_mut(host)
            .map(|waiting| std::mem::take(&mut waiting.new))
            .unwrap_or_default()
    }

    /// Resolves when somebody has asked something, of whatever host.
    pub(crate) fn asked(&self) -> tokio::sync::futures::Notified<'_> {
        self.asked.notified()
    }

    /// A host answered. `false`: nobody waits for that any more.
    pub(crate) fn answer(&self, host: &str, id: &str, answer: Answer) -> bool {
        let sender = self
            .lock()
            .get_mut(host)
            .and_then(|waiting| waiting.open.remove(id));
        sender.is_some_and(|s| s.send(answer).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.hosts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
