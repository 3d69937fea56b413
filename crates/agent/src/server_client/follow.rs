//! Follows the host's objects: the whole list first, then deltas, and the whole list again after
//! deltas that do not continue the engine's objects. Starts answers to the server's questions,
//! which come with the objects.

use super::outage::Outage;
use super::{Client, Conversation, RequestError};
use crate::runtime::engine::NewsResult;
use crate::runtime::questions::Answers;
use novanet_model::wire::{Asked, Follow, Hello, Objects};
use novanet_reconcile::{ForeignDevices, jitter};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How many ids of questions the follower remembers: the server repeats a question until it has the
/// answer, and each is answered once.
const MAX_REMEMBERED_IDS: usize = 256;
/// Pause after an answer without news.
const MIN_POLL_PAUSE: Duration = Duration::from_millis(100);
/// Pause while the server's database is not the one that this host follows, until the operator
/// decides.
const HELD_POLL_PAUSE: Duration = Duration::from_secs(2);
/// How often the follower tries to send an answer.
const MAX_ANSWER_ATTEMPTS: u32 = 3;

pub(super) struct Follower<'a> {
    conversation: &'a Conversation,
    again: Notify,
    /// Notified after each introduction.
    joined: Notify,
    /// The next request is for the whole list.
    whole: AtomicBool,
    asked: Arc<Mutex<VecDeque<String>>>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(conversation: &'a Conversation) -> Self {
        Self {
            conversation,
            again: Notify::new(),
            joined: Notify::new(),
            whole: AtomicBool::new(false),
            asked: Arc::default(),
        }
    }

    /// Notified after each introduction of the host.
    pub(super) fn joined(&self) -> &Notify {
        &self.joined
    }

    pub(super) async fn follow(&self) {
        let mut outage = self.conversation.outage();
        loop {
            if let Err(error) = self.session(&mut outage).await {
                outage.failed("objects", &error).await;
            }
        }
    }

    /// Follows over one connection. Returns without an error to ask for the whole list, or to
    /// introduce the host again.
    async fn session(&self, outage: &mut Outage) -> Result<(), RequestError> {
        let Conversation { client, engine, .. } = self.conversation;
        let mut session = client.session().await?;
        let mut foreign = engine.foreign();
        let hello = self.hello(&mut foreign);
        session.hello(&hello).await?;
        // The server may have lost what it knew of instances.
        engine.report_all_again();
        self.joined.notify_one();
        if let Err(error) = self.compare(true).await {
            tracing::debug!(%error, "no digest");
        }
        loop {
            let follow = self.position();
            let news = tokio::select! {
                news = session.objects(&follow) => news?,
                () = self.again.notified() => return Ok(()),
                () = self.moved(&mut foreign, &hello) => return Ok(()),
            };
            outage.ended("objects");
            let fresh = self.answer_new(&news);
            let idle = !fresh && news.changes.is_empty() && !news.questions.is_empty();
            let result = engine.merge(news);
            if result == NewsResult::Held {
                tokio::time::sleep(HELD_POLL_PAUSE).await;
                continue;
            }
            let again = result == NewsResult::ListAgain;
            if again {
                tracing::warn!("the server's news do not fit what is here: asking for all of it");
            }
            self.whole.store(again, Ordering::Relaxed);
            if again || idle {
                tokio::time::sleep(MIN_POLL_PAUSE).await;
            }
        }
    }

    /// The present introduction of the host.
    fn hello(&self, foreign: &mut watch::Receiver<Option<ForeignDevices>>) -> Hello {
        let mut hello = self.conversation.hello.clone();
        let foreign = foreign.borrow_and_update();
        let source = foreign.as_ref().and_then(|foreign| foreign.source);
        if let Some(source) = source.filter(|_| self.conversation.my_ip_follows) {
            hello.my_ip = source;
        }
        hello
    }

    /// Waits until the introduction of the host differs from `said`.
    async fn moved(&self, foreign: &mut watch::Receiver<Option<ForeignDevices>>, said: &Hello) {
        while foreign.changed().await.is_ok() {
            if self.hello(foreign) != *said {
                return;
            }
        }
        std::future::pending::<()>().await; // the engine has ended
    }

    fn position(&self) -> Follow {
        // A list shows which objects the database lacks, and whether the operator has decided.
        let list = self.whole.load(Ordering::Relaxed) || self.conversation.engine.held().is_some();
        let position = if list {
            Follow::default()
        } else {
            self.conversation.engine.position()
        };
        let wait = self.conversation.pace.wait.as_millis();
        Follow {
            wait_ms: u64::try_from(wait).unwrap_or(u64::MAX),
            ..position
        }
    }

    /// Compares the engine's objects with the server's from time to time.
    pub(super) async fn resync(&self) {
        loop {
            tokio::time::sleep(jitter(self.conversation.pace.resync)).await;
            match self.compare(false).await {
                Ok(true) => {}
                Ok(false) => self.again.notify_one(),
                Err(error) => tracing::debug!(%error, "no digest"),
            }
        }
    }

    /// Compares the engine's objects with the server's; `false`: they differ, and the next request
    /// is for the whole list. `full` compares the fingerprint too, for a server that was restarted
    /// and may have another database.
    async fn compare(&self, full: bool) -> Result<bool, RequestError> {
        let Conversation { client, engine, .. } = self.conversation;
        let known = !engine.position().epoch.is_empty() && engine.held().is_none();
        // `None`: the two are of different versions, so there is nothing to compare yet.
        if !known || engine.agrees(&client.digest(full).await?) != Some(false) {
            return Ok(true);
        }
        tracing::warn!("the objects differ from the server's: asking for all of them");
        self.whole.store(true, Ordering::Relaxed);
        Ok(false)
    }

    /// Starts answers to new questions; `true`: there were some.
    fn answer_new(&self, news: &Objects) -> bool {
        let mut fresh = false;
        for asked in &news.questions {
            if remember(&self.asked, &asked.id) {
                fresh = true;
                let answers = self.conversation.answers.clone();
                let client = self.conversation.client.clone();
                let seen = Arc::clone(&self.asked);
                tokio::spawn(answer(asked.clone(), answers, client, seen));
            }
        }
        fresh
    }
}

async fn answer(
    asked: Asked,
    answers: Answers,
    client: Client,
    seen: Arc<Mutex<VecDeque<String>>>,
) {
    let answer = answers.of_server(&asked.question).await;
    for attempt in 1..=MAX_ANSWER_ATTEMPTS {
        match client.answer(&asked.id, &answer).await {
            // A refusal is final: the question has been withdrawn.
            Ok(()) | Err(RequestError::Refused { .. }) => return,
            Err(error) => tracing::debug!(id = asked.id, attempt, %error, "answer not delivered"),
        }
        tokio::time::sleep(MIN_POLL_PAUSE * attempt).await;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.retain(|id| *id != asked.id);
}

/// Remembers a question; `false` if it was known.
fn remember(asked: &Mutex<VecDeque<String>>, id: &str) -> bool {
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    if asked.iter().any(|known| known == id) {
        return false;
    }
    if asked.len() >= MAX_REMEMBERED_IDS {
        asked.pop_front();
    }
    asked.push_back(id.to_owned());
    true
}
