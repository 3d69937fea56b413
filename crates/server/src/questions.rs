//! Questions to hosts: ephemeral, in memory, bounded, with a time limit. They travel in the agents'
//! long polls; answers are posted.

use novanet_model::wire::{Answer, Asked, Question};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// At most so many questions wait for one host; more mean that it does not answer.
const MAX_OPEN_QUESTIONS: usize = 64;

/// How long a question may wait for the host to fetch it. An agent that follows is away for
/// milliseconds, one that lost its server comes back within five seconds.
const FETCHED_WITHIN: Duration = Duration::from_secs(6);

/// Questions that wait.
#[derive(Debug, Default)]
pub struct Questions {
    hosts: Mutex<BTreeMap<String, Waiting>>,
    /// Notified at a new question.
    asked: Notify,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Too many questions wait for the host already.
    Crowded,
    /// The host does not follow this server now: it never saw the question.
    Away,
    /// The host has the question and did not answer it in time.
    Silent,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Not yet given to the host.
    new: Vec<Asked>,
    /// The waiting callers by question number.
    open: BTreeMap<String, oneshot::Sender<Answer>>,
}

impl Questions {
    /// Asks a host and waits for its answer.
    pub async fn ask(
        &self,
        host: &str,
        question: Question,
        limit: Duration,
    ) -> Result<Answer, NoAnswer> {
        let id = uuid::Uuid::new_v4().to_string();
        let mut answer = self.put(host, &id, question)?;
        // The caller may drop this future.
        let _open = Open {
            questions: self,
            host,
            id: &id,
        };
        self.asked.notify_waiters();
        let first = limit.min(FETCHED_WITHIN);
        let mut heard = tokio::time::timeout(first, &mut answer).await;
        if heard.is_err() {
            if self.is_new(host, &id) {
                return Err(NoAnswer::Away);
            }
            heard = tokio::time::timeout(limit.saturating_sub(first), answer).await;
        }
        heard
            .map_err(|_| NoAnswer::Silent)?
            .map_err(|_| NoAnswer::Silent)
    }

    fn put(
        &self,
        host: &str,
        id: &str,
        question: Question,
    ) -> Result<oneshot::Receiver<Answer>, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        let mut hosts = self.lock();
        let waiting = hosts.entry(host.to_owned()).or_default();
        if waiting.open.len() >= MAX_OPEN_QUESTIONS {
            return Err(NoAnswer::Crowded);
        }
        waiting.new.push(Asked {
            id: id.to_owned(),
            question,
        });
        waiting.open.insert(id.to_owned(), sender);
        Ok(receiver)
    }

    fn is_new(&self, host: &str, id: &str) -> bool {
        self.lock()
            .get(host)
            .is_some_and(|waiting| waiting.new.iter().any(|asked| asked.id == id))
    }

    /// Takes the questions that a host has not seen.
    pub(crate) fn take(&self, host: &str) -> Vec<Asked> {
        self.lock()
            .get_mut(host)
            .map(|waiting| std::mem::take(&mut waiting.new))
            .unwrap_or_default()
    }

    /// Resolves at the next question to any host.
    pub(crate) fn asked(&self) -> tokio::sync::futures::Notified<'_> {
        self.asked.notified()
    }

    /// A host answered. `false`: no caller waits for that answer any more.
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

/// A question with a waiting caller. Dropping it deletes the question.
struct Open<'a> {
    questions: &'a Questions,
    host: &'a str,
    id: &'a str,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut hosts = self.questions.lock();
        let Some(waiting) = hosts.get_mut(self.host) else {
            return;
        };
        waiting.open.remove(self.id);
        waiting.new.retain(|asked| asked.id != self.id);
        if waiting.open.is_empty() && waiting.new.is_empty() {
            hosts.remove(self.host);
        }
    }
}
